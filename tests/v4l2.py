"""A kernel with cameras, as far as Video4Linux2 can be asked about them: it answers in the kernel's own structs."""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from allaprima.infer import v4l2

Interval = tuple[int, int]
"""A fraction of a second between frames."""


@dataclass
class Range:
    """Sizes, px, or intervals from ... to, with a step."""

    numbers: Sequence[int]


@dataclass
class Node:
    """/dev/videoN: what it says about itself, and pixel format -> size -> intervals."""

    card: bytes
    of_node: int = v4l2.CAPTURE | 0x04200000
    of_device: int = v4l2.NODE_CAPS | 0x04A00001  # the UVC driver's: pictures and metadata
    formats: Mapping[bytes, Any] = field(default_factory=dict)
    error: int = 0
    """What every question is answered with instead."""


VGA, HD, FULL_HD = (640, 480), (1280, 720), (1920, 1080)
WEBCAM = Node(
    b"HD Pro Webcam C920",
    formats={
        b"YUYV": {VGA: [(1, 30), (1, 15)], HD: [(1, 10), (1, 5)]},
        b"MJPG": {VGA: [(1, 30)], HD: [(1001, 30000), (1, 15)], FULL_HD: [(1, 30)]},
    },
)
METADATA = Node(b"HD Pro Webcam C920", of_node=0x04A00000)


class Kernel:
    """Takes the place of the real one.

    Args:
        monkeypatch: of the test.
        folder: an empty one; becomes /dev.
        nodes: number -> what /dev/videoN is.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, nodes: Mapping[int, Node]) -> None:
        self._nodes = {f"video{index}": node for index, node in nodes.items()}
        for name in (*self._nodes, "video-like"):
            (folder / name).touch()
        monkeypatch.setattr(v4l2, "DEV", folder)
        monkeypatch.setattr(v4l2, "SYS", folder)
        monkeypatch.setattr(v4l2, "ioctl", self.ioctl)

    def ioctl(self, file: int, request: int, buffer: bytearray) -> int:
        """Answer in place."""
        node = self._nodes[Path(f"/proc/self/fd/{file}").readlink().name]
        assert len(buffer) == request >> 16 & 0x3FFF  # the request's number says how long its struct is
        if node.error:
            raise OSError(node.error, os.strerror(node.error))
        try:
            buffer[:] = {
                v4l2.QUERYCAP: capability,
                v4l2.ENUM_FMT: pixel_format,
                v4l2.ENUM_FRAMESIZES: frame_size,
                v4l2.ENUM_FRAMEINTERVALS: frame_interval,
            }[request](node, bytes(buffer))
        except (IndexError, KeyError) as error:
            raise OSError(errno.EINVAL, "Invalid argument") from error
        return 0


def capability(node: Node, _: bytes) -> bytes:
    return v4l2.CAPABILITY.pack(b"uvcvideo", node.card, b"usb-0000:00:14.0-1", 0x60800, node.of_device, node.of_node)


def pixel_format(node: Node, question: bytes) -> bytes:
    index, kind, *_ = v4l2.FORMAT.unpack(question)
    if kind != 1:
        raise KeyError(kind)
    pixels = list(node.formats)[index]
    return v4l2.FORMAT.pack(index, kind, 0, b"Some format", pixels, 0)


def frame_size(node: Node, question: bytes) -> bytes:
    index, pixels, *_ = v4l2.FRAME_SIZE.unpack(question)
    sizes = node.formats[pixels]
    if isinstance(sizes, Range):
        return v4l2.FRAME_SIZE.pack(index, pixels, 3, *[sizes.numbers][index])
    return v4l2.FRAME_SIZE.pack(index, pixels, 1, *list(sizes)[index], 0, 0, 0, 0)


def frame_interval(node: Node, question: bytes) -> bytes:
    index, pixels, width, height, *_ = v4l2.FRAME_INTERVAL.unpack(question)
    sizes = node.formats[pixels]
    if isinstance(sizes, Range):
        return v4l2.FRAME_INTERVAL.pack(index, pixels, width, height, 3, *[(1, 60, 1, 5, 1, 60)][index])
    interval: Interval = sizes[width, height][index]
    return v4l2.FRAME_INTERVAL.pack(index, pixels, width, height, 1, *interval, 0, 0, 0, 0)
