"""The yardstick: content and style distance of a network on photos it never saw, and the preview picture of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import InputError
from ..models.features import Features
from ..pictures import Frame, read_picture
from .artefacts import flicker, motion_error
from .config import CONTENT_LAYER, STYLE_LAYERS
from .losses import gram_matrix, relative_distance
from .photos import resize_shorter, to_frame, to_tensor, views
from .scenes import noisy, pans
from .synthetic import synthetic_photo

YARDSTICK_PX = 384
"""Shorter side of photos and painting."""
YARDSTICK_LAYERS = (*STYLE_LAYERS, CONTENT_LAYER)
UNSEEN_SEED = 2**64
"""Of photos made up to judge by: no training has it."""


@dataclass(frozen=True)
class Figures:
    """Mean distances over photos; J = content + style_weight * style compares networks trained for the same weight."""

    content: float
    style: float
    j: float
    photos: int
    optimality_ratio: float | None = None
    """J over the least that the slow method finds, at `optimality.RATIO_PX`; 1 is the best that the loss allows."""
    ratio_photos: int = 0
    """How many photos that is a mean over."""
    flicker: float | None = None
    """`artefacts.flicker` on `scenes.noisy` of the first photo."""
    motion: float | None = None
    """`artefacts.motion_error` on `scenes.pans` of it."""

    def short(self) -> dict[str, float]:
        """By the names that a style's card has for them."""
        more = {name: getattr(self, name) for name in ("optimality_ratio", "flicker", "motion")}
        measured = {name: value for name, value in more.items() if value is not None}
        return {"content": self.content, "style": self.style, "J": self.j} | measured


@dataclass(frozen=True)
class Distances:
    """How far one painting is from its photo and from the painting it is to look like."""

    content: float
    style: float

    def j(self, style_weight: float) -> float:
        """content + style_weight * style."""
        return self.content + style_weight * self.style


@torch.inference_mode()
def evaluate(
    paint: Callable[[Tensor], Tensor],
    features: Features,
    painting: Frame,
    photos: Sequence[Frame],
    *,
    style_weight: float,
    shorter_px: int = YARDSTICK_PX,
) -> Figures:
    """Content and style distance of what a network paints of `photos`, whatever sizes they have, and its steadiness.

    Args:
        paint: the network: RGB (1, 3, H, W) in 0..1, where `features` is -> the same.
        features: VGG's, with at least `YARDSTICK_LAYERS`.
        painting, photos: (H, W, 3) uint8 RGB.
        style_weight: k of J = content + k * style.
        shorter_px: shorter side at which photos are painted.
    """
    found = distances(paint, features, painting, photos, shorter_px=shorter_px)
    mean = Distances(float(np.mean([d.content for d in found])), float(np.mean([d.style for d in found])))
    first = resize_shorter(photos[0], shorter_px)

    def paint_frame(frame: Frame) -> Frame:
        return to_frame(paint(to_tensor(frame).to(features.mean.device)))

    return Figures(
        mean.content,
        mean.style,
        mean.j(style_weight),
        len(photos),
        flicker=flicker(paint_frame, noisy(first)),
        motion=motion_error(paint_frame, pans(first)),
    )


@torch.inference_mode()
def distances(
    paint: Callable[[Tensor], Tensor], features: Features, painting: Frame, photos: Sequence[Frame], *, shorter_px: int
) -> list[Distances]:
    """The same for each photo by itself."""
    device = features.mean.device
    target = features(views(painting, YARDSTICK_PX).to(device))
    grams = {layer: gram_matrix(target[layer]).mean(0, keepdim=True) for layer in STYLE_LAYERS}
    found = []
    for photo in photos:
        x = to_tensor(resize_shorter(photo, shorter_px)).to(device)
        wanted, got = features(x), features(paint(x).clamp(0, 1))
        content = relative_distance(got[CONTENT_LAYER], wanted[CONTENT_LAYER]).item()
        style = [relative_distance(gram_matrix(got[layer]), grams[layer]).item() for layer in STYLE_LAYERS]
        found.append(Distances(content, float(np.mean(style))))
    return found


@torch.inference_mode()
def stylize(network: nn.Module, photo: Frame) -> Frame:
    """(H, W, 3) uint8 RGB -> the same, painted."""
    device = next(network.parameters()).device
    return to_frame(network(to_tensor(photo).to(device)))


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


def synthetic_photos(count: int, *, shorter_px: int = YARDSTICK_PX) -> list[Frame]:
    """Photos to judge by, made up; no training sees them."""
    return [synthetic_photo(seed=UNSEEN_SEED, number=number, size_px=shorter_px) for number in range(count)]
