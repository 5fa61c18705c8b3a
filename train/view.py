"""What of a painted batch the losses get to see: colours clamped to what a screen shows, through a moving window."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW_PX = 16  # twice the coarsest pooling of the layers in use


class ClampWithGradient(torch.autograd.Function):
    """Clamp to 0..1, and let through the gradient wherever it leads back into the range."""

    @staticmethod
    def forward(ctx: Any, picture: Tensor) -> Tensor:
        """Any shape -> the same, clamped."""
        clamped = picture.clamp(0, 1)
        ctx.save_for_backward(picture - clamped)
        return clamped

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Zero only where a step against the gradient would lead further out."""
        (outside,) = ctx.saved_tensors
        return gradient * (gradient * outside >= 0)


def moving_window(step: int, seed: int, *pictures: Tensor) -> list[Tensor]:
    """A window as large as each of (B, 3, S, S) pictures, moved by up to half of `WINDOW_PX`, elsewhere in every step.

    So VGG's poolings have no fixed place over the network's cells, which would show as a grid. What the window shows
    beyond a picture is its mirror image, so that VGG sees all of it, up to its border, which otherwise nobody would
    look after, and its own zero padding has no fixed place over it, which would show as a frame.
    """
    side, reach = pictures[0].shape[-1], WINDOW_PX // 2
    top, left = np.random.default_rng((seed, step, 2)).integers(0, WINDOW_PX, 2)
    padded = (F.pad(picture, (reach,) * 4, mode="reflect") for picture in pictures)
    return [p[..., top : top + side, left : left + side] for p in padded]
