"""Where live frames come from, and the newest of them.

    camera = open_camera("0")                  # or "logitech", "rtsp://...", "clip.mp4", "holiday/", "demo"
    with NewestFrame(camera) as newest:
        for capture in newest.captures():
            ...

`device` reads cameras of this machine, `played` what plays at a speed of its own (clips, streams, folders), `demo`
draws a scene, `steady` keeps a session alive when its camera fails.
"""

import re
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import Protocol

import cv2

from ..contract import MIN_SIZE_PX
from ..errors import InputError
from ..pictures import Frame
from .clip import open_clip, open_stream
from .demo import DemoCamera
from .device import DeviceCamera, find_device
from .played import ClipCamera, FolderCamera

DEMO = "demo"
"""The source that needs nothing: a scene that moves."""
HEARTBEAT_S = 0.05
"""How long `NewestFrame` waits for a frame before it says that there is none yet."""
_JOIN_S = 1.0  # a camera that hangs is left to its thread, which ends with the process
_FOR_DEVICES = "it is for cameras of this machine"
_FILE_NAME = re.compile(r".*[/\\].*|.*\.[a-z]\w{1,4}", re.IGNORECASE | re.DOTALL)  # not "USB2.0 Camera"


class Camera(Protocol):
    """Where live frames come from."""

    name: str
    """What the user calls it: "camera 0"."""
    description: str
    """What it really gives: "camera 0: 640x480 at 30 fps"."""
    notes: list[str]
    """What was asked for and could not be had, for people; it may grow while frames come."""

    def frames(self) -> Generator[Frame | None, None, None]:
        """Yield (H, W, 3) uint8 RGB as they come, None now and then while none is due; ends where the source does.

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


def open_camera(
    source: str, *, size: tuple[int, int] | None = None, fps: float | None = None, loop: bool = False
) -> Camera:
    """Open what `source` names; what it cannot use of the rest is noted in the camera's `notes`.

    Args:
        source: a camera's index ("0") or a part of its name ("logitech"), an address ("http://...", "https://...",
            "rtsp://..."), a video file, a folder of pictures, or "demo".
        size: width and height, px, to ask a device for, or to show a folder's pictures or the demo at.
        fps: frames per second to ask a device for.
        loop: start a clip or a folder anew at its end.

    Raises:
        InputError: no such camera, or it cannot be opened.
    """
    index, path = _index(source), Path(source)
    if index is not None:
        camera = DeviceCamera(index, size=size, fps=fps)
    elif source == DEMO:
        return DemoCamera(size=size, notes=_ignored(_FOR_DEVICES, fps=fps))
    elif "://" in source:
        notes = _ignored(_FOR_DEVICES, size=size, fps=fps)
        return ClipCamera(partial(open_stream, source), loop=loop, notes=notes)
    elif source and path.is_dir():
        return FolderCamera(path, size=size, loop=loop, notes=_ignored(_FOR_DEVICES, fps=fps))
    elif path.is_file() or _FILE_NAME.fullmatch(source):
        notes = _ignored(_FOR_DEVICES, size=size, fps=fps)
        return ClipCamera(partial(open_clip, path), loop=loop, notes=notes)
    else:
        camera = DeviceCamera(find_device(source), size=size, fps=fps)
    camera.notes += _ignored("a camera has no end", loop=loop)
    return camera


class NewestFrame:
    """Reads a camera on a thread of its own and keeps only the newest frame, so that who is slow is never late.

    A context manager, which closes the camera too. While it is open, OpenCV works on one thread, in the whole process:
    its pool makes a frame's colours no faster and burns 0.3 ms of CPU a frame in waiting, which the network then lacks.

    Args:
        camera: an open camera.
    """

    captured: int = 0
    """Frames that the camera gave."""
    dropped: int = 0
    """Frames of those that a newer one replaced before anybody took them."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
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
                if picture is not None:
                    self._keep(Capture(picture, monotonic()))

    def _keep(self, capture: Capture) -> None:
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


def _index(source: str) -> int | None:
    """Of a device: "0", or on Linux its node, which may go by other names ("/dev/v4l/by-id/...")."""
    if source.isdecimal():
        return int(source)
    node = re.fullmatch(r"/dev/video(\d+)", str(Path(source).resolve())) if source.startswith("/dev/") else None
    return int(node[1]) if node else None


def _ignored(why: str, **asked: object) -> list[str]:
    return [f"--{name} is ignored: {why}" for name, value in asked.items() if value]
