"""What J does not see and the eye does: grids in a painting, and paintings that do not move with what they show.

Every figure is a ratio, so that it needs no scale: a grid's to the painting's own texture, the others to what the photo
itself shows. A photo's grid is 1.1 to 1.3; its error along motion and its flicker are 1 by definition.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..pictures import Frame

GRID_PERIODS = (2, 4, 8)
"""Periods in px at which sub-pixel ends draw grids."""
OCCLUDED = 25.0  # grey levels: where the photo itself differs by more, its motion is hidden or unknown

Array = npt.NDArray[Any]
Stylize = Callable[[Frame], Frame]


@dataclass(frozen=True, eq=False)
class Motion:
    """Two frames of a scene and where the pixels of the first are in the second."""

    first: Frame
    second: Frame
    """(H, W, 3) uint8 RGB, both."""
    flow: Array
    """float32 (H, W, 2), (x, y) in px: first[y, x] is seen at second[y + flow_y, x + flow_x]; NaN where unknown."""


def luma(picture: Frame) -> Array:
    """(H, W, 3) uint8 RGB -> float64 (H, W), BT.601, 0..255."""
    return np.asarray(picture @ np.array([0.299, 0.587, 0.114]))


def grid(picture: Frame) -> dict[int, float]:
    """Power at the frequencies of each period in `GRID_PERIODS` over the median power around them.

    At every multiple of 1/period cycles per pixel (in both directions, those of a shorter period left out) the mean
    power of the 3x3 bins is divided by the median of the bins 4 to 8 away; the figure is the geometric mean over them.
    """
    values = luma(picture)
    height, width = (side // 8 * 8 for side in values.shape)
    values = values[:height, :width]
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2
    dy, dx = np.mgrid[-8:9, -8:9]
    distance = np.maximum(abs(dy), abs(dx))
    figures = {}
    for period in GRID_PERIODS:
        ratios = []
        for j, i in _frequencies(period):
            around = power[(j * height // period + dy) % height, (i * width // period + dx) % width]
            ratios.append(around[distance <= 1].mean() / np.median(around[distance >= 4]))
        figures[period] = float(np.exp(np.log(ratios).mean()))
    return figures


def _frequencies(period: int) -> Iterator[tuple[int, int]]:
    """(j, i) in 0..period-1 of the multiples of 1/period that no shorter period shares."""
    for j in range(period):
        for i in range(period):
            if math.gcd(j, i, period) == 1:
                yield j, i


def motion_error(stylize: Stylize, motions: Iterable[Motion]) -> float:
    """How far the painting misses the true motion, over how far the photo itself does.

    The second painting is moved back by the true flow and compared with the first one, in luma, wherever the photo can
    be followed: where it leaves the frame or differs by more than `OCCLUDED` grey levels it cannot.
    """
    painted = own = 0.0
    for motion in motions:
        back = Warp(motion.flow)
        photo = abs(back(motion.second) - luma(motion.first))
        seen = back.inside & (photo < OCCLUDED)
        painting = abs(back(stylize(motion.second)) - luma(stylize(motion.first)))
        painted += float(painting[seen].mean())
        own += float(photo[seen].mean())
    return painted / own


class Warp:
    """Moves a picture back along a flow."""

    def __init__(self, flow: Array) -> None:
        height, width = flow.shape[:2]
        known = np.isfinite(flow).all(2)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        self._x = np.where(known, x + flow[..., 0], -1).astype(np.float32)
        self._y = np.where(known, y + flow[..., 1], -1).astype(np.float32)
        self.inside = (self._x >= 0) & (self._x <= width - 1) & (self._y >= 0) & (self._y <= height - 1)
        """bool (H, W): where the flow is known and leads into the picture."""

    def __call__(self, picture: Frame) -> Array:
        """(H, W, 3) uint8 RGB -> luma, float64 (H, W); anything outside `inside`."""
        return np.asarray(cv2.remap(luma(picture), self._x, self._y, cv2.INTER_LINEAR))


def flicker(stylize: Stylize, frames: Iterable[Frame]) -> float:
    """Mean absolute change of luma from frame to frame of a still scene, the painting's over the photo's."""
    painted = own = 0.0
    before: tuple[Array, Array] | None = None
    for frame in frames:
        now = luma(frame), luma(stylize(frame))
        if before is not None:
            own += float(abs(now[0] - before[0]).mean())
            painted += float(abs(now[1] - before[1]).mean())
        before = now
    return painted / own
