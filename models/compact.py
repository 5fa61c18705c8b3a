"""A small loss network of our own, which has learnt to say of pictures what VGG-19 says (scripts/make_compact.py).

Its layers carry VGG's names and stand at VGG's resolutions, so that losses, weights and yardstick stay what they are.
VGG spends most of its time on whole pixels; here these get one layer of few channels, and the work is done on cells.
Between resolutions stand 4x4 convolutions with stride 2: every pixel is under as many of their taps as any other, so
that gradients reach all pixels evenly, which kernels of other sizes do not grant (Odena et al. 2016, "Deconvolution and
checkerboard artifacts"), and a trained style shows no dots.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from .features import Features, depth_of

Widths = tuple[tuple[int, ...], ...]
"""Of each resolution, from whole pixels down, the channels of its layers."""
STAGES = 4
MOST_LAYERS, MOST_CHANNELS = 4, 512


class CompactFeatures(Features):
    """RGB pictures (B, 3, H, W) in 0..1 -> the activations of the named layers, e.g. {"relu1_1": (B, C, H, W)}."""

    def __init__(self, layers: Iterable[str], widths: Widths) -> None:
        """Untrained, from torch's random state.

        Raises:
            InputError: a layer that it does not have.
            ValueError: widths that no such network has.
        """
        check_widths(widths)
        layers, known = list(layers), layer_names(widths)
        super().__init__(layers, _stack(widths, depth=depth_of(layers, known, network="compact")))
        self.widths = widths

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Take weights by name; more than needed is fine.

        Raises:
            KeyError: one is missing.
            RuntimeError: one has another shape.
        """
        self.load_state_dict({name: weights[name] for name in self.state_dict()})


def check_widths(widths: Sequence[Sequence[int]]) -> None:
    """Raises ValueError for widths that no such network has."""
    layers = [len(stage) for stage in widths]
    if len(layers) != STAGES or not all(1 <= count <= MOST_LAYERS for count in layers):
        raise ValueError(f"widths: got {layers} layers, expected 1 to {MOST_LAYERS} at each of {STAGES} resolutions")
    for channels in (channels for stage in widths for channels in stage):
        if not (isinstance(channels, int) and 1 <= channels <= MOST_CHANNELS):
            raise ValueError(f"widths: got {channels!r} channels, expected 1 to {MOST_CHANNELS}")


def layer_names(widths: Widths) -> list[str]:
    """`relu1_1`, `relu2_1`, ... in order."""
    return [f"relu{stage}_{number + 1}" for stage, layers in enumerate(widths, 1) for number in range(len(layers))]


def multiply_adds(widths: Widths, height: int, width: int) -> int:
    """Of the convolutions, for a picture of that size."""
    total, inputs = 0, 3
    for stage, layers in enumerate(widths):
        for number, outputs in enumerate(layers):
            kernel = _kernel(stage, number)
            total += inputs * outputs * kernel**2 * (height >> stage) * (width >> stage)
            inputs = outputs
    return total


def _kernel(stage: int, number: int) -> int:
    """Side of the kernel of a layer, both counted from 0."""
    return 4 if stage and not number else 3


def _stack(widths: Widths, *, depth: int) -> nn.Sequential:
    """Convolutions and ReLUs (named `relu1_1`, ...), down to the ReLU number `depth`."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for stage, layers in enumerate(widths):
        for number, outputs in enumerate(layers):
            kernel = _kernel(stage, number)
            conv = nn.Conv2d(inputs, outputs, kernel, stride=2 if kernel == 4 else 1, padding=1)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            modules[f"conv{stage + 1}_{number + 1}"] = conv
            modules[f"relu{stage + 1}_{number + 1}"] = nn.ReLU(inplace=True)
            inputs = outputs
            if len(modules) == 2 * depth:
                return nn.Sequential(modules)
    raise AssertionError(depth)
