"""How pixels enter a network trained with ImageNet's statistics, which VGG was and the transformers follow."""

import torch
from torch import nn


def register_imagenet_statistics(module: nn.Module) -> None:
    """Give `module` buffers `mean` and `std`, (1, 3, 1, 1) for RGB in 0..1, that are no part of its weights."""
    for name, values in (("mean", [0.485, 0.456, 0.406]), ("std", [0.229, 0.224, 0.225])):
        module.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
