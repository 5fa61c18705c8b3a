"""A window manager of a few lines, for windows under Xvfb: it lets them be full screen, and has a cross for each."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from Xlib import X, Xatom
from Xlib.display import Display
from Xlib.protocol.event import ClientMessage

READY = "ready\n"


@contextmanager
def managing(display: str) -> Iterator[None]:
    """Manage the windows of a screen."""
    command = [sys.executable, __file__, display]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == READY
        try:
            yield
        finally:
            process.terminate()


def click_the_cross(display: str, window: int) -> None:
    """Ask a window to close."""
    connection = Display(display)
    protocols, delete = (connection.intern_atom(name) for name in ("WM_PROTOCOLS", "WM_DELETE_WINDOW"))
    target = connection.create_resource_object("window", window)
    target.send_event(ClientMessage(window=target, client_type=protocols, data=(32, [delete, 0, 0, 0, 0])))
    connection.sync()
    connection.close()


def manage(display: Any) -> None:
    """For ever. What a manager says of itself: the Extended Window Manager Hints of freedesktop.org."""
    screen, atom = display.screen(), display.intern_atom
    state, full = atom("_NET_WM_STATE"), atom("_NET_WM_STATE_FULLSCREEN")
    check = screen.root.create_window(0, 0, 1, 1, 0, 0)
    for window in (screen.root, check):
        window.change_property(atom("_NET_SUPPORTING_WM_CHECK"), Xatom.WINDOW, 32, [check.id])
    screen.root.change_property(atom("_NET_SUPPORTED"), Xatom.ATOM, 32, [state, full])
    screen.root.change_attributes(event_mask=X.SubstructureRedirectMask | X.SubstructureNotifyMask)
    display.sync()
    print(READY, end="", flush=True)
    sizes: dict[int, tuple[int, int]] = {}  # of those that are full screen, before they were
    while True:
        event = display.next_event()
        if event.type == X.MapRequest:
            event.window.map()
            event.window.change_property(atom("WM_STATE"), atom("WM_STATE"), 32, [1, 0])
        elif event.type == X.ConfigureRequest:
            masks = {"x": X.CWX, "y": X.CWY, "width": X.CWWidth, "height": X.CWHeight}
            event.window.configure(
                **{name: getattr(event, name) for name, mask in masks.items() if event.value_mask & mask}
            )
        elif event.type == X.ClientMessage and event.client_type == state and full in event.data[1][1:3]:
            wanted, window = bool(event.data[1][0]), event.window
            if wanted and window.id not in sizes:
                geometry = window.get_geometry()
                sizes[window.id] = geometry.width, geometry.height
                window.configure(x=0, y=0, width=screen.width_in_pixels, height=screen.height_in_pixels)
            elif not wanted and window.id in sizes:
                width, height = sizes.pop(window.id)
                window.configure(width=width, height=height)
            window.change_property(state, Xatom.ATOM, 32, [full] if wanted else [])
        display.flush()


if __name__ == "__main__":
    manage(Display(sys.argv[1]))
