"""What the user can change about a live picture while it runs, and how each of it is done to a frame.

The window's thread writes a `Look`, the painting thread reads it: single fields, each whole at any moment.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from ..pictures import Frame

BORDER_PX = 2
STRENGTH_STEP, SMOOTHING_STEP, SPLIT_STEP = 0.1, 0.1, 0.05
Masked = Literal["off", "person", "background"]
MASKED: tuple[Masked, ...] = get_args(Masked)


@dataclass
class Look:
    """How the painting is shown."""

    strength: float = 1.0
    """Share of the painting, 0..1; the rest is the photo."""
    smoothing: float = 0.0
    """How much of the painting before stays, moved as the photo moved, 0..1; see `smoothing`."""
    keep_colours: bool = False
    """The strokes of the painting in the colours of the photo."""
    mirror: bool = False
    """Left and right swapped."""
    split: float | None = None
    """Where the border between photo (left) and painting (right) is, 0..1 of the width; None: painting everywhere."""
    mask: Masked = "off"
    """What is painted: everything, only the person, or all but the person."""
    frozen: bool = False
    """The picture stands still."""


def blend(painting: Frame, photo: Frame, strength: float) -> Frame:
    """Let the photo through, in place: (H, W, 3) uint8 RGB both, `strength` 0 (photo) to 1 (painting)."""
    return np.asarray(cv2.addWeighted(painting, strength, photo, 1 - strength, 0, painting), dtype=np.uint8)


def split(painting: Frame, photo: Frame, border: float) -> Frame:
    """The photo on the left of `border`, 0..1 of the width, and a thin line on it; in place."""
    width = painting.shape[1]
    column = round(border * width)
    painting[:, :column] = photo[:, :column]
    painting[:, max(0, column - BORDER_PX // 2) : column + BORDER_PX // 2] = 255
    return painting
