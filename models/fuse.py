"""The same network in the form that an inference runtime runs fastest; rewritten exactly, for export only.

upsampling convolution                 ->  a plain one with ready weights, then depth to space
depth to space, ReLU, convolution,
  depth to space                       ->  ReLU, one convolution over the cells, one depth to space
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .transformer import ImageTransformer, UpsampleConv


@torch.no_grad()
def fuse(network: ImageTransformer) -> ImageTransformer:
    """A copy of `network` with the same painting, up to rounding."""
    network = copy.deepcopy(network)
    network.core = _rewritten(network.core)
    return network


def _rewritten(module: nn.Module) -> nn.Module:
    if isinstance(module, UpsampleConv):
        return nn.Sequential(*plain_upsampling(module))
    for name, child in module.named_children():
        setattr(module, name, _rewritten(child))
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*_merged(_flattened(module)))
    return module


def _flattened(module: nn.Sequential) -> list[nn.Module]:
    return [part for child in module for part in (_flattened(child) if isinstance(child, nn.Sequential) else [child])]


def _merged(modules: list[nn.Module]) -> Iterator[nn.Module]:
    while modules:
        match modules:
            case [
                nn.PixelShuffle() as first,
                nn.ReLU() as relu,
                nn.Conv2d() as conv,
                nn.PixelShuffle() as second,
                *rest,
            ] if conv.kernel_size == (3, 3):
                factor = first.upscale_factor * second.upscale_factor
                dense = conv_over_cells(conv, first.upscale_factor, second.upscale_factor)
                modules = [relu, dense, nn.PixelShuffle(factor), *rest]
            case [module, *rest]:
                yield module
                modules = rest


def plain_upsampling(module: UpsampleConv) -> tuple[nn.Module, nn.Module]:
    """An upsampling convolution as a plain one and a pixel shuffle."""
    return _conv_of(module.low_resolution_weight(), module.bias.repeat_interleave(4)), nn.PixelShuffle(2)


def conv_over_cells(conv: nn.Conv2d, before: int, after: int) -> nn.Conv2d:
    """Pixel shuffle by `before`, a 3x3 `conv` (zero padding 1), pixel shuffle by `after`: all as a 3x3 convolution.

    Its output wants one pixel shuffle by `before * after`. It multiplies with many zeros, and is still the faster: few
    channels on many pixels leave most of a processor's width idle, and each shuffle is a pass over the picture.
    """
    outputs, inputs, _, _ = conv.weight.shape
    b, a = before, after
    colours = outputs // a**2
    # Output channel (colour, y in the conv's cell, x, y in the pixel's cell, x); input channel (input, y, x).
    dense = conv.weight.new_zeros(colours, b, a, b, a, inputs, b, b, 3, 3)
    weight = conv.weight.reshape(colours, a, a, inputs, 3, 3)
    for y, x, row, column in torch.cartesian_prod(*(torch.arange(n) for n in (b, b, 3, 3))).tolist():
        (cell_row, from_y), (cell_column, from_x) = divmod(y + row - 1, b), divmod(x + column - 1, b)
        dense[:, y, :, x, :, :, from_y, from_x, cell_row + 1, cell_column + 1] = weight[..., row, column]
    assert conv.bias is not None
    bias = conv.bias.reshape(colours, 1, a, 1, a).expand(colours, b, a, b, a)
    return _conv_of(dense.reshape(outputs * b**2, inputs * b**2, 3, 3), bias.reshape(-1))


def _conv_of(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A 3x3 convolution with zero padding."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    conv.weight.copy_(weight)
    conv.bias.copy_(bias)  # type: ignore[union-attr]
    return conv.to(weight.dtype)
