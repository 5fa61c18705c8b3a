"""A network as the ONNX graph of a style file, written for how runtimes run it.

torch.onnx cannot follow the sizes of a network with a stride and a connection past it when they are free; and what it
writes leaves time on the table. Here pixels stay uint8, with the colours last, wherever they are only moved: padding,
space to depth, depth to space and cropping are copies of rows of bytes; clamping and rounding are one QuantizeLinear.

With ranges (quantise.py) the rest is uint8 too: each stored tensor is a QuantizeLinear, each use of it a
DequantizeLinear, and runtimes fuse them with what stands between into integer kernels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx

from ..contract import INPUT_NAME, OPSET, OUTPUT_NAME, Io
from .fuse import fuse
from .layers import FRAME, Layer, layers_of
from .quantise import PAINTING, QuantisedNetwork, Range, Weights
from .transformer import ImageTransformer

Precision = Literal["fp32", "fp16", "int8"]
_IR_VERSION = 9  # of the time of opset 18
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # colours


def float_graph(network: ImageTransformer, *, io: Io, half: bool = False) -> onnx.ModelProto:
    """`network` in fp32 or fp16.

    Raises:
        ValueError: it has a layer that is not known here.
    """
    fused = fuse(network).float()
    layers = layers_of(fx.symbolic_trace(fused.core))
    return _Writer(fused, io, "fp16" if half else "fp32").write(layers, {}, {})


def int8_graph(quantised: QuantisedNetwork) -> onnx.ModelProto:
    """A quantised network; `io = frame`."""
    return _Writer(quantised.network, "frame", "int8").write(quantised.layers, quantised.ranges, quantised.weights)


@dataclass(frozen=True)
class _Value:
    """A tensor of the graph, (N, C, h, w)."""

    name: str
    scale_down: int
    """The frame's size over its own."""
    order: Tensor
    """Which of the layer's channels each of its channels is."""
    range: Range | None = None
    """What its uint8 stands for; None where it holds floats."""


class _Writer:
    def __init__(self, network: ImageTransformer, io: Io, precision: Precision) -> None:
        self._network, self._io, self._precision = network, io, precision
        self._dtype: Any = np.float16 if precision == "fp16" else np.float32
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._grids: dict[int, tuple[str, str]] = {}

    def write(
        self, layers: list[Layer], ranges: Mapping[str, Range], weights: Mapping[str, Weights]
    ) -> onnx.ModelProto:
        """The whole graph: pad, layers, crop."""
        self._weights = weights
        self._read_size()
        values = {FRAME: self._padded_frame()}
        last_conv = [layer.name for layer in layers if layer.kind == "conv"][-1]
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            factor = following.module.upscale_factor if following and following.kind == "shuffle" else 1
            range_ = ranges.get(layer.name)
            if layer.name == last_conv and self._io == "frame":
                range_ = PAINTING
            values[layer.name] = self._layer(layer, [values[name] for name in layer.inputs], range_, factor)
        self._painting(values[layers[-1].name])
        return self._model()

    def _model(self) -> onnx.ModelProto:
        frame = self._io == "frame"
        kind = TensorProto.UINT8 if frame else TensorProto.FLOAT
        free: list[str | int | None] = ["N", "H", "W", 3] if frame else ["N", 3, "H", "W"]
        graph = helper.make_graph(
            self._nodes,
            "style",
            [helper.make_tensor_value_info(INPUT_NAME, kind, free)],
            [helper.make_tensor_value_info(OUTPUT_NAME, kind, free)],
            list(self._constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="allaprima")
        model.ir_version = _IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model

    # Layers.

    def _layer(self, layer: Layer, inputs: list[_Value], range_: Range | None, shuffle: int) -> _Value:
        [first, *others] = inputs
        if layer.kind == "unshuffle":
            return self._space_to_depth(first, layer.module.downscale_factor)
        if layer.kind == "shuffle":
            return self._depth_to_space(first, layer.module.upscale_factor)
        order, down = first.order, first.scale_down
        if layer.kind == "conv":
            order = _cell_order(layer.module.out_channels // shuffle**2, shuffle)
            down *= layer.module.stride[0]
            real = self._conv(layer, first, order)
        elif layer.kind == "norm":
            real = self._norm(layer, first)
        elif layer.kind == "resize":
            down //= int(layer.module.scale_factor)
            real = self._resize(layer, first)
        else:
            assert all(torch.equal(other.order, order) for other in others)
            real = self._op("Add", *map(self._real, inputs))
        if range_ is None:
            return _Value(self._op("Relu", real) if layer.relu else real, down, order)
        return self._stored(real, down, order, range_, layer.relu)

    def _conv(self, layer: Layer, x: _Value, order: Tensor) -> str:
        conv, real = layer.module, self._real(x)
        pads = list(conv.padding) * 2
        if conv.padding_mode == "reflect":
            real, pads = self._op("Pad", real, self._ints(0, 0, *pads[:2], 0, 0, *pads[2:]), mode="reflect"), [0] * 4
        if self._precision == "int8" and x.range:
            parameters = self._integers(layer.name, self._weights[layer.name], order, x.order, x.range)
        else:
            weight = conv.weight.detach()[order][:, x.order]
            parameters = self._floats(layer.name, weight, conv.bias.detach()[order] if conv.bias is not None else None)
        size, strides = list(conv.kernel_size), list(conv.stride)
        return self._op("Conv", real, *parameters, kernel_shape=size, pads=pads, strides=strides)

    def _floats(self, name: str, weight: Tensor, bias: Tensor | None) -> list[str]:
        named = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return [self._constant(value.numpy().astype(self._dtype), f"{name}.{what}") for what, value in named.items()]

    def _integers(self, name: str, weights: Weights, outputs: Tensor, inputs: Tensor, range_: Range) -> list[str]:
        """Weights in 8 bits and bias in 32, as sums of products have it, both by output channel."""
        scale = weights.scale[outputs].flatten().numpy()
        parameters = [(weights.steps[outputs][:, inputs].numpy(), scale, "weight")]
        if weights.bias is not None:
            bias_scale = scale * np.float32(range_.scale)
            bias = np.round(weights.bias[outputs].detach().numpy() / bias_scale).astype(np.int32)
            parameters.append((bias, bias_scale, "bias"))
        return [
            self._op(
                "DequantizeLinear",
                self._constant(values, f"{name}.{what}"),
                self._constant(scales, f"{name}.{what}_scale"),
                axis=0,
            )
            for values, scales, what in parameters
        ]

    def _norm(self, layer: Layer, x: _Value) -> str:
        norm = layer.module
        weight, bias = self._floats(layer.name, norm.weight.detach()[x.order], norm.bias.detach()[x.order])
        return self._op("InstanceNormalization", self._real(x), weight, bias, epsilon=norm.eps)

    def _resize(self, layer: Layer, x: _Value) -> str:
        factor = int(layer.module.scale_factor)
        scales = self._constant(np.array([1, 1, factor, factor], np.float32), f"{layer.name}.scales")
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self._op("Resize", self._real(x), "", scales, **how)

    # Sizes, as one-element int64 tensors.

    def _read_size(self) -> None:
        m, multiple = self._network.margin, self._network.multiple
        first = 1 if self._io == "frame" else 2
        self._size = self._op("Slice", self._op("Shape", INPUT_NAME), self._ints(first), self._ints(first + 2))
        with_margin = self._op("Add", self._size, self._ints(2 * m))
        missing = self._op("Mod", self._op("Neg", with_margin), self._ints(multiple))
        self._after = self._op("Add", missing, self._ints(m))
        self._padded = self._op("Add", with_margin, missing)

    def _grid(self, scale_down: int) -> tuple[str, str]:
        """Rows and columns of the padded frame's size over `scale_down`."""
        if scale_down not in self._grids:
            grid = self._op("Div", self._padded, self._ints(scale_down))
            rows, columns = (self._op("Slice", grid, self._ints(i), self._ints(i + 1)) for i in range(2))
            self._grids[scale_down] = rows, columns
        return self._grids[scale_down]

    # Both ends.

    def _padded_frame(self) -> _Value:
        m, network = self._network.margin, self._network
        colours = torch.arange(3)
        if self._io == "frame":
            pads = self._op("Concat", self._ints(0, m, m, 0, 0), self._after, self._ints(0), axis=0)
            padded = self._op("Transpose", self._op("Pad", INPUT_NAME, pads, mode="reflect"), perm=_TO_FIRST)
            if range_ := _pixel_range(network):
                return _Value(padded, 1, colours, range_)
            return _Value(self._normalised(self._op("Cast", padded, to=_onnx_type(self._dtype)), 255), 1, colours)
        frame = INPUT_NAME if self._dtype == np.float32 else self._op("Cast", INPUT_NAME, to=_onnx_type(self._dtype))
        pads = self._op("Concat", self._ints(0, 0, m, m, 0, 0), self._after, axis=0)
        return _Value(self._op("Pad", self._normalised(frame, 1), pads, mode="reflect"), 1, colours)

    def _normalised(self, frame: str, white: int) -> str:
        mean, std = self._network.mean * white, self._network.std * white
        centred = self._op("Sub", frame, self._constant(mean.numpy().astype(self._dtype), "mean"))
        return self._op("Mul", centred, self._constant((1 / std).numpy().astype(self._dtype), "1/std"))

    def _painting(self, painted: _Value) -> None:
        m = self._network.margin
        ends = self._op("Add", self._size, self._ints(m))
        if self._io == "frame":
            pixels = self._op("Transpose", painted.name, perm=_TO_LAST)
            self._output("Slice", pixels, self._ints(m, m), ends, self._ints(1, 2))
            return
        cropped = self._op("Slice", painted.name, self._ints(m, m), ends, self._ints(2, 3))
        if self._dtype != np.float32:
            cropped = self._op("Cast", cropped, to=TensorProto.FLOAT)
        self._output("Clip", cropped, self._constant(np.float32(0), "black"), self._constant(np.float32(1), "white"))

    # Cells of pixels as channels (y, x, colour), so that rows of pixels stay together, and back.

    def _space_to_depth(self, x: _Value, factor: int) -> _Value:
        down, channels = x.scale_down * factor, len(x.order)
        assert torch.equal(x.order, torch.arange(channels))
        order = _cell_order(channels, factor)
        if x.range is None:
            return _Value(self._op("SpaceToDepth", x.name, blocksize=factor), down, order)
        rows, columns = self._grid(down)
        split, joined = (rows, factor, columns, factor, channels), (rows, columns, channels * factor**2)
        return _Value(self._rearranged(x.name, split, joined), down, order, x.range)

    def _depth_to_space(self, x: _Value, factor: int) -> _Value:
        down, channels = x.scale_down // factor, len(x.order) // factor**2
        order = torch.arange(channels)
        if x.range is None:
            return _Value(self._op("DepthToSpace", x.name, blocksize=factor), down, order)
        (rows, columns), (to_rows, to_columns) = self._grid(x.scale_down), self._grid(down)
        split, joined = (rows, columns, factor, factor, channels), (to_rows, to_columns, channels)
        return _Value(self._rearranged(x.name, split, joined), down, order, x.range)

    def _rearranged(self, name: str, split: tuple[int | str, ...], joined: tuple[int | str, ...]) -> str:
        parts = self._op("Reshape", self._op("Transpose", name, perm=_TO_LAST), self._shape(*split))
        swapped = self._op("Transpose", parts, perm=(0, 1, 3, 2, 4, 5))
        return self._op("Transpose", self._op("Reshape", swapped, self._shape(*joined)), perm=_TO_FIRST)

    def _shape(self, *sizes: int | str) -> str:
        """A shape (N, ...), of numbers and of sizes known when it runs."""
        return self._op("Concat", *(s if isinstance(s, str) else self._ints(s) for s in (0, *sizes)), axis=0)

    # Values, nodes and constants.

    def _stored(self, real: str, down: int, order: Tensor, range_: Range, relu: bool) -> _Value:
        if self._dtype != np.float32:  # before opset 19, QuantizeLinear takes no other
            real = self._op("Cast", real, to=TensorProto.FLOAT)
        range_ = Range(range_.scale, 0) if relu else range_  # a range that begins at 0 is the ReLU
        return _Value(self._op("QuantizeLinear", real, *self._range(range_)), down, order, range_)

    def _real(self, value: _Value) -> str:
        if value.range is None:
            return value.name
        real = self._op("DequantizeLinear", value.name, *self._range(value.range))
        return real if self._dtype == np.float32 else self._op("Cast", real, to=_onnx_type(self._dtype))

    def _range(self, range_: Range) -> tuple[str, str]:
        scale = self._constant(np.float32(range_.scale), f"scale_{range_.scale!r}")
        return scale, self._constant(np.uint8(range_.zero_point), f"zero_{range_.zero_point}")

    def _ints(self, *values: int) -> str:
        return self._constant(np.array(values, dtype=np.int64), "_".join(map(str, ("ints", *values))))

    def _constant(self, value: Any, name: str) -> str:
        self._constants.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def _output(self, kind: str, *inputs: str) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [OUTPUT_NAME], name=OUTPUT_NAME))


def _pixel_range(network: ImageTransformer) -> Range | None:
    """How pixels stand for what the core sees, where one scale and a whole zero point say it exactly."""
    zeros, scales = (255 * network.mean).flatten().tolist(), (1 / (255 * network.std)).flatten().tolist()
    zero = round(zeros[0])
    exact = all(abs(z - zero) < 1e-4 for z in zeros) and max(scales) - min(scales) < 1e-9
    return Range(scales[0], zero) if exact else None


def _cell_order(colours: int, factor: int) -> Tensor:
    """PyTorch's shuffles have channels (colour, y, x); for each of (y, x, colour), which of those it is."""
    return torch.arange(colours * factor**2).reshape(colours, factor, factor).permute(1, 2, 0).reshape(-1)


def _onnx_type(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
