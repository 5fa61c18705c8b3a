"""The same network in the form that an inference runtime runs fastest; rewritten exactly, for export only.

space to depth, then a convolution     ->  one strided convolution: no transposition of the frame
upsampling convolution                 ->  a plain one with ready weights, then depth to space
pixels in 0..1 at both ends            ->  pixels in 0..255, scaled by the first and last weights
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .transformer import ImageTransformer, UpsampleConv


@torch.no_grad()
def fuse(network: ImageTransformer, *, full_scale: float = 1.0) -> ImageTransformer:
    """A copy of `network` for pixels in 0..`full_scale` at both ends, with the same painting up to rounding."""
    network = copy.deepcopy(network)
    for name in ("stem", "body", "end"):
        setattr(network, name, nn.Sequential(*_fused(getattr(network, name))))
    network.mean *= full_scale
    network.std *= full_scale
    last = [module for module in network.end.modules() if isinstance(module, nn.Conv2d)][-1]
    assert last.bias is not None
    last.weight *= full_scale
    last.bias *= full_scale
    return network


def _fused(modules: nn.Sequential) -> Iterator[nn.Module]:
    remaining = list(modules)
    while remaining:
        module = remaining.pop(0)
        if isinstance(module, nn.PixelUnshuffle) and isinstance(conv := remaining[0], nn.Conv2d):
            remaining[0] = strided_conv(conv, module.downscale_factor)
        elif isinstance(module, UpsampleConv):
            yield from plain_upsampling(module)
        else:
            yield module


def strided_conv(conv: nn.Conv2d, factor: int) -> nn.Conv2d:
    """Pixel unshuffle by `factor`, then `conv` (stride 1, zero padding), as one convolution over the pixels."""
    outputs, inputs, height, width = conv.weight.shape
    channels = inputs // factor**2
    # (O, C, y in cell, x in cell, cell row, cell column) -> (O, C, cell row, y in cell, cell column, x in cell)
    weight = conv.weight.reshape(outputs, channels, factor, factor, height, width).permute(0, 1, 4, 2, 5, 3)
    padding = tuple(int(side) * factor for side in conv.padding)
    fused = _conv_of(weight.reshape(outputs, channels, height * factor, width * factor), conv.bias, padding)
    fused.stride = (factor, factor)
    return fused


def plain_upsampling(module: UpsampleConv) -> tuple[nn.Module, nn.Module]:
    """An upsampling convolution as a plain one and a pixel shuffle."""
    return _conv_of(module.low_resolution_weight(), None, (1, 1)), nn.PixelShuffle(2)


def _conv_of(weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> nn.Conv2d:
    outputs, inputs, height, width = weight.shape
    conv = nn.Conv2d(inputs, outputs, (height, width), padding=(padding[0], padding[1]), bias=bias is not None)
    conv.weight.copy_(weight)
    if bias is not None and conv.bias is not None:
        conv.bias.copy_(bias)
    return conv.to(weight.dtype)
