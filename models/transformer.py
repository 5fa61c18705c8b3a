"""The image transformer: a ResNet-block network from a frame to its painting, in one definition with two builds.

`standard` is the network of Johnson, Alahi and Fei-Fei (2016, arXiv:1603.08155, supplement) with the two changes that
everyone since has made: instance norm (Ulyanov et al. 2016, arXiv:1607.08022) and resize-convolution ends (Odena et al.
2016). `realtime` runs the same residual blocks at an eighth of the resolution, between a stem and an end at a quarter.

    network = build("realtime")
    painted = network(torch.rand(1, 3, 480, 640))
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .normalisation import IMAGENET_MEAN, IMAGENET_STD, register_statistics

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

    def __init__(
        self,
        core: nn.Module,
        *,
        multiple: int,
        margin: int = 0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        """Take a core from normalised frames (B, 3, H, W), H and W multiples of `multiple`, to paintings in 0..1."""
        super().__init__()
        self.core = core
        self.multiple, self.margin = multiple, margin
        register_statistics(self, mean, std)

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 -> the same shape."""
        return self.crop(self.core(self.prepare(frame)), frame)

    def prepare(self, frame: Tensor) -> Tensor:
        """What the core sees of a frame: normalised, reflected at the border."""
        height, width = frame.shape[-2:]
        m = self.margin
        below, right = -(height + 2 * m) % self.multiple, -(width + 2 * m) % self.multiple
        return F.pad((frame - self.mean) / self.std, (m, m + right, m, m + below), mode="reflect")

    def crop(self, painted: Tensor, frame: Tensor) -> Tensor:
        """What the core gave, without what `prepare` added to `frame`."""
        (height, width), m = frame.shape[-2:], self.margin
        return painted[..., m : m + height, m : m + width]


class RealtimeCore(nn.Module):
    """Normalised frames (B, 3, H, W), H and W multiples of 8 -> paintings of the same size.

    Most of the work is done on few, wide cells of 8 px: there a convolution is a large product of matrices, which is
    what processors are best at, and the little that is normalised costs little. What such cells lose, thin lines and
    where exactly they are, goes past them at a quarter of the resolution.
    """

    def __init__(self, *, stem: nn.Module, down: nn.Module, body: nn.Module, up: nn.Module, end: nn.Module) -> None:
        """Take parts: stem at 1/4, `down` to 1/8, body, `up` to 1/4 and the stem's channels, end to the pixels."""
        super().__init__()
        self.stem, self.down, self.body, self.up, self.end = stem, down, body, up, end

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same."""
        fine = self.stem(frame)
        return self.end(self.up(self.body(self.down(fine))) + fine)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """x + inner(x): (B, C, h, w) -> the same."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

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
        return standard()
    if name == "realtime":
        return realtime()
    raise ValueError(f"build: got {name!r}, expected 'realtime' or 'standard'")


def describe(network: ImageTransformer, name: Build) -> dict[str, Any]:
    """What a style file's card says of its network."""
    return {"build": name, "parameters": sum(p.numel() for p in network.parameters())}


def standard() -> ImageTransformer:
    """32-64-128 channels, five residual blocks, 9x9 ends, reflection padding: 1.68 M parameters."""
    reflect: PaddingMode = "reflect"

    def block() -> ResidualBlock:
        first, second = (conv_norm(128, 128, 3, padding_mode=reflect) for _ in range(2))
        return ResidualBlock(nn.Sequential(*first, nn.ReLU(inplace=True), *second))

    stem = nn.Sequential(
        *conv_norm(3, 32, 9, padding_mode=reflect),
        nn.ReLU(inplace=True),
        *conv_norm(32, 64, 3, padding_mode=reflect, stride=2),
        nn.ReLU(inplace=True),
        *conv_norm(64, 128, 3, padding_mode=reflect, stride=2),
        nn.ReLU(inplace=True),
    )
    end = nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        *conv_norm(128, 64, 3, padding_mode=reflect),
        nn.ReLU(inplace=True),
        nn.Upsample(scale_factor=2, mode="nearest"),
        *conv_norm(64, 32, 3, padding_mode=reflect),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 3, 9, padding=4, padding_mode=reflect),
    )
    core = nn.Sequential(stem, nn.Sequential(*(block() for _ in range(5))), end)
    return ImageTransformer(core, multiple=4)


def realtime(*, fine: int = 32, wide: int = 96, blocks: int = 3, half: int = 16) -> ImageTransformer:
    """`fine` channels at 1/4, `wide` at 1/8, where the blocks are, `half` at 1/2 of the resolution.

    Instance norm stands where it is cheap and counts most: on the widest cells, before the blocks and behind them.
    """

    def block() -> ResidualBlock:
        first, second = (nn.Conv2d(wide, wide, 3, padding=1) for _ in range(2))
        return ResidualBlock(nn.Sequential(first, nn.ReLU(inplace=True), second))

    core = RealtimeCore(
        stem=nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, fine, 3, padding=1), nn.ReLU(inplace=True)),
        down=nn.Sequential(*conv_norm(fine, wide, 3, padding_mode="zeros", stride=2), nn.ReLU(inplace=True)),
        body=nn.Sequential(*(block() for _ in range(blocks)), nn.InstanceNorm2d(wide, affine=True)),
        up=UpsampleConv(wide, fine),
        end=nn.Sequential(
            nn.ReLU(inplace=True),
            UpsampleConv(fine, half),
            nn.ReLU(inplace=True),
            subpixel_conv(half, 3, 2),
            nn.PixelShuffle(2),
        ),
    )
    # Pixel 128 is 0 and 64 pixels are 1: the same for all channels and exact in uint8, as the int8 graph needs it.
    return ImageTransformer(core, multiple=8, margin=8, mean=[128 / 255] * 3, std=[64 / 255] * 3)


class UpsampleConv(nn.Module):
    """Nearest-neighbour upsampling by 2, then a 3x3 convolution: (B, C, h, w) -> (B, D, 2h, 2w).

    Computed at the low resolution: of three neighbouring pixels after upsampling two are the same, so the even and the
    odd pixels each see a 3x3 kernel of their own over the original, with one row and one column of zeros.
    """

    spread: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, 3)
        self.weight = nn.Parameter(conv.weight.detach().clone())
        self.bias = nn.Parameter(torch.zeros(outputs))
        even = [[1.0, 0, 0], [0, 1, 1], [0, 0, 0]]  # low-resolution row by tap: rows i-1, i, i
        odd = [[0.0, 0, 0], [1, 1, 0], [0, 0, 1]]  # rows i, i, i+1
        rows = torch.tensor([even, odd]).reshape(6, 3)
        spread = torch.kron(rows, rows).reshape(2, 3, 2, 3, 9).transpose(1, 2).reshape(36, 9)
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, D, 2h, 2w)."""
        weight, bias = self.low_resolution_weight(), self.bias.repeat_interleave(4)
        return F.pixel_shuffle(F.conv2d(x, weight, bias, padding=1), 2)

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
