"""What Linux says about its cameras: Video4Linux2, the kernel's own interface (linux/videodev2.h).

https://docs.kernel.org/userspace-api/media/v4l/v4l2.html
"""

import errno
import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from fractions import Fraction
from pathlib import Path
from struct import Struct
from typing import Any

from ..errors import InputError
from .device import USUAL_SIZES, Mode

DEV, SYS = Path("/dev"), Path("/sys/class/video4linux")

CAPABILITY = Struct("=16s 32s 32s I II 12x")
"""v4l2_capability: driver, card, bus, version, capabilities of the device, of this node."""
FORMAT = Struct("=II I 32s 4s I 12x")
"""v4l2_fmtdesc: index, type, flags, description, pixel format, media bus code."""
FRAME_SIZE = Struct("=I 4s I 6I 8x")
"""v4l2_frmsizeenum: index, pixel format, type; width, height, or their minimum, maximum and step."""
FRAME_INTERVAL = Struct("=I 4s II I 6I 8x")
"""v4l2_frmivalenum: index, pixel format, width, height, type; a fraction of a second, or the least, most and step."""

QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
"""Requests as x86, ARM and RISC-V number them: direction, size of the struct, 'V', number."""
CAPTURE, CAPTURE_PLANES, NODE_CAPS = 0x1, 0x1000, 0x80000000
"""Capabilities: single-planar and multi-planar video capture; whether this node's own are told."""
DISCRETE = 1
_MOST = 1000  # answers; a driver that never ends is broken


def cameras() -> list[tuple[int, str]]:
    """Index and name of every capture node; one that this user may not open counts, for it may be a camera."""
    found = []
    for index in sorted(int(path.name[5:]) for path in DEV.glob("video*") if re.fullmatch(r"video\d+", path.name)):
        try:
            name, captures = _capability(index)
        except PermissionError:
            name, captures = _name_for_all(index), True
        except OSError:
            continue
        if captures:
            found.append((index, name))
    return found


def modes(index: int) -> list[Mode]:
    """What a camera gives, small pictures first; a driver that lists no sizes gives an empty list.

    Raises:
        InputError: it cannot be asked.
    """
    if reason := problem(index):
        raise InputError(f"camera {index} cannot be asked for its sizes: {reason}")
    with _node(index) as node:
        return sorted(set(_modes(node)), key=lambda mode: (mode.width, mode.height, mode.format))


def problem(index: int) -> str | None:
    """Why /dev/videoN is no camera that can be used; None: it is one."""
    node = f"/dev/video{index}"
    try:
        name, captures = _capability(index)
    except FileNotFoundError:
        return f"there is no {node}"
    except PermissionError:
        return f"{node} may not be opened by this user: sudo usermod -aG video $USER, then log in again"
    except OSError as error:
        return f"{node} does not answer ({os.strerror(error.errno or errno.EIO)})"
    return None if captures else f"{node} of '{name}' gives no pictures; another node of it does"


def _capability(index: int) -> tuple[str, bool]:
    """Name, and whether pictures come out of this node, not metadata or those of a codec."""
    with _node(index) as node:
        buffer = bytearray(CAPABILITY.size)
        ioctl(node, QUERYCAP, buffer)
    _, card, _, _, of_device, of_node = CAPABILITY.unpack(buffer)
    return _text(card), bool((of_node if of_device & NODE_CAPS else of_device) & (CAPTURE | CAPTURE_PLANES))


def _modes(node: int) -> Iterator[Mode]:
    for kind in (1, 9):  # V4L2_BUF_TYPE_VIDEO_CAPTURE, and the same in several planes
        for answer in _answers(node, ENUM_FMT, FORMAT, kind):
            pixels = answer[4]
            for width, height in _sizes(node, pixels):
                yield Mode(width, height, _rates(node, pixels, width, height), _text(pixels))


def _sizes(node: int, pixels: bytes) -> Iterator[tuple[int, int]]:
    for _, _, kind, *numbers in _answers(node, ENUM_FRAMESIZES, FRAME_SIZE, pixels):
        if kind == DISCRETE:
            yield numbers[0], numbers[1]
            continue
        least_w, most_w, step_w, least_h, most_h, step_h = numbers
        for width, height in (*USUAL_SIZES, (most_w, most_h)):
            fits = least_w <= width <= most_w and least_h <= height <= most_h
            if fits and (width - least_w) % max(1, step_w) == (height - least_h) % max(1, step_h) == 0:
                yield width, height


def _rates(node: int, pixels: bytes, width: int, height: int) -> tuple[float, ...]:
    """Frames per second, the highest first; of a range, its ends."""
    seconds: set[Fraction] = set()
    for *_, kind, a, b, c, d, _, _ in _answers(node, ENUM_FRAMEINTERVALS, FRAME_INTERVAL, pixels, width, height):
        pairs = [(a, b)] if kind == DISCRETE else [(a, b), (c, d)]
        seconds |= {Fraction(top, bottom) for top, bottom in pairs if top and bottom}
    return tuple(round(float(1 / s), 3) for s in sorted(seconds))


def _answers(node: int, request: int, layout: Struct, *question: object) -> Iterator[tuple[Any, ...]]:
    """What the driver answers to index 0, 1, 2 ... until it has no more (EINVAL), or does not know the question."""
    for index in range(_MOST):
        buffer = bytearray(layout.size)
        given = Struct("=I" + "".join("4s" if isinstance(part, bytes) else "I" for part in question))
        given.pack_into(buffer, 0, index, *question)
        try:
            ioctl(node, request, buffer)
        except OSError:
            return
        yield layout.unpack(buffer)


@contextmanager
def _node(index: int) -> Generator[int, None, None]:
    node = os.open(DEV / f"video{index}", os.O_RDWR | os.O_NONBLOCK)
    try:
        yield node
    finally:
        os.close(node)


def _name_for_all(index: int) -> str:
    with suppress(OSError):
        return (SYS / f"video{index}" / "name").read_text(encoding="utf-8", errors="replace").strip()
    return f"video{index}"


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", errors="replace").strip()
