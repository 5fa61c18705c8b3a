"""Protocol buffers, as far as ONNX files need them: a message is a list of fields, each a number and a value.

    for number, value in fields(memoryview(message)): ...
    message = field(1, "x") + field(4, "Relu")

On disk a field is a tag (number << 3 | wire type) and what the type says; see protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""

Value = int | memoryview


class MalformedError(ValueError):
    """Not protocol buffers, or cut short."""


def fields(content: memoryview) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field of a message: an int, or the bytes.

    Raises:
        MalformedError: see there.
    """
    position, end = 0, len(content)
    while position < end:
        tag, position = _varint(content, position)
        number, kind = tag >> 3, tag & 7
        value: Value
        if kind == VARINT:
            value, position = _varint(content, position)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(kind)
            if size is None:
                if kind != BYTES or number == 0:
                    raise MalformedError(f"unknown field {number}, type {kind}")
                size, position = _varint(content, position)
            if position + size > end:
                raise MalformedError(f"{position + size - end:,} bytes are missing")
            value = content[position : position + size]
            position += size
        yield number, value


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    """The number at `position`, seven bits a byte, lowest first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(content):
            raise MalformedError("it ends within a number")
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise MalformedError("a number is too long")


def text(value: Value | None) -> str:
    """What a field of text says; nothing where it is no text."""
    return bytes(value).decode(errors="replace") if isinstance(value, memoryview) else ""


def field(number: int, value: int | float | str | bytes | memoryview) -> bytes:
    """One field as it stands in a message; a float has 32 bits."""
    if isinstance(value, int):
        return _number(number << 3 | VARINT) + _number(value)
    if isinstance(value, float):
        return _number(number << 3 | FIXED32) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else bytes(value)
    return _number(number << 3 | BYTES) + _number(len(content)) + content


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
