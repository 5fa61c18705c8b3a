"""What stands in a style file, read before anything runs it.

An ONNX file is a protocol-buffers message. Walking its fields takes milliseconds, needs neither the `onnx` package nor
a session, and tells what ONNX Runtime would only do: open other files that the graph names. Such files are refused.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..contract import CONTRACT, StyleCard
from ..errors import InputError
from .protobuf import VARINT, MalformedError, Value, fields, text

MAX_BYTES = 256 * 2**20
"""Style networks are 0.1 to 10 MB; what is far above is something else."""

# onnx.proto: message -> field number -> the message in that field, for every way from a model to a tensor.
CHILDREN: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto",
        22: "SparseTensorProto", 23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}  # fmt: skip
IR_VERSION, GRAPH, METADATA = 1, 7, 14  # fields of ModelProto
OP_TYPE = 4  # of NodeProto
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of TensorProto


@dataclass(frozen=True)
class StyleFile:
    """A vetted file: what a session is to be made from."""

    path: Path
    data: bytes
    """The whole file; a session made from these bytes runs what was vetted."""
    card: StyleCard | None
    """What it says about itself; None for other people's files."""


def read_style_file(path: str | Path) -> StyleFile:
    """Read and vet a style file.

    Raises:
        InputError: missing, over 256 MB, not ONNX, damaged, not self-contained, or of a contract we do not know.
    """
    path = Path(path)
    data = _read(path)
    metadata = {}
    seen = set()
    try:
        for message, number, value in _walk(data):
            seen.add((message, number))
            _refuse_other_files(path, message, number, value)
            if (message, number) == ("ModelProto", METADATA):
                key, entry = _entry(value)
                metadata[key] = entry
    except MalformedError as error:
        # Every known exporter writes the version of the format first.
        if data[0] != IR_VERSION << 3 | VARINT:
            raise InputError(f"style file '{path}' is not an ONNX file: give a .onnx style file") from error
        raise InputError(f"style file '{path}' is cut short or damaged ({error}): copy or export it again") from error
    if not seen >= {("ModelProto", IR_VERSION), ("ModelProto", GRAPH)}:
        raise InputError(f"style file '{path}' holds no network: give a .onnx style file")
    return StyleFile(path, data, _card(path, metadata))


def read_card(path: str | Path) -> StyleCard | None:
    """What a style file says about itself; None for other people's files.

    Raises:
        InputError: as :func:`read_style_file`.
    """
    return read_style_file(path).card


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"style file '{path}' does not exist or is no file: check the path")
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InputError(
                f"style file '{path}' has {size / 1e6:,.0f} MB: expected at most {MAX_BYTES / 1e6:,.0f}, "
                "this is no style network"
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"style file '{path}' cannot be read ({error.strerror}): check its permissions") from error
    if not data:
        raise InputError(f"style file '{path}' is empty: copy or export it again")
    return data


def _card(path: Path, metadata: dict[str, str]) -> StyleCard | None:
    try:
        # The version first: a later contract may give the other entries other types.
        contract = json.loads(metadata.get("allaprima.contract", "null"))
        if contract not in {None, CONTRACT}:
            raise InputError(
                f"style file '{path}' follows contract {str(contract)[:40]!r}, this version knows {CONTRACT!r}: "
                "update allaprima or export the style again"
            )
        card = StyleCard.from_metadata(metadata)
    except InputError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"style file '{path}' has damaged metadata ({reason}): export it again") from error
    if card is not None and card.io not in {"frame", "tensor"}:
        raise InputError(f"style file '{path}' has io {card.io!r}: expected 'frame' or 'tensor', export it again")
    return card


def _refuse_other_files(path: Path, message: str, number: int, value: Value) -> None:
    external = message == "TensorProto" and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0))
    compiled = message == "NodeProto" and number == OP_TYPE and text(value) == "EPContext"  # names an engine file
    if external or compiled:
        raise InputError(
            f"style file '{path}' keeps weights in other files: a style is one self-contained file, "
            "export it again without external data"
        )


def _walk(data: bytes) -> Iterator[tuple[str, int, Value]]:
    """(message, field number, value) of a model and of everything below that can hold a tensor.

    Raises:
        MalformedError: see there.
    """
    stack = [("ModelProto", memoryview(data))]  # no recursion: a file may nest graphs as deep as it likes
    while stack:
        message, content = stack.pop()
        children = CHILDREN.get(message, {})
        for number, value in fields(content):
            yield message, number, value
            if number in children and isinstance(value, memoryview):
                stack.append((children[number], value))


def _entry(value: Value) -> tuple[str, str]:
    """Key and value of one metadata entry."""
    parts = dict(fields(value)) if isinstance(value, memoryview) else {}
    return text(parts.get(1)), text(parts.get(2))
