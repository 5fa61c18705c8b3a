"""Cameras of this machine: which there are, what they give, and their frames.

OpenCV reads them, on every system. What Linux has is asked of Video4Linux2 itself (v4l2.py); elsewhere names come from
the system, sizes from asking for the usual ones, which opens the camera for a moment.
"""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from time import monotonic, sleep

import cv2
import numpy as np
from cv2.typing import MatLike
from cv2.utils import logging

from ..errors import InputError
from ..pictures import Frame

USUAL_SIZES = (320, 240), (640, 480), (800, 600), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160)
"""What cameras are asked for that do not list their sizes: width and height, px."""
_BACK_ENDS = {"linux": ("V4L2",), "win32": ("MSMF", "DSHOW"), "darwin": ("AVFOUNDATION",)}
_DEFAULT_SIZE, _DEFAULT_FPS = (640, 480), 30.0  # what OpenCV asks a device for, and what people expect
_COMPRESSED = {"MJPG", "JPEG", "H264", "HEVC"}
_BUFFERS = 2  # one that the driver fills and one that is read: with one, UVC cameras give every other frame only
_GIVE_UP_S = 1.0  # of reads that fail
_FIRST_FRAME_S = 3.0
_MOST_DEVICES = 10  # tried, where the system does not say how many there are
_SYSTEM_PROFILER = ["/usr/sbin/system_profiler", "SPCameraDataType", "-json"]


@dataclass(frozen=True)
class Mode:
    """A picture that a device can give."""

    width: int
    height: int
    fps: tuple[float, ...]
    """Frames per second, the highest first; empty: it does not say."""
    format: str
    """Four letters: "MJPG", "YUYV"; empty: not known."""


@dataclass(frozen=True)
class Device:
    """A camera of this machine."""

    index: int
    name: str
    """As the system calls it."""
    back_end: str
    """OpenCV's name of what reads it."""


def list_devices() -> list[Device]:
    """The cameras that the system shows; none of them is opened, unless the system cannot name them."""
    if sys.platform == "linux":
        from .v4l2 import cameras

        return [Device(index, name, "V4L2") for index, name in cameras()]
    back_end = _back_ends()[-1]
    names = _names()
    if names is None:
        return _tried(back_end)
    return [Device(index, name, back_end) for index, name in enumerate(names)]


def list_modes(device: Device) -> list[Mode]:
    """What a device can give, small pictures first.

    Raises:
        InputError: it cannot be asked.
    """
    if sys.platform == "linux":
        from .v4l2 import modes

        return modes(device.index)
    capture = _open_device(device.index, device.back_end)
    if not capture.isOpened():
        raise InputError(f"camera {device.index} cannot be opened ({_why_not(device.index, device.back_end)})")
    try:
        return _tried_modes(capture)
    finally:
        capture.release()


def find_device(text: str) -> Device:
    """The one camera with `text` in its name, or, of several, the one whose whole name it is; case does not matter.

    Raises:
        InputError: there is none, or more than one.
    """
    devices, wanted = list_devices(), text.strip().casefold()
    matches = [device for device in devices if wanted in device.name.casefold()]
    exact = [device for device in matches if wanted == device.name.casefold()]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if matches:
        raise InputError(f"camera '{text}' could be {_listed(matches)}: give more of the name, or the index")
    raise InputError(
        f"camera '{text}' is no file and no part of a camera's name: give an index, a file, an address or 'demo' "
        f"({_present(devices)})"
    )


class DeviceCamera:
    """A camera of this machine. Asks for `size` and `fps`, and says what it got.

    Args:
        device: its index, or what `find_device` found.
        size: width and height, px.
        fps: frames per second.

    Raises:
        InputError: no back end gets a picture from it; each one's reason.
    """

    def __init__(self, device: int | Device, *, size: tuple[int, int] | None = None, fps: float | None = None) -> None:
        if isinstance(device, Device):
            self.name = f"camera '{device.name}'"
            self._open(device.index, [device.back_end], size, fps)
        else:
            self.name = f"camera {device}"
            self._open(device, _back_ends(), size, fps)
        height, width, _ = self._first.shape
        got_fps = self._capture.get(cv2.CAP_PROP_FPS)
        rate = f" at {got_fps:g} fps" if got_fps > 0 else ""
        self.description = f"{self.name}: {width}x{height}{rate} ({self._back_end})"
        self.notes: list[str] = []
        if size and size != (width, height):
            self.notes.append(f"{self.name} gives {width}x{height} px, not --size {size[0]}x{size[1]}")
        if fps and abs(fps - got_fps) > 0.5:
            self.notes.append(f"{self.name} gives {got_fps:g} frames per second, not --fps {fps:g}")

    def frames(self) -> Generator[Frame | None, None, None]:
        """Yield frames until the device fails, which it does when it is unplugged."""
        picture: MatLike | None = self._first  # old by now, but its memory serves
        last_s = monotonic()
        while True:
            success, picture = self._capture.read(picture)  # into the same memory
            if not success:
                if monotonic() - last_s > _GIVE_UP_S:
                    break
                sleep(0.1)
                continue
            last_s = monotonic()
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        raise InputError(f"{self.name} stopped sending pictures: check its cable and start again")

    def close(self) -> None:
        """Give the device back."""
        self._capture.release()

    def _open(self, index: int, back_ends: Iterable[str], size: tuple[int, int] | None, fps: float | None) -> None:
        """Open it through the first back end that gets a picture from it."""
        reasons = []
        for back_end in back_ends:
            capture = _open_device(index, back_end)
            if capture.isOpened():
                _ask(capture, size, fps, mjpg=_needs_mjpg(index, back_end, size, fps))
                if (first := _first_frame(capture)) is not None:
                    self._capture, self._back_end, self._first = capture, back_end, first
                    return
                reasons.append(f"{back_end}: it opens, but gives no picture; another program may use it")
            else:
                reasons.append(f"{back_end}: {_why_not(index, back_end)}")
            capture.release()
        raise InputError(
            f"{self.name} cannot be opened ({'; '.join(reasons)}): plug it in, close other programs that use it, or "
            f"give another camera, a file, an address or 'demo' ({_present(list_devices())})"
        )


def best_fps(modes: Iterable[Mode], size: tuple[int, int]) -> float:
    """The highest rate at a size, frames per second; 0: there is none."""
    return max((fps for mode in modes if (mode.width, mode.height) == size for fps in mode.fps), default=0.0)


def needs_mjpg(modes: Iterable[Mode], size: tuple[int, int] | None, fps: float | None) -> bool:
    """Whether a device comes nearer to what is asked of it with JPEGs: raw pictures soon fill its cable."""
    modes, size, fps = list(modes), size or _DEFAULT_SIZE, fps or _DEFAULT_FPS
    raw = best_fps((mode for mode in modes if mode.format not in _COMPRESSED), size)
    jpeg = best_fps((mode for mode in modes if mode.format == "MJPG"), size)
    return min(jpeg, fps) > min(raw, fps)


def _needs_mjpg(index: int, back_end: str, size: tuple[int, int] | None, fps: float | None) -> bool:
    """Linux knows; DirectShow gives raw pictures unless asked, and the others choose well themselves."""
    if back_end == "V4L2":
        try:
            return needs_mjpg(list_modes(Device(index, "", back_end)), size, fps)
        except InputError:
            return False
    return back_end == "DSHOW" and (size or _DEFAULT_SIZE) > _DEFAULT_SIZE


def _ask(capture: cv2.VideoCapture, size: tuple[int, int] | None, fps: float | None, *, mjpg: bool) -> None:
    capture.set(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)  # fewer old frames, where the system honours it
    if mjpg:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))  # before the size, which it allows
    if size:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    if fps:
        capture.set(cv2.CAP_PROP_FPS, fps)


def _first_frame(capture: cv2.VideoCapture) -> Frame | None:
    """(H, W, 3) uint8 BGR; None: it gives none, which only a read can tell."""
    begin_s = monotonic()
    while monotonic() - begin_s < _FIRST_FRAME_S:
        success, picture = capture.read()
        if success:
            return np.asarray(picture, dtype=np.uint8)
        sleep(0.1)
    return None


def _open_device(index: int, back_end: str) -> cv2.VideoCapture:
    """OpenCV complains on stderr about what it cannot open; the one line that counts is ours."""
    os.environ.setdefault("OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS", "0")  # with them, cameras open in 10 s or more
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(index, getattr(cv2, f"CAP_{back_end}"))
    finally:
        logging.setLogLevel(level)


def _back_ends() -> tuple[str, ...]:
    return _BACK_ENDS.get(sys.platform, ("ANY",))


def _why_not(index: int, back_end: str) -> str:
    """A likely reason why a back end does not open a camera; OpenCV gives none."""
    if sys.platform == "linux":
        from .v4l2 import problem

        return problem(index) or "it is there, but does not open; another program may use it"
    if back_end != "ANY" and not cv2.videoio_registry.hasBackend(getattr(cv2, f"CAP_{back_end}")):
        return "not in this OpenCV"
    if sys.platform == "darwin":
        return "no such camera, or the terminal may not use it (System Settings, Privacy & Security, Camera)"
    return "no such camera, or another program uses it"


def _present(devices: list[Device]) -> str:
    return f"found: {_listed(devices)}" if devices else "this machine shows no camera"


def _listed(devices: list[Device]) -> str:
    return ", ".join(f"{device.index} '{device.name}'" for device in devices)


def _names() -> list[str] | None:
    """The cameras' names in the order of OpenCV's indexes; None: the system does not say."""
    try:
        if sys.platform == "win32":
            import av

            return [d.description for d in av.enumerate_input_devices("dshow") if "video" in d.media_types]
        if sys.platform == "darwin":
            done = subprocess.run(_SYSTEM_PROFILER, capture_output=True, timeout=10, check=True)
            return names_on_macos(done.stdout)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        pass
    return None


def names_on_macos(profile: bytes) -> list[str]:
    """The names in what the system profiler says of cameras; OpenCV counts them by their unique identifiers."""
    found = json.loads(profile)["SPCameraDataType"]
    return [str(camera["_name"]) for camera in sorted(found, key=lambda camera: str(camera["spcamera_unique-id"]))]


def _tried(back_end: str) -> list[Device]:
    """Every camera that opens, from 0 on, up to the first index that does not."""
    devices: list[Device] = []
    for index in range(_MOST_DEVICES):
        capture = _open_device(index, back_end)
        if not capture.isOpened():
            break
        capture.release()
        devices.append(Device(index, f"camera {index}", back_end))
    return devices


def _tried_modes(capture: cv2.VideoCapture) -> list[Mode]:
    """Which of the usual sizes an open device takes."""
    modes = {}
    for size in USUAL_SIZES:
        _ask(capture, size, None, mjpg=False)
        width, height = (round(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        fps = capture.get(cv2.CAP_PROP_FPS)
        modes[width, height] = Mode(width, height, (fps,) if fps > 0 else (), "")
    return [mode for _, mode in sorted(modes.items())]
