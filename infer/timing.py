"""How long a style takes to paint a frame on this machine, and which camera rate that holds.

Whole `Stylizer` calls are timed, uint8 pixels in and out, on pictures that change from call to call. One session is
alive at a time (the waiting threads of several ONNX Runtime sessions disturb each other), and several entrants take
turns in blocks, so that their ratios hold on a machine that does other work too. `allaprima bench` runs it.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from time import perf_counter

import numpy as np

from ..errors import InputError
from ..pictures import Frame
from .stylizer import Stylizer

RATES_FPS = (120, 60, 50, 30, 25, 24, 15)
"""Frames per second that cameras give, the highest first."""
HEADROOM = 0.1
"""Part of a frame's time that has to stay free for the camera, the window and the rest."""
BLOCKS = 3
"""Turns that each of several entrants takes."""
_MIN_CALLS = 2  # of the warm-up and of the measurement in each block; the first two calls of a session plan its memory
_WARM_UP_S = 0.5  # at most, and a quarter of a short block: a processor that was idle needs time to reach its speed
_DISCS = (((230, 60, 40), 0.35), ((30, 160, 220), 0.25), ((250, 220, 120), 0.15))  # RGB, radius / shorter side
_NOISE = 6  # grey levels up and down, a webcam's in a dim room


@dataclass(frozen=True, eq=False, kw_only=True)
class Entrant:
    """One style on one provider."""

    style: str
    """What people call it."""
    path: Path
    """Its file."""
    provider: str
    """The provider that loads, as in `providers.PROVIDERS` but not `auto`."""
    precision: str | None = None
    """What its card says of its arithmetic."""
    open: Callable[[], Stylizer]
    """Makes a session of it."""


@dataclass(eq=False)
class Timing:
    """What was measured of one entrant at one size; :func:`measure` fills it."""

    entrant: Entrant
    width: int
    """px."""
    height: int
    """px."""
    times_ms: list[float] = field(default_factory=list)
    """Of every frame that was painted after the warm-up."""
    error: str | None = None
    """Why it cannot be painted, for people."""

    @property
    def median_ms(self) -> float:
        """Half of the frames took no longer."""
        return statistics.median(self.times_ms)

    @property
    def p95_ms(self) -> float:
        """19 of 20 frames took no longer."""
        return float(np.percentile(self.times_ms, 95))

    @property
    def fps(self) -> float:
        """Frames per second, by the median."""
        return 1000 / self.median_ms


def holds(p95_ms: float) -> float:
    """The frames per second to count on where 19 of 20 frames take at most `p95_ms`.

    Returns:
        The highest of `RATES_FPS` that leaves `HEADROOM`; where even the lowest does not, whatever rate does.
    """
    fps = 1000 * (1 - HEADROOM) / p95_ms
    return next((rate for rate in RATES_FPS if fps >= rate), fps)


def measure(
    timings: Sequence[Timing],
    *,
    seconds: float,
    on_block: Callable[[Timing, int, int], None] = lambda timing, done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Fill `timings`, each for about `seconds`; what fails gets its `error`, and the others go on.

    Args:
        timings: what to measure; a style's sizes share its session.
        seconds: of measuring for each of them, in all its blocks together; the warm-up comes on top.
        on_block: is told a timing that has just grown or failed, and how many blocks of how many are done.
        stopped: asked after every frame; once it says True, `timings` stay as they are.
    """
    entrants = list(dict.fromkeys(timing.entrant for timing in timings))
    blocks = BLOCKS if len(entrants) > 1 else 1
    pictures = _Pictures()
    done = 0
    for entrant in entrants * blocks:
        own = [timing for timing in timings if timing.entrant is entrant]
        for timing in _run_block(entrant, own, pictures, seconds / blocks, stopped):
            if stopped():
                return
            done += 1
            on_block(timing, done, blocks * len(timings))


def _run_block(
    entrant: Entrant, timings: Sequence[Timing], pictures: "_Pictures", seconds: float, stopped: Callable[[], bool]
) -> Iterator[Timing]:
    """Measure all sizes with one session, which ends with this function; yields each when it is done."""
    stylizer = None
    for timing in timings:
        try:
            if timing.error is None:
                stylizer = stylizer or _open(entrant)
                timing.times_ms += _time_calls(stylizer, pictures[timing.width, timing.height], seconds, stopped)
        except InputError as error:
            timing.error = str(error)
        except MemoryError:
            timing.error = f"not enough memory for pictures of {timing.width}x{timing.height} px"
        yield timing


def _open(entrant: Entrant) -> Stylizer:
    stylizer = entrant.open()
    if stylizer.provider != entrant.provider:  # a GPU that another program has filled since
        raise InputError(f"provider '{entrant.provider}' loaded at first and then no more")
    return stylizer


def _time_calls(
    stylizer: Stylizer, frames: Sequence[Frame], seconds: float, stopped: Callable[[], bool]
) -> list[float]:
    """Milliseconds of each call, after a warm-up."""
    _call_for(min(seconds / 4, _WARM_UP_S), stylizer, frames, stopped)
    return _call_for(seconds, stylizer, frames, stopped)


def _call_for(seconds: float, stylizer: Stylizer, frames: Sequence[Frame], stopped: Callable[[], bool]) -> list[float]:
    times_ms: list[float] = []
    end = perf_counter() + seconds
    for frame in cycle(frames):
        started = perf_counter()
        if stopped() or (started >= end and len(times_ms) >= _MIN_CALLS):
            break
        stylizer(frame)
        times_ms.append(1000 * (perf_counter() - started))
    return times_ms


class _Pictures(dict[tuple[int, int], list[Frame]]):
    """(width, height) -> frames, made when first asked for."""

    def __missing__(self, size: tuple[int, int]) -> list[Frame]:
        self[size] = moving_frames(*size)
        return self[size]


def moving_frames(width: int, height: int, count: int = 4) -> list[Frame]:
    """Soft discs that circle over a gradient, with a camera's noise: `count` pictures, the same in every run.

    Returns:
        (H, W, 3) uint8 RGB each.
    """
    shorter = min(width, height)
    y, x = (np.arange(n, dtype=np.float32) / shorter for n in (height, width))
    y, x = y[:, None, None], x[None, :, None]  # (H, 1, 1) and (1, W, 1)
    dark, down, right = np.array([[40, 70, 90], [60, 60, 60], [80, 20, -30]], np.float32)
    random = np.random.default_rng(0)
    frames = []
    for turn in np.linspace(0, 2 * np.pi, count, endpoint=False):
        picture = dark + down * y / y.max() + right * x / x.max()
        for number, (colour, radius) in enumerate(_DISCS):
            angle = turn + 2 * number
            from_x, from_y = x - x.max() / 2 - 0.3 * np.cos(angle), y - y.max() / 2 - 0.3 * np.sin(angle)
            cover = np.clip(20 * (radius - np.sqrt(from_x**2 + from_y**2)), 0, 1)
            picture += cover * (np.array(colour, np.float32) - picture)
        picture += random.integers(-_NOISE, _NOISE, picture.shape, np.int8, endpoint=True)
        frames.append(np.clip(picture, 0, 255).astype(np.uint8))
    return frames
