"""The network in 8-bit integers: which numbers stand for which values, and what painting is left of it.

Post-training static quantisation (Jacob et al. 2018, arXiv:1712.05877): weights symmetric, per output channel;
activations one scale and zero point each, from photos. Weights are rounded one after the other, the next ones making
up for the error (GPTQ, Frantar et al. 2022, arXiv:2210.17323), and biases take back what is left of it in a channel's
mean: where each weight is rounded for itself, the pixels of a cell differ a little, which shows as a grid.

Three things make it fast where `graph` writes it:

- nothing but uint8 is stored between the layers, with the channels last from the frame to the painting;
- a ReLU is the lower end of an unsigned range, and clamping and rounding to pixels is the last layer's quantisation;
- weights have 7 bits: without VNNI, x86 adds pairs of products in 16 bits, which 8 bits would overflow.

    quantised = quantise(network, photos)
    painting = quantised.paint(frame)
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ..pictures import Frame
from .fuse import fuse
from .layers import Layer, layers_of
from .transformer import ImageTransformer

WEIGHT_LEVELS = 63  # on either side of zero: 7 bits
_BINS = 2048
_DAMPING = 0.01  # of the mean of the diagonal, as GPTQ has it: inputs that hardly vary do not decide
_LEAST_MOMENT = 1e-12
_LEAST_SPAN = 1e-3
"""Of a range: a finer scale would push biases, which are multiples of scales, out of 32 bits."""
_SHRINKS = np.linspace(0.3, 1.0, 71)  # of the range met, tried for the least error

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Range:
    """real = scale * (stored - zero_point), stored in 0..255."""

    scale: float
    zero_point: int

    def rounded(self, x: Tensor) -> Tensor:
        """What is left of `x` when it is stored."""
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, 0, 255)


PAINTING = Range(1 / 255, 0)
"""Pixels, as the network gives them."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A convolution's weights and bias as they are stored."""

    steps: Tensor
    """int8 (O, I, h, w) within +-`WEIGHT_LEVELS`."""
    scale: Tensor
    """float32 (O, 1, 1, 1): weight = scale * steps."""
    bias: Tensor | None
    """float32 (O,); the graph rounds it to 32 bits."""

    def applied(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """What the convolution gives with them."""
        return F.conv2d(x, self.steps * self.scale, self.bias, conv.stride, conv.padding)


class QuantisedNetwork:
    """A network with what its integers stand for.

    Args:
        network: fused, see `quantise`.
        core: its core, traced.
        ranges: of stored tensors, by the layer's name; shuffles keep those of what they shuffle.
        weights: of convolutions, by the layer's name.
    """

    def __init__(
        self,
        network: ImageTransformer,
        core: fx.GraphModule,
        ranges: dict[str, Range],
        weights: dict[str, Weights],
    ) -> None:
        self.network, self.core, self.ranges, self.weights = network, core, ranges, weights
        self.layers = layers_of(core)

    def paint(self, frame: Tensor, only: str | None = None) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 -> the painting, with the integers' errors; of all layers or of one alone."""
        layers = {layer.node: layer for layer in self.layers if only in {None, layer.name}}

        def compute(node: fx.Node, module: nn.Module | None, *inputs: Tensor) -> Tensor:
            if isinstance(module, nn.Conv2d) and only in {None, node.name}:
                value = self.weights[node.name].applied(module, *inputs)
            else:
                value = _exact(node, module, *inputs)
            return self.stored(layers.get(node), value)

        return self.network.crop(_run(self.core, self.network.prepare(frame), compute), frame)

    def stored(self, layer: Layer | None, value: Tensor) -> Tensor:
        """What is left of a layer's value; all of it where it is not stored."""
        return self.ranges[layer.name].rounded(value) if layer and layer.name in self.ranges else value


def _run(core: fx.GraphModule, x: Any, compute: Callable[..., Any]) -> Any:
    """The traced core's result for `x`, where compute(node, module or None, *inputs) gives the value of each node."""
    modules = dict(core.named_modules())
    values: dict[fx.Node, Any] = {}
    for node in core.graph.nodes:
        inputs = [values[source] for source in node.all_input_nodes]
        if node.op == "placeholder":
            values[node] = x
        elif node.op == "output":
            return inputs[0]
        else:
            module = modules[node.target] if node.op == "call_module" else None
            values[node] = compute(node, module, *inputs)
    raise AssertionError(core)


def _exact(node: fx.Node, module: nn.Module | None, *inputs: Tensor) -> Tensor:
    operation: Callable[..., Tensor] = module or node.target  # type: ignore[assignment]
    return operation(*inputs)


def weight_scale(weight: Tensor) -> Tensor:
    """The step of each output channel's weights (O, I, h, w): (O, 1, 1, 1)."""
    return weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-8) / WEIGHT_LEVELS


# Calibration.


@torch.inference_mode()
def quantise(network: ImageTransformer, photos: Sequence[Frame]) -> QuantisedNetwork:
    """`network` with ranges that fit `photos`: for each stored tensor those with the least squared error.

    Args:
        network: `realtime`, trained, on the CPU.
        photos: (H, W, 3) uint8 RGB, at least one; a few dozen of the kind that will be painted.

    Raises:
        ValueError: another build.
    """
    network = fuse(network).float().eval()
    core = fx.symbolic_trace(network.core)
    layers = layers_of(core)
    for layer in layers:
        if layer.kind == "resize" or (layer.kind == "conv" and layer.module.padding_mode != "zeros"):
            raise ValueError(f"layer {layer.name}: got {layer.module}, which has no integer form")
    frames = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() / 255 for p in photos]
    limits: dict[str, tuple[float, float]] = {}

    def widen(name: str, value: Tensor) -> None:
        low, high = limits.get(name, (0.0, 0.0))
        limits[name] = min(low, value.min().item()), max(high, value.max().item())

    counts: dict[str, Array] = {}

    def count(name: str, value: Tensor) -> None:
        low, high = limits[name]
        counts[name] = counts.get(name, 0) + torch.histc(value, _BINS, low, high).numpy()

    for look in (widen, count):
        _watch(network, core, layers, frames, look)
    ranges = {name: _best_range(counts[name], *limits[name]) for name in counts}
    ranges[[layer for layer in layers if layer.kind == "conv"][-1].name] = PAINTING
    quantised = QuantisedNetwork(network, core, ranges, weights={})
    _fit_weights(quantised, [network.prepare(frame) for frame in frames])
    return quantised


def _fit_weights(quantised: QuantisedNetwork, frames: Sequence[Tensor]) -> None:
    """Fill in the weights, layer by layer, each for what reaches it through the integers before it."""
    layers = {layer.node: layer for layer in quantised.layers}

    def compute(node: fx.Node, module: nn.Module | None, *inputs: list[tuple[Tensor, Tensor]]) -> Any:
        exact, rounded = ([tuple(pair[i] for pair in pairs) for pairs in zip(*inputs, strict=True)] for i in (0, 1))
        wanted = [_exact(node, module, *given) for given in exact]
        if isinstance(module, nn.Conv2d):
            weights = quantised.weights[node.name] = _fitted(module, [x for (x,) in rounded], wanted)
            got = [weights.applied(module, x) for (x,) in rounded]
        else:
            got = [_exact(node, module, *given) for given in rounded]
        return list(zip(wanted, [quantised.stored(layers.get(node), value) for value in got], strict=True))

    _run(quantised.core, [(frame, frame) for frame in frames], compute)


def _fitted(conv: nn.Conv2d, inputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> Weights:
    """Weights for the convolution's `inputs`, and the bias that gives its outputs the mean of those `wanted`."""
    moments = torch.zeros(())
    for x in inputs:
        patches = F.unfold(x, conv.kernel_size, padding=1, stride=conv.stride)[0]  # (I h w, places)
        moments = moments + patches @ patches.T / patches.shape[1]
    scale = weight_scale(conv.weight)
    steps = rounded_in_turn((conv.weight / scale).flatten(1), moments).reshape(conv.weight.shape)
    weights = Weights(steps.to(torch.int8), scale, conv.bias)
    if conv.bias is None:
        return weights
    excess = [(weights.applied(conv, x) - y).mean((0, 2, 3)) for x, y in zip(inputs, wanted, strict=True)]
    return replace(weights, bias=conv.bias - torch.stack(excess).mean(0))


def rounded_in_turn(exact: Tensor, moments: Tensor) -> Tensor:
    """Rounded (O, K) such that the error of the products with inputs of these second moments (K, K) is small (GPTQ)."""
    exact = exact.double()
    mean = moments.diagonal().mean().clamp_min(_LEAST_MOMENT)  # inputs that are always 0 may be rounded anyhow
    damping = _DAMPING * mean * torch.eye(len(moments))
    upper = torch.linalg.cholesky(torch.linalg.inv((moments + damping).double()), upper=True)
    steps = torch.zeros_like(exact)
    for k in range(exact.shape[1]):
        steps[:, k] = exact[:, k].round().clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS)
        error = (exact[:, k] - steps[:, k]) / upper[k, k]
        exact[:, k:] -= error[:, None] * upper[k, k:]
    return steps


def _watch(
    network: ImageTransformer,
    core: fx.GraphModule,
    layers: list[Layer],
    frames: Iterable[Tensor],
    look: Callable[[str, Tensor], None],
) -> None:
    stored = {layer.node: layer.name for layer in layers if layer.kind in {"conv", "norm", "add"}}

    def compute(node: fx.Node, module: nn.Module | None, *inputs: Tensor) -> Tensor:
        value = _exact(node, module, *inputs)
        if node in stored:
            look(stored[node], value)
        return value

    for frame in frames:
        _run(core, network.prepare(frame), compute)


def _best_range(counts: Array, low: float, high: float) -> Range:
    """Of ranges shrunk step by step, the one with the least squared error over a histogram from `low` to `high`."""
    centres = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    candidates = [_range(low * shrink, high * shrink) for shrink in _SHRINKS]
    return min(candidates, key=lambda r: float((counts * (_stored(centres, r) - centres) ** 2).sum()))


def _range(low: float, high: float) -> Range:
    scale = float(np.float32(max(high - low, _LEAST_SPAN) / 255))  # as the graph holds it
    return Range(scale, int(np.clip(round(-low / scale), 0, 255)))


def _stored(x: Array, range_: Range) -> Array:
    steps = np.clip(np.round(x / range_.scale) + range_.zero_point, 0, 255)
    return np.asarray((steps - range_.zero_point) * range_.scale)
