"""The image transformer: a ResNet-block network from a frame to its painting, in one definition with two builds.

`standard` is the network of Johnson, Alahi and Fei-Fei (2016, arXiv:1603.08155, supplement) with the two changes that
everyone since has made: instance norm (Ulyanov et al. 2016, arXiv:1607.08022) and resize-convolution ends (Odena et al.
2016). `realtime` runs the same residual blocks at a quarter of the resolution behind a pixel-unshuffle stem.

    network = build("realtime")
    painted = network(torch.rand(1, 3, 480, 640))
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .normalisation import register_imagenet_statistics

Build = Literal["realtime", "standard"]
PaddingMode = Literal["zeros", "reflect"]


class ImageTransformer(nn.Module):
    """RGB frames (B, 3, H, W) in 0..1 -> RGB paintings of the same size, any H, W >= 16.

    The result can overshoot 0..1 a little; clamp it before it is shown. The network owns its normalisation and its
    padding: frames are reflected at the border by `margin` pixels (cut off again at the end, so that what zero padding
    inside the convolutions draws at the border is never seen) and up to a multiple of `multiple`.
    """

    colour_order = "RGB"
    mean: Tensor
    std: Tensor

    def __init__(self, stem: nn.Module, body: nn.Module, end: nn.Module, *, multiple: int, margin: int = 0) -> None:
        super().__init__()
        self.stem, self.body, self.end = stem, body, end
        self.multiple, self.margin = multiple, margin
        register_imagenet_statistics(self)

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 -> the same shape."""
        height, width = frame.shape[-2:]
        m = self.margin
        below, right = -(height + 2 * m) % self.multiple, -(width + 2 * m) % self.multiple
        x = (frame - self.mean) / self.std
        x = F.pad(x, (m, m + right, m, m + below), mode="reflect")
        y = self.end(self.body(self.stem(x)))
        return y[..., m : m + height, m : m + width]  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))): (B, C, h, w) -> the same."""

    def __init__(self, channels: int, *, padding_mode: PaddingMode) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            *conv_norm(channels, channels, 3, padding_mode=padding_mode),
            nn.ReLU(inplace=True),
            *conv_norm(channels, channels, 3, padding_mode=padding_mode),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same."""
        return x + self.inner(x)  # type: ignore[no-any-return]


def conv_norm(inputs: int, outputs: int, kernel: int, *, padding_mode: PaddingMode, stride: int = 1) -> list[nn.Module]:
    """A convolution of the same size (over `stride`), then instance norm, which makes the convolution's bias idle."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode=padding_mode, bias=False)
    return [conv, nn.InstanceNorm2d(outputs, affine=True)]


def build(name: Build) -> ImageTransformer:
    """The network `name`, freshly initialised from torch's random state.

    Raises:
        ValueError: there is no such build.
    """
    if name == "standard":
        return _standard()
    if name == "realtime":
        return _realtime()
    raise ValueError(f"build: got {name!r}, expected 'realtime' or 'standard'")


def describe(network: ImageTransformer, name: Build) -> dict[str, Any]:
    """What a style file's card says of its network."""
    return {"build": name, "parameters": sum(p.numel() for p in network.parameters())}


def _standard() -> ImageTransformer:
    """32-64-128 channels, five residual blocks, 9x9 ends, reflection padding: 1.68 M parameters."""
    reflect: PaddingMode = "reflect"
    stem = nn.Sequential(
        *conv_norm(3, 32, 9, padding_mode=reflect),
        nn.ReLU(inplace=True),
        *conv_norm(32, 64, 3, padding_mode=reflect, stride=2),
        nn.ReLU(inplace=True),
        *conv_norm(64, 128, 3, padding_mode=reflect, stride=2),
        nn.ReLU(inplace=True),
    )
    body = nn.Sequential(*(ResidualBlock(128, padding_mode=reflect) for _ in range(5)))
    end = nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        *conv_norm(128, 64, 3, padding_mode=reflect),
        nn.ReLU(inplace=True),
        nn.Upsample(scale_factor=2, mode="nearest"),
        *conv_norm(64, 32, 3, padding_mode=reflect),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 3, 9, padding=4, padding_mode=reflect),
    )
    return ImageTransformer(stem, body, end, multiple=4)


def _realtime(channels: int = 48, blocks: int = 5) -> ImageTransformer:
    """Space-to-depth by 4, five residual blocks of 48 channels, two steps back to pixels: 0.24 M parameters.

    Neighbouring cells are mixed at half resolution: painted straight from a quarter of the resolution, each cell stands
    for itself and their borders show as a grid.
    """
    half = 24  # channels at half resolution
    stem = nn.Sequential(
        nn.PixelUnshuffle(4),
        *conv_norm(3 * 4**2, channels, 3, padding_mode="zeros"),
        nn.ReLU(inplace=True),
    )
    body = nn.Sequential(*(ResidualBlock(channels, padding_mode="zeros") for _ in range(blocks)))
    end = nn.Sequential(
        UpsampleConv(channels, half),
        nn.InstanceNorm2d(half, affine=True),
        nn.ReLU(inplace=True),
        subpixel_conv(half, 3, 2),
        nn.PixelShuffle(2),
    )
    return ImageTransformer(stem, body, end, multiple=4, margin=12)  # the most that a reflection of 16 px allows


class UpsampleConv(nn.Module):
    """Nearest-neighbour upsampling by 2, then a 3x3 convolution: (B, C, h, w) -> (B, D, 2h, 2w).

    Computed at the low resolution: of three neighbouring pixels after upsampling two are the same, so the even and the
    odd pixels each see a 3x3 kernel of their own over the original, with one row and one column of zeros.
    """

    spread: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, 3, bias=False)
        self.weight = nn.Parameter(conv.weight.detach().clone())
        even = [[1.0, 0, 0], [0, 1, 1], [0, 0, 0]]  # low-resolution row by tap: rows i-1, i, i
        odd = [[0.0, 0, 0], [1, 1, 0], [0, 0, 1]]  # rows i, i, i+1
        rows = torch.tensor([even, odd]).reshape(6, 3)
        spread = torch.kron(rows, rows).reshape(2, 3, 2, 3, 9).transpose(1, 2).reshape(36, 9)
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, D, 2h, 2w)."""
        return F.pixel_shuffle(F.conv2d(x, self.low_resolution_weight(), padding=1), 2)

    def low_resolution_weight(self) -> Tensor:
        """The four kernels of each output channel, (4 D, C, 3, 3): one each for even and odd rows and columns."""
        outputs, inputs = self.weight.shape[:2]
        weight = (self.weight.reshape(outputs, inputs, 9) @ self.spread.T).reshape(outputs, inputs, 4, 3, 3)
        return weight.transpose(1, 2).reshape(outputs * 4, inputs, 3, 3)


@torch.no_grad()
def subpixel_conv(inputs: int, outputs: int, factor: int) -> nn.Conv2d:
    """The convolution before a pixel shuffle by `factor`; starts as nearest-neighbour upsampling (Aitken et al. 2017).

    It starts at mid-grey, from where the first steps lead to a picture soonest.
    """
    conv = nn.Conv2d(inputs, outputs * factor**2, 3, padding=1)
    assert conv.bias is not None
    conv.weight.copy_(conv.weight[:: factor**2].repeat_interleave(factor**2, dim=0))
    conv.bias.fill_(0.5)
    return conv
