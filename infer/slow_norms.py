"""Norms that remember: a style file rewritten for a film, so that one corner of a frame does not repaint the others.

Instance norm takes mean and variance from the whole frame. A lamp or a hand that enters changes them, and with them the
painting everywhere, at once. Here they move from frame to frame by a share of the way to the frame's own:

    used = given + pace (own - given)

`given` goes in and `own` comes out, for the next frame. A pace of 1 is instance norm.

    model, norms = with_slow_norms(style_file_bytes)
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .protobuf import Value, field, fields, text
from .stylefile import GRAPH, OP_TYPE

PACE = "film/pace"
"""Input: float32 (1,)."""
UNIT = "film/unit"
"""Input: 1, float32 (1,)."""
LOOKS = "film/looks"
"""Input: whether to look at the frame's own statistics, bool (1,); where not, `own` is `given`, and time is saved."""

# Fields and values of onnx.proto.
_NODE, _TENSOR, _INPUT, _OUTPUT = 1, 5, 11, 12  # of GraphProto
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _ATTRIBUTE = 1, 2, 3, 5  # of NodeProto
_FLOAT, _INT64, _BOOL = 1, 7, 9  # kinds of tensors
_INT, _SUBGRAPH = 2, 5  # kinds of attributes
_NORM = "InstanceNormalization"
_EPSILON = 1e-5  # where the node names none

_AXES, _BY_CHANNEL = "film/axes", "film/by_channel"


def given(norm: int) -> str:
    """Input: mean and variance of each channel for the norm of this number, float32 (1, C or 1, 1, 2)."""
    return f"film/{norm}/given"


def own(norm: int) -> str:
    """Output: those of this frame itself, float32 (1, C, 1, 2)."""
    return f"film/{norm}/own"


def with_slow_norms(model: bytes) -> tuple[bytes, int]:
    """Give the instance norms of a model their statistics by hand.

    Args:
        model: an ONNX file of opset 18 or later, well-formed, whose norms are in float32; for one frame at a time.

    Returns:
        The rewritten file, and how many norms it has. Where there is none, the file is as before.
    """
    rest, graph, norms = list[bytes](), list[bytes](), 0
    # Written again as they were read: no field of a model or a graph is one of fixed width.
    for number, value in fields(memoryview(model)):
        if number != GRAPH or isinstance(value, int):
            rest.append(field(number, value))
            continue
        for part, content in fields(value):
            if part == _NODE and not isinstance(content, int) and _op(content) == _NORM:
                graph += _slow(content, norms)
                norms += 1
            else:
                graph.append(field(part, content))
    if not norms:
        return model, 0
    graph += [field(_INPUT, _value(name, [1])) for name in (PACE, UNIT)]
    graph.append(field(_INPUT, _value(LOOKS, [1], _BOOL)))
    for name, numbers in ((_AXES, [2, 3]), (_BY_CHANNEL, [1, -1, 1, 1])):
        graph.append(field(_TENSOR, _constant(name, np.array(numbers, np.int64))))
    for norm in range(norms):  # after the frame and the painting
        names = (_INPUT, given(norm)), (_OUTPUT, own(norm))
        graph += [field(part, _value(name, _free(norm))) for part, name in names]
    return b"".join([*rest, field(GRAPH, b"".join(graph))]), norms


def _op(node: memoryview) -> str:
    return next((text(value) for number, value in fields(node) if number == OP_TYPE), "")


def _slow(node: memoryview, norm: int) -> Iterator[bytes]:
    """The parts of a graph in place of a norm's node: y = w (x - mean) / deviation + b with the statistics used."""
    parts = list(fields(node))
    x, weight, bias = (text(value) for number, value in parts if number == _NODE_INPUT)
    [y] = (text(value) for number, value in parts if number == _NODE_OUTPUT)
    at = f"film/{norm}/"
    yield field(_TENSOR, _constant(at + "epsilon", np.float32(_epsilon(parts))))
    for op, inputs, *outputs in (
        # ONNX Runtime turns integers back into floats once for each node that reads them: let it be one.
        ("Mul", [x, UNIT], at + "x"),
        ("If", [LOOKS], own(norm)),
        ("Sub", [own(norm), given(norm)], at + "off"),
        ("Mul", [at + "off", PACE], at + "step"),
        ("Add", [given(norm), at + "step"], at + "used"),
        ("Split", [at + "used"], at + "used_mean", at + "used_variance"),
        ("Add", [at + "used_variance", at + "epsilon"], at + "energy"),
        ("Sqrt", [at + "energy"], at + "deviation"),
        ("Reshape", [weight, _BY_CHANNEL], at + "weight"),
        ("Reshape", [bias, _BY_CHANNEL], at + "bias"),
        ("Div", [at + "weight", at + "deviation"], at + "gain"),
        ("Mul", [at + "used_mean", at + "gain"], at + "centre"),
        ("Sub", [at + "bias", at + "centre"], at + "shift"),
        ("Mul", [at + "x", at + "gain"], at + "scaled"),
        ("Add", [at + "scaled", at + "shift"], y),
    ):
        yield field(_NODE, _node(op, inputs, outputs, _branches(norm) if op == "If" else b""))


def _branches(norm: int) -> bytes:
    """Attributes of the `If` that looks at a frame's own statistics, or takes those given for them."""
    at = f"film/{norm}/"
    looking = [
        _node("ReduceMean", [at + "x", _AXES], [at + "mean"]),
        _node("Mul", [at + "x", at + "x"], [at + "squares"]),
        _node("ReduceMean", [at + "squares", _AXES], [at + "square"]),
        _node("Mul", [at + "mean", at + "mean"], [at + "of_mean"]),
        _node("Sub", [at + "square", at + "of_mean"], [at + "difference"]),
        _node("Relu", [at + "difference"], [at + "variance"]),
        _node("Concat", [at + "mean", at + "variance"], [at + "seen"]),
    ]
    blind = [_node("Identity", [given(norm)], [at + "unseen"])]
    attributes = []
    for name, nodes, output in (("then_branch", looking, at + "seen"), ("else_branch", blind, at + "unseen")):
        graph = b"".join(field(_NODE, node) for node in nodes) + field(2, name)
        graph += field(_OUTPUT, _value(output, _free(norm)))
        attributes.append(field(_ATTRIBUTE, field(1, name) + field(6, graph) + field(20, _SUBGRAPH)))
    return b"".join(attributes)


def _free(norm: int) -> tuple[int | str, ...]:
    """Shape of statistics."""
    return 1, f"film/{norm}/C", 1, 2


def _epsilon(node: Sequence[tuple[int, Value]]) -> float:
    for number, value in node:
        attribute = dict(fields(value)) if number == _ATTRIBUTE and isinstance(value, memoryview) else {}
        if text(attribute.get(1)) == "epsilon" and isinstance(bits := attribute.get(2), memoryview):
            return float(np.frombuffer(bits, "<f4")[0])
    return _EPSILON


def _node(op: str, inputs: Sequence[str], outputs: Sequence[str], attributes: bytes = b"") -> bytes:
    parts = [field(_NODE_INPUT, name) for name in inputs] + [field(_NODE_OUTPUT, name) for name in outputs]
    parts += [field(_NODE_NAME, outputs[0]), field(OP_TYPE, op)]
    numbers = {"Concat": {"axis": 3}, "Split": {"axis": 3, "num_outputs": 2}}.get(op, {})
    parts += [field(_ATTRIBUTE, field(1, name) + field(3, value) + field(20, _INT)) for name, value in numbers.items()]
    return b"".join(parts) + attributes


def _constant(name: str, value: "np.ndarray[tuple[int, ...], np.dtype[np.int64]] | np.float32") -> bytes:
    """A TensorProto."""
    sides = b"".join(field(1, side) for side in value.shape)
    kind = _FLOAT if value.dtype == np.float32 else _INT64
    return sides + field(2, kind) + field(8, name) + field(9, value.tobytes())


def _value(name: str, shape: Sequence[int | str], kind: int = _FLOAT) -> bytes:
    """A ValueInfoProto; a side that is a name is free."""
    sides = b"".join(field(1, field(1 if isinstance(side, int) else 2, side)) for side in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sides)))
