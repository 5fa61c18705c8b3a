"""The network in 8-bit integers: which numbers stand for which values, and what painting is left of it.

Post-training static quantisation (Jacob et al. 2018, arXiv:1712.05877): weights symmetric, per output channel;
activations one scale and zero point each, from photos. Three things make it fast where `graph` writes it:

- nothing but uint8 is stored between the layers, with the channels last from the frame to the painting;
- a ReLU is the lower end of an unsigned range, and clamping and rounding to pixels is the last layer's quantisation;
- weights have 7 bits: without VNNI, x86 adds pairs of products in 16 bits, which 8 bits would overflow.

    quantised = quantise(network, photos)
    painting = quantised.paint(frame)
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from ..pictures import Frame
from .fuse import fuse
from .layers import Layer, layers_of
from .transformer import ImageTransformer

WEIGHT_LEVELS = 63  # on either side of zero: 7 bits
_BINS = 2048
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


class QuantisedNetwork:
    """A network with a `Range` for each of its stored tensors.

    Args:
        network: fused, see `quantise`.
        core: its core, traced.
        ranges: by the layer's name; shuffles keep those of what they shuffle.
    """

    def __init__(self, network: ImageTransformer, core: fx.GraphModule, ranges: dict[str, Range]) -> None:
        self.network, self.core, self.ranges = network, core, ranges
        self.layers = layers_of(core)

    def paint(self, frame: Tensor, only: str | None = None) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 -> the painting, with the integers' errors; of all layers or of one alone."""
        return self.network.crop(_Rounding(self, only).run(self.network.prepare(frame)), frame)


class _Rounding(fx.Interpreter):
    """Runs the core in floats that are rounded wherever the integers would be."""

    def __init__(self, quantised: QuantisedNetwork, only: str | None) -> None:
        super().__init__(quantised.core)
        self._layers = {layer.node: layer for layer in quantised.layers if only in {None, layer.name}}
        self._ranges = quantised.ranges
        self._convs = {layer.name: layer for layer in quantised.layers if layer.kind == "conv"}
        self._only = only

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, rounded if it is stored."""
        conv = self._convs.get(n.name)
        if conv is not None and self._only in {None, n.name}:
            [x] = (self.env[a] for a in n.all_input_nodes)
            value = _with_rounded_weights(conv.module)(x)
        else:
            value = super().run_node(n)
        layer = self._layers.get(n)
        return self._ranges[layer.name].rounded(value) if layer and layer.name in self._ranges else value


@torch.no_grad()
def _with_rounded_weights(conv: nn.Conv2d) -> nn.Conv2d:
    conv = copy.deepcopy(conv)
    scale = weight_scale(conv.weight)
    conv.weight.copy_((conv.weight / scale).round() * scale)
    return conv


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
    return QuantisedNetwork(network, core, ranges)


def _watch(
    network: ImageTransformer,
    core: fx.GraphModule,
    layers: list[Layer],
    frames: Iterable[Tensor],
    look: Callable[[str, Tensor], None],
) -> None:
    stored = {layer.node: layer.name for layer in layers if layer.kind in {"conv", "norm", "add"}}

    class Watcher(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n in stored:
                look(stored[n], value)
            return value

    for frame in frames:
        Watcher(core).run(network.prepare(frame))


def _best_range(counts: Array, low: float, high: float) -> Range:
    """Of ranges shrunk step by step, the one with the least squared error over a histogram from `low` to `high`."""
    centres = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    candidates = [_range(low * shrink, high * shrink) for shrink in _SHRINKS]
    return min(candidates, key=lambda r: float((counts * (_stored(centres, r) - centres) ** 2).sum()))


def _range(low: float, high: float) -> Range:
    scale = float(np.float32(max(high - low, 1e-8) / 255))  # as the graph holds it
    return Range(scale, int(np.clip(round(-low / scale), 0, 255)))


def _stored(x: Array, range_: Range) -> Array:
    steps = np.clip(np.round(x / range_.scale) + range_.zero_point, 0, 255)
    return np.asarray((steps - range_.zero_point) * range_.scale)
