"""A live session: newest frame -> paint -> sinks. Capture, painting and the sinks overlap, on three threads."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import monotonic

import numpy as np

from ..errors import InputError
from .ahead import ahead
from .camera import Capture, NewestFrame
from .sinks import Sink
from .video import Paint

_LATENCIES = 100_000  # of the latest frames: an hour at 30 fps
_LATELY = 90  # frames that the figures on the screen look back on


@dataclass(frozen=True)
class LiveReport:
    """Figures of a session."""

    frames: int
    """Painted."""
    seconds: float
    """From the first capture to the last frame's arrival in the sinks."""
    fps: float
    """Painted frames per second."""
    dropped: int
    """Captured but never painted, because a newer frame was there."""
    latency_p50_ms: float
    """Half of the frames were through the sinks within this time after their capture."""
    latency_p95_ms: float
    """19 of 20 frames were."""


class Tally:
    """Counts a session while it runs; what it says stays true when the session ends with an exception."""

    def __init__(self) -> None:
        self.frames = 0
        self._latencies_s = np.zeros(_LATENCIES)
        self._first_s = self._last_s = 0.0
        self._arrivals_s = np.zeros(_LATELY)

    def add(self, capture: Capture) -> None:
        """Note that a frame has just gone through all sinks."""
        self._last_s = monotonic()
        self._first_s = self._first_s or capture.time_s
        self._latencies_s[self.frames % _LATENCIES] = self._last_s - capture.time_s
        self._arrivals_s[self.frames % _LATELY] = self._last_s
        self.frames += 1

    def has_lasted(self, seconds: float) -> bool:
        """Whether so much time has passed since the first capture."""
        return self.frames > 0 and monotonic() - self._first_s >= seconds

    def report(self, *, dropped: int) -> LiveReport:
        """The figures so far; `dropped` is `NewestFrame`'s."""
        return self._figures(min(self.frames, _LATENCIES), self._last_s - self._first_s, self.frames, dropped)

    def lately(self, *, dropped: int) -> LiveReport:
        """The same over the last few seconds; `dropped` and `frames` are those of the whole session."""
        count = min(self.frames, _LATELY)
        oldest_s = self._arrivals_s[self.frames % _LATELY] if count == _LATELY else self._first_s
        return self._figures(count, self._last_s - oldest_s, count - (count == _LATELY), dropped)

    def _figures(self, latencies: int, seconds: float, frames: int, dropped: int) -> LiveReport:
        places = np.arange(self.frames - latencies, self.frames) % _LATENCIES
        p50, p95 = np.percentile(1000 * self._latencies_s[places], [50, 95]) if latencies else (0.0, 0.0)
        fps = frames / seconds if seconds else 0.0
        return LiveReport(self.frames, seconds, fps, dropped, float(p50), float(p95))


def run_live(
    newest: NewestFrame,
    paint: Paint,
    sinks: Sequence[Sink],
    tally: Tally,
    *,
    seconds: float | None = None,
    stopped: Callable[[], bool] = lambda: False,
    on_problem: Callable[[str], None] = lambda problem: None,
) -> None:
    """Paint the newest frames into all sinks, until the camera ends, a sink is closed, `seconds` passed or `stopped`.

    Where a sink comes to have a problem, `on_problem` is told, and the others go on.

    Raises:
        InputError: the camera failed, the style failed, or every sink has a problem.
    """
    told: dict[Sink, str | None] = dict.fromkeys(sinks)
    with closing(ahead(_painted(newest, paint), depth=1)) as captures:
        for capture in captures:
            for sink in sinks:
                sink.idle() if capture is None else sink.write(capture.picture, capture.time_s)
            if capture is not None:
                tally.add(capture)
            for sink, before in told.items():
                told[sink] = problem = sink.problem
                if problem and all(told.values()):
                    raise InputError(problem)
                if problem and problem != before:
                    on_problem(problem)
            if stopped() or any(sink.closed for sink in sinks) or (seconds and tally.has_lasted(seconds)):
                return


def _painted(newest: NewestFrame, paint: Paint) -> Generator[Capture | None, None, None]:
    with closing(newest.captures()) as captures:
        for capture in captures:
            yield capture and Capture(paint(capture.picture), capture.time_s)
