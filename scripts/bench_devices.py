"""What stands at both ends of a live session that is measured: a camera with a clock, and what takes the paintings."""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Semaphore

import cv2
import numpy as np

from allaprima.infer.camera import parse_size
from allaprima.infer.mjpeg_server import MjpegServer
from allaprima.pictures import Frame

RING = 30  # pictures that the camera gives in turn
_PATIENCE_S = 0.9  # of a camera without a clock, for somebody to take its picture
_READER = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1]) as stream:
    while stream.read1():
        pass
"""


class SyntheticDevice:
    """In place of `cv2.VideoCapture`: each picture is there when it is due.

    Args:
        pictures: (H, W, 3) uint8 BGR, given in turn.
        fps: pictures per second; 0: one is due when the last one was taken, as the painter tells by `taken`.
    """

    def __init__(self, pictures: Sequence[Frame], fps: float) -> None:
        self._pictures, self._fps = pictures, fps
        self.taken = Semaphore(1)
        self._given, self._start_s = 0, 0.0
        self._due_s: deque[float] = deque()  # of the pictures that the pipeline has not got yet
        self._captured: deque[tuple[float, float]] = deque()  # captured, due

    def start(self) -> None:
        """The session begins: its clock too. What was read until now was to see what the camera gives."""
        self._start_s, self._given = 0.0, 0
        self._due_s.clear()
        self.taken.release()

    def read(self, image: Frame | None = None) -> tuple[bool, Frame]:
        """Wait for a picture and copy it, into `image` if given; a driver's work is about that."""
        due_s = self._wait()
        picture = self._pictures[self._given % len(self._pictures)]
        image = np.empty_like(picture) if image is None else image
        np.copyto(image, picture)
        self._given += 1
        self._due_s.append(due_s)
        return True, image

    def note(self, captured_s: float) -> None:
        """The pipeline has the next picture."""
        self._captured.append((captured_s, self._due_s.popleft()))

    def due_s(self, captured_s: float) -> float:
        """When the picture was due that the pipeline had at `captured_s`; those before it were dropped."""
        while True:
            at_s, due_s = self._captured.popleft()
            if at_s == captured_s:
                return due_s

    def _wait(self) -> float:
        if not self._fps:
            self.taken.acquire(timeout=_PATIENCE_S)
            return time.monotonic()
        now_s = time.monotonic()
        self._start_s = self._start_s or now_s
        due_s = self._start_s + self._given / self._fps
        time.sleep(max(0.0, due_s - now_s))
        return due_s

    def isOpened(self) -> bool:  # noqa: N802
        """It is."""
        return True

    def set(self, key: int, value: float) -> bool:
        """Nothing can be set."""
        return False

    def get(self, key: int) -> float:
        """Its size and rate."""
        height, width, _ = self._pictures[0].shape
        return float({cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height}.get(key, self._fps))

    def release(self) -> None:
        """Nothing was taken."""


class VirtualDevice:
    """A back end for pyvirtualcam: it copies each frame, as a driver does, and notes when."""

    shown_s = float("nan")
    """When the newest frame was here, monotonic seconds."""

    def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: str | None) -> None:
        self._copy = np.empty(width * height * 3, np.uint8)

    def send(self, frame: Frame) -> None:
        """Take a frame, (H * W * 3,) uint8."""
        np.copyto(self._copy, frame.reshape(-1))
        VirtualDevice.shown_s = time.monotonic()

    def close(self) -> None:
        """Nothing was taken."""

    def device(self) -> str:
        """Its name."""
        return "synthetic"

    def native_fourcc(self) -> None:
        """Frames stay as they are."""


class ReadServer(MjpegServer):
    """A server with a client: a process of its own that reads the stream."""

    def __enter__(self) -> "ReadServer":
        super().__enter__()
        self._reader = subprocess.Popen([sys.executable, "-c", _READER, f"{self.url}stream"])
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.kill()
        self._reader.wait()
        super().__exit__(*error)


class LastSink:
    """The last sink: when a frame comes here, all others have it. A copy of it stands for what a sink does at least."""

    closed = False
    description, problem = "", None

    def __init__(self, on_frame: Callable[[float], None]) -> None:
        self._on_frame = on_frame
        self._copy: Frame | None = None

    def __enter__(self) -> "LastSink":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was taken."""

    def write(self, picture: Frame, time_s: float) -> None:
        """Take a painting."""
        if self._copy is None:
            self._copy = np.empty_like(picture)
        np.copyto(self._copy, picture)
        self._on_frame(time_s)

    def idle(self) -> None:
        """There is nothing to do."""


def camera_pictures(size: str, count: int = RING) -> list[Frame]:
    """Pictures of the demo clip, (H, W, 3) uint8 BGR, H and W as in `size` ("640x480")."""
    from make_demo_clip import FRAMES, frame_at

    chosen = (frame_at(index * FRAMES // count) for index in range(count))
    scaled = (cv2.resize(frame, parse_size(size), interpolation=cv2.INTER_CUBIC) for frame in chosen)
    return [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), dtype=np.uint8) for frame in scaled]
