"""Where the frames of a live session go: a window, a recording. Each is a context manager."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

from ..errors import InputError
from ..files import describe_write_error
from ..pictures import Frame
from .writer import VideoWriter

_RECORDING_TIME_BASE = Fraction(1, 1000)  # seconds; Matroska knows no finer one
_RECORDING_RATE = Fraction(30)


class Sink(Protocol):
    """What takes painted frames, on the thread that opened it."""

    closed: bool
    """Whether the user has ended the session here."""

    def __enter__(self) -> "Sink": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def write(self, picture: Frame, time_s: float) -> None:
        """Take a painted frame, (H, W, 3) uint8 RGB, captured at `time_s` (monotonic seconds).

        The next one may be painted over it: copy what is to be kept.
        """

    def idle(self) -> None:
        """There is no new frame."""


class Recording:
    """A video file of what was painted, each frame at the time when the camera gave it.

    It is written under its own name from the first frame on, in pieces of a second that play on their own: after a
    crash or a power cut the recording is there, under the name that was asked for, and plays up to the last second.
    (A painted clip, by contrast, can be painted again, so it appears when it is whole.) A camera that gives no frame
    leaves no file, and an older file as it was.

    Args:
        path: .mp4, .m4v, .mov or .mkv.

    Raises:
        InputError: the file cannot be written.
    """

    closed = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = VideoWriter(path, time_base=_RECORDING_TIME_BASE, rate=_RECORDING_RATE, live=True)
        self._start_s: float | None = None
        self._last_pts = -1

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._writer.__exit__(kind)
        except OSError as error:
            raise self._problem(error) from error

    def write(self, picture: Frame, time_s: float) -> None:
        """Add a frame."""
        self._start_s = time_s if self._start_s is None else self._start_s
        pts = max(round((time_s - self._start_s) / float(_RECORDING_TIME_BASE)), self._last_pts + 1)
        self._last_pts = pts
        try:
            self._writer.write(picture, pts)
        except OSError as error:
            raise self._problem(error) from error

    def idle(self) -> None:
        """A recording need not do anything."""

    def _problem(self, error: OSError) -> InputError:
        return InputError(describe_write_error(error, self.path) or f"cannot write '{self.path}': {error}")
