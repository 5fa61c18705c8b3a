"""The window that shows what is painted. q, Esc or closing it ends the session."""

import os
import re
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from ..pictures import Frame

QUIT_KEYS = (ord("q"), ord("Q"), 27)
_RATE_OVER_FRAMES = 30
_FONT, _LINE_PX = cv2.FONT_HERSHEY_SIMPLEX, 24


class Window:
    """Shows frames, with frames per second drawn on what is shown only. A context manager; use it on the main thread.

    Raises:
        InputError: there is no display, or OpenCV cannot draw on it.
    """

    closed = False

    def __init__(self, title: str) -> None:
        if problem := display_problem():
            raise InputError(f"no display: {problem}")
        self._title = title
        self._times_s: deque[float] = deque(maxlen=_RATE_OVER_FRAMES)
        self._opened = False

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened:
            with suppress(cv2.error):  # already closed by its cross
                cv2.destroyWindow(self._title)

    def write(self, picture: Frame, time_s: float) -> None:
        """Show an (H, W, 3) uint8 RGB frame."""
        if not self._opened:
            self._open(picture)
        self._times_s.append(time.monotonic())
        shown = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), dtype=np.uint8)
        _draw_rate(shown, self.fps)
        cv2.imshow(self._title, shown)
        self.idle()

    def idle(self) -> None:
        """Answer keys and the window's cross."""
        if self._opened:
            pressed = cv2.waitKey(1) & 0xFF
            self.closed = self.closed or pressed in QUIT_KEYS or not _is_visible(self._title)

    @property
    def fps(self) -> float | None:
        """Frames per second of late."""
        if len(self._times_s) < 2:
            return None
        return (len(self._times_s) - 1) / (self._times_s[-1] - self._times_s[0])

    def _open(self, picture: Frame) -> None:
        _find_fonts()
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise InputError(
                "no display: this OpenCV is built without windows; install opencv-python, or use --no-window"
            ) from error
        cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
        self._opened = True


def display_problem() -> str | None:
    """Why no window can be opened; None: it can. Opening one without a display would abort the whole process."""
    if sys.platform in {"win32", "darwin"}:
        return None
    display, wayland = os.environ.get("DISPLAY"), os.environ.get("WAYLAND_DISPLAY")
    if display:
        return None if _answers(display) else f"nothing answers at DISPLAY '{display}'"
    if not wayland:
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    plugins = Path(cv2.__file__).parent / "qt" / "plugins" / "platforms"
    if plugins.is_dir() and not list(plugins.glob("*wayland*")):
        return "this OpenCV draws on X11 only, and DISPLAY is not set"
    return None


def _answers(display: str) -> bool:
    """Whether an X server listens there: ":0" on a local socket, "host:0" on TCP port 6000."""
    if (parts := re.fullmatch(r"(.*):(\d+)(?:\.\d+)?", display)) is None:
        return False
    host, number = parts[1], int(parts[2])
    if host not in {"", "unix"}:
        with suppress(OSError), socket.create_connection((host, 6000 + number), timeout=5):
            return True
        return False
    for address in (f"/tmp/.X11-unix/X{number}", f"\0/tmp/.X11-unix/X{number}"):  # a file, or Linux's abstract name
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(address)
            return True
    return False


def _find_fonts() -> None:
    """Qt inside opencv-python 5 looks for fonts in a folder that is not there, and complains: show it the system's."""
    if Path(os.environ.get("QT_QPA_FONTDIR", "")).is_dir() and os.environ.get("QT_QPA_FONTDIR"):
        return
    if font := next(Path("/usr/share/fonts").rglob("*.ttf"), None):
        os.environ["QT_QPA_FONTDIR"] = str(font.parent)


def _is_visible(title: str) -> bool:
    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:
        return False


def _draw_rate(shown: Frame, fps: float | None) -> None:
    """White with a black shadow, so that it reads on any painting."""
    if fps is None:
        return
    for shift, colour in ((1, (0, 0, 0)), (0, (255, 255, 255))):
        cv2.putText(shown, f"{fps:.1f} fps", (8 + shift, _LINE_PX + shift), _FONT, 0.6, colour, 1, cv2.LINE_AA)
