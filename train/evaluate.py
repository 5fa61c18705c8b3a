"""The yardstick: content and style distance of a network on photos it never saw, and the preview picture of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import InputError
from ..models.vgg import VGGFeatures
from ..pictures import Frame, read_picture
from .config import CONTENT_LAYER, STYLE_LAYERS
from .losses import gram_matrix, relative_distance
from .photos import resize_shorter, to_tensor

YARDSTICK_PX = 384
"""Shorter side of photos and painting."""
YARDSTICK_LAYERS = (*STYLE_LAYERS, CONTENT_LAYER)


@dataclass(frozen=True)
class Figures:
    """Mean distances over photos; J = content + style_weight * style compares networks trained for the same weight."""

    content: float
    style: float
    j: float
    photos: int


@torch.inference_mode()
def evaluate(
    paint: Callable[[Tensor], Tensor],
    vgg: VGGFeatures,
    painting: Frame,
    photos: Sequence[Frame],
    *,
    style_weight: float,
    shorter_px: int = YARDSTICK_PX,
) -> Figures:
    """Content and style distance of what a network paints of `photos`, whatever sizes they have.

    Args:
        paint: the network: RGB (1, 3, H, W) in 0..1, where `vgg` is -> the same.
        vgg: features with at least `YARDSTICK_LAYERS`.
        painting, photos: (H, W, 3) uint8 RGB.
        style_weight: k of J = content + k * style.
        shorter_px: shorter side at which photos are painted.
    """
    device = vgg.mean.device
    target = vgg(to_tensor(resize_shorter(painting, YARDSTICK_PX)).to(device))
    grams = {layer: gram_matrix(target[layer]) for layer in STYLE_LAYERS}
    content, style = [], []
    for photo in photos:
        x = to_tensor(resize_shorter(photo, shorter_px)).to(device)
        wanted, got = vgg(x), vgg(paint(x).clamp(0, 1))
        content.append(relative_distance(got[CONTENT_LAYER], wanted[CONTENT_LAYER]).item())
        distances = [relative_distance(gram_matrix(got[layer]), grams[layer]).item() for layer in STYLE_LAYERS]
        style.append(float(np.mean(distances)))
    mean_content, mean_style = float(np.mean(content)), float(np.mean(style))
    return Figures(mean_content, mean_style, mean_content + style_weight * mean_style, len(photos))


@torch.inference_mode()
def stylize(network: nn.Module, photo: Frame) -> Frame:
    """(H, W, 3) uint8 RGB -> the same, painted."""
    device = next(network.parameters()).device
    painted = network(to_tensor(photo).to(device)).clamp(0, 1) * 255
    return painted[0].permute(1, 2, 0).round().to(torch.uint8).cpu().numpy()  # type: ignore[no-any-return]


def preview(network: nn.Module, painting: Frame, photos: Sequence[Frame], *, height_px: int = 256) -> Frame:
    """One picture: the painting on the left, photos in the upper row, their paintings below them."""
    tiles = [_fit(photo, height_px) for photo in photos]
    columns = [np.concatenate([tile, stylize(network, tile)]) for tile in tiles]
    left = _fit(painting, 2 * height_px)
    gap = np.full((2 * height_px, 8, 3), 255, dtype=np.uint8)
    return np.concatenate([part for column in [left, *columns] for part in (column, gap)][:-1], axis=1)


def _fit(picture: Frame, height_px: int) -> Frame:
    width = max(16, min(2 * height_px, round(picture.shape[1] * height_px / picture.shape[0])))
    return np.array(Image.fromarray(picture).resize((width, height_px), Image.Resampling.LANCZOS))


def read_photos(paths: Sequence[Path], *, shorter_px: int = YARDSTICK_PX) -> list[Frame]:
    """Photos to judge by; the ones that cannot be decoded are left out."""
    photos = []
    for path in paths:
        try:
            photos.append(resize_shorter(read_picture(path, shorter_px=shorter_px), shorter_px))
        except InputError:
            continue
    return photos
