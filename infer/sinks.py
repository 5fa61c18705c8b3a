"""Where the frames of a live session go: a window, a recording, and more. Each is a context manager."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import cv2
import numpy as np

from ..errors import InputError
from ..files import describe_write_error
from ..pictures import Frame
from .clip import reason
from .microphone import Microphone, SoundTrack
from .writer import VideoWriter

_RECORDING_TIME_BASE = Fraction(1, 1000)  # seconds; Matroska knows no finer one
_RECORDING_RATE = Fraction(30)
_BEHIND = 8  # frames that may wait for the encoder before a session waits for it


class Sink(Protocol):
    """What takes painted frames, on the thread that opened it."""

    @property
    def description(self) -> str:
        """What it does, for people."""

    @property
    def problem(self) -> str | None:
        """Why it does not do so any more; None: it does."""

    @property
    def closed(self) -> bool:
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
    crash, a power cut or a full disk the recording is there, under the name that was asked for, and plays up to the
    last second. (A painted clip, by contrast, can be painted again, so it appears when it is whole.) A camera that
    gives no frame leaves no file, and an older file as it was.

    Frames of another size than the first are scaled to it.

    Args:
        path: .mp4, .m4v, .mov or .mkv.
        microphone: an open one, whose sound goes with it.

    Raises:
        InputError: the file cannot be written.
    """

    closed = False

    def __init__(self, path: Path, *, microphone: Microphone | None = None) -> None:
        self.path = path
        self.description = f"recording to {path}" + (f" with {microphone.name}" if microphone else "")
        self._microphone = microphone
        self._writer = VideoWriter(
            path,
            time_base=_RECORDING_TIME_BASE,
            rate=_RECORDING_RATE,
            live=True,
            microphone=microphone.layout if microphone else None,
        )
        self._sound: SoundTrack | None = None
        self._start_s: float | None = None
        self._last_pts = -1
        self._size_px = 0, 0

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._telling():
            if kind is None:
                with self._writer:
                    self._write_sound()
            else:
                self._writer.__exit__(kind)

    def write(self, picture: Frame, time_s: float) -> None:
        """Add a frame."""
        if self._start_s is None:
            self._start_s, self._size_px = time_s, (picture.shape[1], picture.shape[0])
            self._sound = SoundTrack(self._microphone, time_s) if self._microphone else None
        pts = max(round((time_s - self._start_s) / float(_RECORDING_TIME_BASE)), self._last_pts + 1)
        self._last_pts = pts
        with self._telling():
            self._writer.write(fit(picture, *self._size_px), pts)
            self._write_sound()

    def idle(self) -> None:
        """The picture stands still, and the sound goes on."""
        with self._telling():
            self._write_sound()

    def _write_sound(self) -> None:
        for samples in self._sound.heard() if self._sound else ():
            self._writer.write_sound(samples)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say in words what goes wrong with the file."""
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            described = describe_write_error(error, self.path) if isinstance(error, OSError) else None
            raise InputError(
                described or f"cannot write '{self.path}' ({reason(error)}): choose another name"
            ) from error


class Recorder:
    """The recordings of a session, one after another, each started and stopped while the session runs. A sink.

    They are encoded on a thread of their own, so that the picture in the window is not as much later. Where the encoder
    cannot follow, the session waits for it: no frame that was painted is missing.

    A recording that cannot be written ends, playable up to there, and the session lives on: `problem` says why.

    Args:
        microphone: an open one, whose sound goes with every recording.
    """

    closed = False
    problem: str | None = None
    """Why the latest recording ended by itself, for people; None: it did not."""

    def __init__(self, *, microphone: Microphone | None = None) -> None:
        self._microphone = microphone
        self._recording: Recording | None = None
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._waiting: deque[Future[None]] = deque()

    @property
    def path(self) -> Path | None:
        """What is being recorded to; None: nothing is."""
        return self._recording.path if self._recording else None

    @property
    def description(self) -> str:
        """What it does, for people; empty while there is no recording."""
        return self._recording.description if self._recording else ""

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(kind)
        self._encoder.shutdown()

    def start(self, path: Path) -> None:
        """Record to `path` (.mp4, .m4v, .mov or .mkv) from the next frame on."""
        self.problem = None
        self._end(None)
        self._recording = Recording(path, microphone=self._microphone)

    def stop(self) -> None:
        """Finish the recording, if there is one."""
        self._end(None)

    def write(self, picture: Frame, time_s: float) -> None:
        """Add a frame to the recording, if there is one."""
        if self._recording is not None:
            self._later(self._recording.write, picture.copy(), time_s)

    def idle(self) -> None:
        """The picture of the recording, if there is one, stands still."""
        if self._recording is not None:
            self._later(self._recording.idle)

    def _later(self, task: Callable[..., None], *arguments: object) -> None:
        """Do it on the encoder's thread, after what waits there; what has gone wrong by now ends the recording."""
        self._waiting.append(self._encoder.submit(task, *arguments))
        try:
            while self._waiting and (self._waiting[0].done() or len(self._waiting) > _BEHIND):
                self._waiting.popleft().result()
        except InputError as error:
            self._end(InputError)
            self.problem = str(error)

    def _end(self, kind: type[BaseException] | None) -> None:
        """Finish the recording, if there is one, after the frames that wait; `kind` as in `__exit__`."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        waiting, self._waiting = self._waiting, deque()
        try:
            try:
                for task in waiting:
                    task.result()
            except InputError:
                kind = InputError
                raise
            finally:
                self._encoder.submit(recording.__exit__, kind).result()
        except InputError as error:
            self.problem = str(error)


def fit(picture: Frame, width: int, height: int) -> Frame:
    """Scale to `width` x `height` px, all of the picture seen, its aspect kept, black where it does not reach.

    Args:
        picture: (H, W, 3) uint8; returned as it is where it has that size.
        width: px.
        height: px.
    """
    from_height, from_width = picture.shape[:2]
    if (from_width, from_height) == (width, height):
        return picture
    scale = min(width / from_width, height / from_height)
    size = max(round(scale * from_width), 1), max(round(scale * from_height), 1)
    scaled: Any = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    right, bottom = width - size[0] - left, height - size[1] - top
    return np.asarray(cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT), dtype=np.uint8)
