"""Cameras: a device, a network address, or a file that plays at its own speed. And the newest frame of any of them.

A device is read through OpenCV, which knows every system's cameras; addresses and files through the same reader as
clips (clip.py says why).
"""

import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from time import monotonic, sleep
from typing import Protocol

import cv2
import numpy as np
from cv2.utils import logging

from ..contract import MIN_SIZE_PX
from ..errors import InputError
from ..pictures import Frame
from .clip import Clip, open_clip, open_stream

HEARTBEAT_S = 0.05
"""How long `NewestFrame` waits for a frame before it says that there is none yet."""
_GIVE_UP_AFTER = 10  # reads that fail in a row, 0.1 s apart
_JOIN_S = 1.0  # a camera that hangs is left to its thread, which ends with the process


class Camera(Protocol):
    """Where live frames come from."""

    name: str
    """What the user calls it: "camera 0"."""
    description: str
    """What it really gives: "camera 0: 640x480 at 30 fps"."""
    notes: list[str]
    """What was asked for and could not be had, for people."""

    def frames(self) -> Generator[Frame, None, None]:
        """Yield (H, W, 3) uint8 RGB as they come; ends where the camera is a file.

        Raises:
            InputError: the camera fails.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Give the camera back; on the thread that reads, or after it."""


@dataclass(frozen=True, eq=False)
class Capture:
    """A frame and when it was there."""

    picture: Frame
    """(H, W, 3) uint8 RGB."""
    time_s: float
    """Monotonic seconds."""


def open_camera(source: str, *, size: tuple[int, int] | None = None, fps: float | None = None) -> Camera:
    """Open a camera by its index ("0"), its address ("http://...", "https://...", "rtsp://...") or a file's path.

    Args:
        source: which.
        size: width and height to ask a device for, px.
        fps: frames per second to ask a device for.

    Raises:
        InputError: no such camera, or it cannot be opened.
    """
    if source.isdecimal():
        return DeviceCamera(int(source), size=size, fps=fps)
    clip = open_stream(source) if "://" in source else open_clip(Path(source))
    return ClipCamera(clip, asked=[f"--{name}" for name, value in (("size", size), ("fps", fps)) if value])


class DeviceCamera:
    """A camera of this machine, by index. Asks for `size` and `fps`, reads back what it got."""

    def __init__(self, index: int, *, size: tuple[int, int] | None = None, fps: float | None = None) -> None:
        self.name = f"camera {index}"
        self._capture = _open_device(index)
        if not self._capture.isOpened():
            raise InputError(
                f"{self.name} cannot be opened: plug it in, close other programs that use it, or give another "
                f"index, a file or an address ({_present()})"
            )
        self._ask(size, fps)
        got = tuple(round(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        got_fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.description = f"{self.name}: {got[0]}x{got[1]}" + (f" at {got_fps:g} fps" if got_fps > 0 else "")
        self.notes = []
        if size and size != got:
            self.notes.append(f"{self.name} gives {got[0]}x{got[1]} px, not --size {size[0]}x{size[1]}")
        if fps and abs(fps - got_fps) > 0.5:
            self.notes.append(f"{self.name} gives {got_fps:g} frames per second, not --fps {fps:g}")

    def _ask(self, size: tuple[int, int] | None, fps: float | None) -> None:
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # fewer old frames, where the system honours it
        if size:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        if fps:
            self._capture.set(cv2.CAP_PROP_FPS, fps)

    def frames(self) -> Generator[Frame, None, None]:
        """Yield frames until the device fails, which it does when it is unplugged."""
        failures, picture = 0, None
        while failures < _GIVE_UP_AFTER:
            success, picture = self._capture.read(picture)  # into the same memory
            if not success:
                failures += 1
                sleep(0.1)
                continue
            failures = 0
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        raise InputError(f"{self.name} stopped sending pictures: check its cable and start again")

    def close(self) -> None:
        """Give the device back."""
        self._capture.release()


class ClipCamera:
    """A network camera, or a clip that plays at its own speed."""

    def __init__(self, clip: Clip, *, asked: list[str]) -> None:
        self._clip, self.name = clip, clip.name
        self.description = f"{clip.name}: {clip.width}x{clip.height}"
        if clip.finite:
            self.description += f" at {float(clip.rate):.4g} fps"
        self.notes = [f"{flag} is ignored: it is for a camera index" for flag in asked]

    def frames(self) -> Generator[Frame, None, None]:
        """Yield frames when they come, or, of a clip, when they are due."""
        start_s = first_pts = None
        with closing(self._clip.shots()) as shots:
            for shot in shots:
                if self._clip.finite:
                    now_s = monotonic()
                    start_s, first_pts = start_s or now_s, shot.pts if first_pts is None else first_pts
                    due_s = start_s + float((shot.pts - first_pts) * self._clip.time_base)
                    sleep(max(0.0, due_s - now_s))
                yield shot.picture
        if not self._clip.finite:
            raise InputError(f"{self.name} stopped sending pictures (it hung up): check it and start again")

    def close(self) -> None:
        """Close the file or the connection."""
        self._clip.__exit__()


class NewestFrame:
    """Reads a camera on a thread of its own and keeps only the newest frame, so that who is slow is never late.

    A context manager, which closes the camera too. While it is open, OpenCV works on one thread, in the whole process:
    its pool makes a frame's colours no faster and burns 0.3 ms of CPU a frame in waiting, which the network then lacks.

    Args:
        camera: an open camera.
        mirror: swap left and right, as people expect to see themselves.
    """

    captured: int = 0
    """Frames that the camera gave."""
    dropped: int = 0
    """Frames of those that a newer one replaced before anybody took them."""

    def __init__(self, camera: Camera, *, mirror: bool = False) -> None:
        self._camera, self._mirror = camera, mirror
        self._changed = Condition()
        self._newest: Capture | None = None
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self._thread = Thread(target=self._run, name="camera", daemon=True)

    def __enter__(self) -> "NewestFrame":
        self._opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._thread.join(_JOIN_S)
        cv2.setNumThreads(self._opencv_threads)

    def captures(self) -> Generator[Capture | None, None, None]:
        """Yield the newest frame, each at most once; None whenever `HEARTBEAT_S` passed without one.

        Raises:
            InputError: the camera failed; its last frame comes first.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._ended, HEARTBEAT_S)
                capture, self._newest = self._newest, None
                ended = self._ended
            if capture is None and ended:
                break
            yield capture
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        for step in (self._read, self._camera.close):
            try:
                step()
            except BaseException as error:  # it belongs to whoever asks for the next frame
                self._error = self._error or error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read(self) -> None:
        with closing(self._camera.frames()) as frames:
            for picture in frames:
                if self._stopped:
                    break
                self._keep(Capture(picture, monotonic()))

    def _keep(self, capture: Capture) -> None:
        if self._mirror:
            capture = Capture(np.asarray(cv2.flip(capture.picture, 1), dtype=np.uint8), capture.time_s)
        with self._changed:
            self.captured += 1
            self.dropped += self._newest is not None
            self._newest = capture
            self._changed.notify_all()


def parse_size(text: str) -> tuple[int, int]:
    """ "640x480" -> (640, 480).

    Raises:
        InputError: anything else.
    """
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= MIN_SIZE_PX):
        raise InputError(f"--size: got '{text}', expected a width and height such as 640x480")
    return int(width), int(height)


def _open_device(index: int) -> cv2.VideoCapture:
    """OpenCV tries many back ends, and each complains on stderr; the one line that counts is ours."""
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(index, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
    finally:
        logging.setLogLevel(level)


def _present() -> str:
    """The cameras that Linux shows."""
    if sys.platform != "linux":
        return "0 is the first camera"
    found = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video[0-9]*"))
    return f"found: {', '.join(found)}" if found else "this machine shows no camera"
