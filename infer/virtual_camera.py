"""A camera that other programs (Zoom, OBS, a browser) can choose, and that shows what is painted. Through pyvirtualcam.

It needs a virtual device: v4l2loopback on Linux, that of OBS on macOS and Windows, or Unity Capture on Windows.
"""

import sys
from importlib import import_module
from typing import Any

from ..errors import InputError
from ..machine import LOAD_LOOPBACK
from ..pictures import Frame
from .sinks import fit

_REMEDIES = {
    "linux": f"sudo apt install v4l2loopback-dkms && {LOAD_LOOPBACK}",
    "darwin": "install OBS 30 or later (brew install --cask obs), start and stop its virtual camera once",
    "win32": "install OBS (winget install OBSProject.OBSStudio), or Unity Capture, and close what uses its camera",
}


class VirtualCamera:
    """Gives every frame to a virtual camera as it comes. A sink.

    The camera gets the size of the first frame, made even; frames of another size are scaled to it.

    Args:
        fps: about how many frames per second will come; programs that look are told so.
        device: which ("/dev/video9", "Unity Video Capture"); None: the first that there is.

    Raises:
        InputError: pyvirtualcam is not installed; on the first frame, no virtual camera can be opened.
    """

    closed = False
    problem: str | None = None
    """Why it takes no more frames, for people; None: it takes them."""

    def __init__(self, *, fps: float = 30, device: str | None = None) -> None:
        self._fps, self._device = fps, device
        self._camera: Any = None
        self.description = f"virtual camera {device}" if device else "virtual camera"
        try:
            self._pyvirtualcam: Any = import_module("pyvirtualcam")
        except ImportError as error:
            raise InputError(f"no virtual camera ({error}): pip install 'allaprima[vcam]', then {_remedy()}") from error

    def __enter__(self) -> "VirtualCamera":
        return self

    def __exit__(self, *_: object) -> None:
        if self._camera is not None:
            self._camera.close()

    def write(self, picture: Frame, time_s: float) -> None:
        """Show an (H, W, 3) uint8 RGB frame."""
        if self.problem:
            return
        camera = self._camera = self._camera or self._open(picture)
        try:
            camera.send(fit(picture, camera.width, camera.height))
        except (OSError, RuntimeError) as error:
            self.problem = f"the {self.description} takes no more frames ({_one_line(error)})"

    def idle(self) -> None:
        """The last frame stays."""

    def _open(self, picture: Frame) -> Any:
        height, width = picture.shape[:2]
        try:
            camera = self._pyvirtualcam.Camera(width + width % 2, height + height % 2, self._fps, device=self._device)
        except RuntimeError as error:
            raise InputError(f"no {self.description} ({_one_line(error)}): {_remedy()}") from error
        self.description = f"virtual camera {camera.device}: {camera.width}x{camera.height}"
        return camera


def _remedy() -> str:
    """How this system gets a virtual camera."""
    return _REMEDIES.get(sys.platform, _REMEDIES["linux"])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
