"""The window that shows what is painted, with figures and help over it, and hands keys and mouse to the controls."""

import ctypes
import os
import re
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from ..pictures import Frame
from .controls import Controls
from .overlay import draw_help, draw_lines


class Window:
    """Shows frames and answers keys. A context manager; use it on the main thread.

    Args:
        title: of the window.
        controls: what keys do; quitting there, or closing the window, closes this sink.
        figures: the lines over the picture, ASCII.

    Raises:
        InputError: there is no display, or OpenCV cannot draw on it.
    """

    closed = False
    description = "a window: h shows its keys"
    problem = None

    def __init__(self, title: str, controls: Controls, figures: Callable[[], Sequence[str]]) -> None:
        if problem := display_problem():
            raise InputError(f"no display: {problem}")
        self._title, self._controls, self._figures = title, controls, figures
        self._full_screen = False
        self._picture: Frame | None = None

    def __enter__(self) -> "Window":
        _find_fonts()
        keep_events()
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise InputError(
                "no display: this OpenCV is built without windows; install opencv-python, or use --no-window"
            ) from error
        cv2.setMouseCallback(self._title, self._on_mouse)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(cv2.error):  # already closed by its cross
            cv2.destroyWindow(self._title)

    def write(self, picture: Frame, time_s: float) -> None:
        """Show an (H, W, 3) uint8 RGB frame."""
        if self._picture is None:
            height, width = picture.shape[:2]
            cv2.resizeWindow(self._title, width, height)
        self._picture = picture
        self._show(picture)
        self._answer()

    def idle(self) -> None:
        """Show the last picture with what is to be said now: the camera may be away."""
        if self._picture is not None:
            self._show(self._picture)
            self._answer()

    def _answer(self) -> None:
        """Keys, mouse and the window's cross."""
        pressed = cv2.waitKeyEx(1)
        if pressed >= 0 and (code := pressed & 0xFFFF) < 0x80:  # arrows and the like have larger ones; above: modifiers
            self._controls.press(chr(code))
        if self._controls.full_screen != self._full_screen:
            self._full_screen = self._controls.full_screen
            mode = cv2.WINDOW_FULLSCREEN if self._full_screen else cv2.WINDOW_NORMAL
            cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, mode)
        self.closed = self.closed or self._controls.quit or not _is_visible(self._title)

    def _show(self, picture: Frame) -> None:
        shown = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), dtype=np.uint8)
        controls = self._controls
        if controls.help:
            draw_help(shown, [(entry.label, entry.what) for entry in controls.table])
        elif controls.overlay:
            draw_lines(shown, self._figures())
        if notice := controls.notice:
            draw_lines(shown, [notice], bottom=True)
        cv2.imshow(self._title, shown)

    def _on_mouse(self, event: int, x: int, y: int, flags: int, _: object) -> None:
        """Drag the border between photo and painting; `x` is in pixels of the picture."""
        if flags & cv2.EVENT_FLAG_LBUTTON and self._picture is not None:
            self._controls.drag(x / self._picture.shape[1])


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


def keep_events() -> bool:
    """Keep Xlib from taking events that are Qt's: keys, clicks, and the one without which a window stays black.

    False: it cannot be done here, and now and then one is lost. Call it before the first window.

    opencv-python brings a libX11-xcb of its own, and leaves libX11 to the system. Its XSetEventQueueOwner writes into
    a structure of libX11's in which that field has moved since, so Xlib goes on taking events for itself, now and
    then one of them. The system's fits the system's libX11; once it is loaded for all, Qt finds it first.
    """
    if sys.platform in {"win32", "darwin"}:
        return True
    try:
        ctypes.CDLL("libX11-xcb.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def _is_visible(title: str) -> bool:
    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:
        return False
