"""Tiny networks as real ONNX files: what they paint can be said in one line, so that tests can check every pixel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from allaprima.contract import INPUT_NAME, OUTPUT_NAME, StyleCard

FRAME_SHAPE = ["n", "h", "w", 3]
PLANES_SHAPE = [1, 3, "h", "w"]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    kind: int = TensorProto.FLOAT,
    constants: dict[str, Any] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a graph of `nodes` whose inputs and outputs (name -> shape) are all of type `kind`."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def frame_style(path: Path, op: str = "BitwiseNot", **card: Any) -> Path:
    """A style file of ours (`io = frame`); BitwiseNot paints the negative, Identity the frame itself."""
    return save(
        path,
        [helper.make_node(op, [INPUT_NAME], [OUTPUT_NAME])],
        inputs={INPUT_NAME: FRAME_SHAPE},
        outputs={OUTPUT_NAME: FRAME_SHAPE},
        kind=TensorProto.UINT8,
        metadata=StyleCard(**card).to_metadata(),
    )


def tensor_style(path: Path, **card: Any) -> Path:
    """A style file of ours (`io = tensor`) that paints the negative."""
    return save(
        path,
        [helper.make_node("Sub", ["one", INPUT_NAME], [OUTPUT_NAME])],
        inputs={INPUT_NAME: ["n", 3, "h", "w"]},
        outputs={OUTPUT_NAME: ["n", 3, "h", "w"]},
        constants={"one": np.float32(1)},
        metadata=StyleCard(io="tensor", **card).to_metadata(),
    )


def foreign(path: Path, *, top: float = 255, shape: Sequence[Any] = PLANES_SHAPE, block: int = 1) -> Path:
    """Another project's network: paints the negative for values 0..`top`, at sizes that `block` divides."""
    nodes = [
        helper.make_node("SpaceToDepth", ["picture"], ["blocks"], blocksize=block),
        helper.make_node("DepthToSpace", ["blocks"], ["whole"], blocksize=block),
        helper.make_node("Sub", ["white", "whole"], ["painted"]),
    ]
    return save(
        path,
        nodes,
        inputs={"picture": list(shape)},
        outputs={"painted": list(shape)},
        constants={"white": np.float32(top)},
    )


def rescaled(source: Path, target: Path, *, top: float = 1, half: bool = False) -> Path:
    """A 0..255 network as one for 0..`top`, and with half-precision ends if `half`."""
    model = onnx.load(source)
    graph = model.graph
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    old_in, old_out = graph.input[0].name, graph.output[0].name
    shape = [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    before = [
        helper.make_node("Cast", ["new_in"], ["in_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["in_float", "gain"], [old_in]),
    ]
    after = [
        helper.make_node("Div", [old_out, "gain"], ["out_float"]),
        helper.make_node("Cast", ["out_float"], ["new_out"], to=kind),
    ]
    wrapped = helper.make_graph(
        [*before, *graph.node, *after],
        "rescaled",
        [helper.make_tensor_value_info("new_in", kind, shape)],
        [helper.make_tensor_value_info("new_out", kind, shape)],
        [*graph.initializer, numpy_helper.from_array(np.asarray(np.float32(255 / top)), "gain")],
    )
    onnx.save(helper.make_model(wrapped, opset_imports=model.opset_import, ir_version=8), target)
    return target
