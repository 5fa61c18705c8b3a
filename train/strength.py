"""How much of the painting: one dial that means the same for every painting, and the weight k it stands for.

k = BALANCE * strength ** EVENNESS * c / sqrt(d), where c and d are the content and style distances of photos that have
the painting's colours and nothing else of it, medians over some photos. A painting whose palette alone costs much of
the photo needs more weight for its strokes to be worth anything; one of pale mist, whose Gram matrices are so small
that any texture of a photo is many times too much, needs less.
"""

import math
from statistics import median

import torch
from torch import Tensor

from ..errors import InputError
from ..models.features import Features
from ..pictures import Frame
from .losses import PerceptualLoss
from .photos import to_tensor

BALANCE = 15.0
"""Where strokes are unmistakable and photos readable, by eye."""
EVENNESS = 1.5
"""Exponent that makes equal steps of the dial look equal."""
PHOTOS = 8
"""Photos that the medians are taken over."""
_LEAST = 1e-6  # variance


@torch.no_grad()
def style_weight(strength: float, loss: PerceptualLoss, features: Features, painting: Frame, photos: Tensor) -> float:
    """k at `strength`, 0 to 2.

    Args:
        strength: how much.
        loss: that of the painting.
        features: the loss network.
        painting: (H, W, 3) uint8 RGB.
        photos: typical ones, (B, 3, S, S) uint8 RGB, where `features` is.

    Raises:
        InputError: the photos' style is the painting's already, as where the painting is one of them.
    """
    mean, covariance = moments(to_tensor(painting))
    contents, styles = [], []
    for photo in torch.split(photos, 1):
        before = photo.float() / 255
        after = recolour(before, mean, covariance)
        parts = loss(after, features(after), features(before))
        contents.append(parts["content"].item())
        styles.append(parts["style"].item())
    content, style = median(contents), median(styles)
    if not style > 1e-6:
        raise InputError("the photos look like the painting already: give other photos, or --style-weight")
    # Three digits are plenty, and a figure that people can read and type again.
    return float(f"{BALANCE * strength**EVENNESS * content / math.sqrt(style):.3g}")


def recolour(picture: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Give a picture, (1, 3, H, W) RGB in 0..1, a mean (3) and covariance (3, 3), float64, by moving colours least.

    The linear map of optimal transport (Pitié and Kokaram 2007, "The linear Monge-Kantorovitch colour mapping").
    """
    own_mean, own = moments(picture)
    root, inverse = _power(own, 0.5), _power(own, -0.5)
    change = inverse @ _power(root @ covariance @ root, 0.5) @ inverse
    pixels = picture[0].double().flatten(1).cpu()  # (3, HW)
    moved = change @ (pixels - own_mean[:, None]) + mean[:, None]
    return moved.clamp(0, 1).reshape(picture.shape).to(picture)


def moments(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (3) and covariance (3, 3) of the colours of (1, 3, H, W), float64, on the CPU."""
    pixels = picture[0].double().flatten(1).cpu()
    return pixels.mean(1), torch.cov(pixels)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Of a covariance; what does not vary is taken to vary a little."""
    values, vectors = torch.linalg.eigh(matrix)
    power: Tensor = (vectors * values.clamp(min=_LEAST) ** exponent) @ vectors.T
    return power
