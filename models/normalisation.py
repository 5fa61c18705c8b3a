"""How pixels enter a network: (value - mean) / std for each channel."""

from collections.abc import Sequence

import torch
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB in 0..1, as VGG was trained."""


def register_statistics(
    module: nn.Module, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> None:
    """Give `module` buffers `mean` and `std`, (1, 3, 1, 1) for RGB in 0..1, that are no part of its weights."""
    for name, values in (("mean", mean), ("std", std)):
        module.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
