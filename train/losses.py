"""The perceptual losses of Gatys et al. (2016) and Johnson et al. (2016), scale-free, each a small module.

Content and style distances are relative to the photo's and the painting's own size in feature space, so that one
weighting fits all paintings. Every loss takes stylized pictures or activations and returns float32: content and style
one value for each picture of the batch, the others, and the total of all, the mean over the pictures, so that a batch
split over processes gives the same gradient.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-8


def gram_matrix(activation: Tensor) -> Tensor:
    """Activations (B, C, H, W) -> their Gram matrices F F^T / (H W), (B, C, C), float32."""
    batch, channels, height, width = activation.shape
    flat = activation.permute(0, 2, 3, 1).reshape(batch, height * width, channels)  # a view where channels_last
    # Gatys divides by 4 C^2 (H W)^2; the relative distance below takes out every constant but the number of pixels.
    product: Tensor = _SelfProduct.apply(flat)
    return product.float() / (height * width)


class _SelfProduct(torch.autograd.Function):
    """X^T X over the last two dimensions; its gradient X (D + D^T) is one product, where autograd takes two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.transpose(1, 2) @ x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return x @ (gradient + gradient.transpose(1, 2))


def relative_distance(value: Tensor, target: Tensor) -> Tensor:
    """||value - target||^2 / ||target||^2 for each of the batch: (B, ...) twice -> (B,), float32."""
    difference = (value.float() - target.float()).flatten(1).square().sum(1)
    return difference / (target.float().flatten(1).square().sum(1) + EPSILON)


class ContentLoss(nn.Module):
    """How far the painting's activation is from the photo's, over the photo's own: 0 for the photo, 1 for black."""

    def forward(self, activation: Tensor, photo: Tensor) -> Tensor:
        """Activations (B, C, H, W) of the stylized picture and of the photo -> (B,)."""
        return relative_distance(activation, photo)


class StyleLoss(nn.Module):
    """How far an activation's Gram matrix is from the painting's, over the painting's own."""

    target: Tensor
    """(1, C, C) float32, or (B, C, C) where each picture of a batch has a painting of its own."""

    def __init__(self, painting: Tensor) -> None:
        """Take the painting's activation, (1, C, H, W) or several of them (B, C, H, W), which are averaged."""
        super().__init__()
        self.register_buffer("target", gram_matrix(painting).mean(0, keepdim=True), persistent=False)

    def forward(self, activation: Tensor) -> Tensor:
        """Activation (B, C, H, W) -> (B,)."""
        return relative_distance(gram_matrix(activation), self.target.expand(len(activation), -1, -1))

    def extra_repr(self) -> str:
        """Channels of the layer."""
        return f"channels={self.target.shape[-1]}"


class TotalVariationLoss(nn.Module):
    """Mean absolute difference of neighbouring pixels, both directions (anisotropic total variation)."""

    def forward(self, picture: Tensor) -> Tensor:
        """RGB (B, C, H, W) in 0..1 -> scalar in 0..2."""
        picture = picture.float()
        return picture.diff(dim=-1).abs().mean() + picture.diff(dim=-2).abs().mean()


class GridLoss(nn.Module):
    """The share of a picture's fine detail that repeats from one 8-pixel cell to the next: what the eye sees as a grid.

    Sub-pixel ends and VGG's poolings both have periods that divide 8. Detail (the picture less its 9x9 box blur) is
    averaged over the cells of a window; random texture averages out to 1 / cells^2 of its energy, a grid stays whole.
    Each window counts the same, however little detail it has: the eye finds a grid in the sky first.
    """

    invisible = (0.5 / 255) ** 2  # detail of half a grey level, as energy

    def __init__(self, *, period: int = 8, cells: int = 8) -> None:
        super().__init__()
        self.period, self.cells = period, cells

    def forward(self, picture: Tensor) -> Tensor:
        """RGB (B, 3, H, W) in 0..1 -> scalar in 0..1; 0 for pictures smaller than one window."""
        luma = picture.float().mean(1, keepdim=True)
        p, window = self.period, self.period * self.cells
        detail = (luma - F.avg_pool2d(luma, p + 1, 1, p // 2))[..., p:-p, p:-p]
        batch, _, height, width = detail.shape
        rows, columns = height // window, width // window
        if rows * columns == 0:
            return picture.new_zeros((), dtype=torch.float32)
        detail = detail[..., : rows * window, : columns * window]
        # (B, window row, cell row, y, window column, cell column, x)
        cells = detail.reshape(batch, rows, self.cells, p, columns, self.cells, p)
        repeated = cells.mean(dim=(2, 5)).square().mean(dim=(2, 4))  # (B, window row, window column)
        return (repeated / (cells.square().mean(dim=(2, 3, 5, 6)) + self.invisible)).mean()


class MotionLoss(nn.Module):
    """How far a painting is from what the one before it makes expect: 0 where the strokes stay on what they paint.

    The whole difference (luma and colour) and that of the luma's fine detail are each relative to what the two
    paintings hold of it, with the gradient through both: paler or softer strokes would boil as much, so blur does not
    win. Detail is what differs from the mean of its 8x8 cell.
    """

    cell = 8
    least_contrast = 0.1  # a painting has 0.25 to 0.28; a network that has hardly begun, none to be held to
    least_detail = 0.03  # likewise; a painting has 0.11 to 0.14

    def forward(self, expected: Tensor, picture: Tensor, known: Tensor) -> Tensor:
        """RGB (B, 3, H, W) twice, compared where `known`, (B, 1, H, W), is 1 and not where it is 0 -> (B,)."""
        share = known / known.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
        whole = self._relative(expected.float(), picture.float(), share, self.least_contrast)
        first, second = (self._detail(p.float().mean(1, keepdim=True), known) for p in (expected, picture))
        return (whole + self._relative(first, second, share, self.least_detail)) / 2

    def _relative(self, first: Tensor, second: Tensor, share: Tensor, least: float) -> Tensor:
        """Mean squared difference over the mean variance of both: (B, C, H, W), weighted by (B, 1, H, W) -> (B,)."""

        def mean(values: Tensor) -> Tensor:
            return (share * values).sum(dim=(2, 3))  # (B, C)

        energy = mean(first.square() + second.square()) - mean(first).square() - mean(second).square()
        return mean((first - second).square()).mean(1) / (energy.mean(1) / 2 + least**2)

    def _detail(self, luma: Tensor, known: Tensor) -> Tensor:
        """(B, 1, H, W) less the mean of what is known of each cell."""
        height, width = luma.shape[-2:]
        total, count = (F.avg_pool2d(values, self.cell, ceil_mode=True) for values in (known * luma, known))
        mean = F.interpolate(total / (count + EPSILON), scale_factor=self.cell)
        return luma - mean[..., :height, :width]


class PerceptualLoss(nn.Module):
    """content + k * style + small total variation and grid terms, with each part's value for the log."""

    style_weight: float | Tensor
    """k; (B,) where each picture of a batch has its own."""

    def __init__(
        self,
        painting: Mapping[str, Tensor],
        *,
        content_layer: str,
        style_layers: Mapping[str, float],
        style_weight: float,
        tv_weight: float,
        grid_weight: float,
    ) -> None:
        """Take the painting's activations by layer name; style layers are averaged with their weights."""
        super().__init__()
        total = sum(style_layers.values())
        self.content_layer = content_layer
        self.shares = {layer: weight / total for layer, weight in style_layers.items()}
        self.style_weight, self.tv_weight, self.grid_weight = style_weight, tv_weight, grid_weight
        self.content, self.tv, self.grid = ContentLoss(), TotalVariationLoss(), GridLoss()
        self.styles = nn.ModuleDict({layer: StyleLoss(painting[layer]) for layer in style_layers})

    def forward(
        self, picture: Tensor, activations: Mapping[str, Tensor], photo: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Stylized picture (B, 3, H, W), its activations, the photo's -> `total`, `content`, `style`, ... scalars."""
        styles = {layer: loss(activations[layer]) for layer, loss in self.styles.items()}
        style = sum((self.shares[layer] * value for layer, value in styles.items()), torch.zeros(()))
        parts = {f"style/{layer}": value.mean() for layer, value in styles.items()}
        parts["content"] = self.content(activations[self.content_layer], photo[self.content_layer]).mean()
        parts["style"] = style.mean()
        parts["tv"], parts["grid"] = self.tv(picture), self.grid(picture)
        parts["total"] = (
            parts["content"]
            + (self.style_weight * style).mean()
            + self.tv_weight * parts["tv"]
            + self.grid_weight * parts["grid"]
        )
        return parts
