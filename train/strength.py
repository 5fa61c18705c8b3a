"""How much of the painting: one dial that means the same for every painting, and the weight k it stands for.

k = PHOTO_WEIGHT * strength ** EVENNESS / d, where d is how far photos as they are stand from the painting's style. So
at strength 1 a photo that is not painted at all costs the same for every painting, a stormy one or one of pale mist,
whose Gram matrices are so small that any texture is many times too much.
"""

import torch
from torch import Tensor

from ..errors import InputError
from ..models.vgg import VGGFeatures
from .losses import PerceptualLoss

PHOTO_WEIGHT = 2.5
"""Times the content loss of a black picture. At 4, a network that learnt the Great Wave lost the photo."""
EVENNESS = 1.5
"""Exponent that makes equal steps of the dial look equal."""
PHOTOS = 8
"""Photos that d is averaged over."""
MAX_STRENGTH = 2.0


@torch.no_grad()
def style_weight(strength: float, loss: PerceptualLoss, vgg: VGGFeatures, photos: Tensor) -> float:
    """k at `strength` (0..`MAX_STRENGTH`) for the painting of `loss`; photos (B, 3, S, S) uint8 RGB.

    Raises:
        InputError: the photos' style is the painting's already, as where the painting is one of them.
    """
    distances = []
    for photo in torch.split(photos, 1):
        picture = photo.float() / 255
        activations = vgg(picture)
        distances.append(loss(picture, activations, activations)["style"].item())
    distance = sum(distances) / len(distances)
    if not distance > 1e-6:
        raise InputError("the photos look like the painting already: give other photos, or --style-weight")
    # Three digits are plenty, and a figure that people can read and type again.
    return float(f"{PHOTO_WEIGHT * strength**EVENNESS / distance:.3g}")
