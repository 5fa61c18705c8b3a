"""What J does not see and the eye does: grids, tinted edges, and paintings that do not move with what they show.

All figures but the tint (grey levels) are ratios: a grid's to the painting's own texture, that of fading strokes to the
painting that was not smoothed, the others to what the photo itself shows. A photo's grid is 1.1 to 1.3; its error along
motion, its flicker and its liveliness are 1 by definition, its spill is 0. Clips to measure on are made up by `scenes`.
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
EDGE_PX = 16  # how deep an edge is
OCCLUDED = 25.0  # grey levels: where the photo itself differs by more, its motion is hidden or unknown
STILL = 2.0  # grey levels: where a photo changes by less, on average over `STILL_PX`, only its noise does
STILL_PX = 9
NEAR_PX = 16  # a stroke may change so far from what changes
FINE_PX = 2.0  # deviation of the blur that strokes stand out from
PLAIN, PLAIN_PX = 1.5, 31  # grey levels that a plain photo stands out by, on average over so many pixels

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


def tint(stylize: Stylize, photos: Iterable[Frame], paintings: Iterable[Frame]) -> float:
    """How much an edge is coloured for being one, in grey levels: the worst edge and channel, mean over the photos.

    The middle of each photo, half as wide and high, is painted by itself as well; along its edges, `EDGE_PX` deep, the
    mean colour is compared with that of the same places in the painting of the whole photo, where they are no edges.
    Zero padding tells a network which edge it is at.

    Args:
        stylize: what paints.
        photos: (H, W, 3) uint8 RGB, of twice `EDGE_PX` and more.
        paintings: what `stylize` makes of each, whole.
    """
    gaps = []
    for photo, painting in zip(photos, paintings, strict=True):
        middle = _middle(photo)
        alone = stylize(np.ascontiguousarray(photo[middle]))
        gaps.append(_edge_colours(alone) - _edge_colours(painting[middle]))
    return float(abs(np.mean(gaps, axis=0)).max())


def _middle(picture: Frame) -> tuple[slice, slice]:
    height, width = picture.shape[:2]
    return slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)


def _edge_colours(picture: Frame) -> Array:
    """(4, 3): mean colours at the top, bottom, left and right."""
    edges = picture[:EDGE_PX], picture[-EDGE_PX:], picture[:, :EDGE_PX], picture[:, -EDGE_PX:]
    return np.stack([edge.mean((0, 1)) for edge in edges])


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
        first, second = luma(stylize(motion.first)), stylize(motion.second)  # in their order: it may look back
        painting = abs(back(second) - first)
        painted += float(painting[seen].mean())
        own += float(photo[seen].mean())
    return _ratio(painted, own)


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
    seen = changes(stylize, frames)
    return _ratio(sum(seen.painting), sum(seen.photo))


def liveliness(stylize: Stylize, motions: Iterable[Motion]) -> float:
    """How much the painting changes where the photo moves, over how much the photo does; 0: it stands still."""
    painted = own = 0.0
    for motion in motions:
        seen = changes(stylize, (motion.first, motion.second))
        painted, own = painted + seen.moving.painting, own + seen.moving.photo
    return _ratio(painted, own)


def fading(films: Iterable[tuple[Frame, Frame, Frame]]) -> float:
    """How far the strokes of smoothed paintings stand out where the photo is plain, over those of the bare ones.

    Args:
        films: photo, painting and smoothed painting, frame after frame.
    """
    smoothed = bare = 0.0
    for photo, painting, film in films:
        plain = cv2.blur(_relief(photo), (PLAIN_PX, PLAIN_PX)) < PLAIN
        smoothed += float(_relief(film)[plain].sum())
        bare += float(_relief(painting)[plain].sum())
    return _ratio(smoothed, bare)


def _relief(picture: Frame) -> Array:
    """How far each pixel stands out from those around it, in luma: float64 (H, W)."""
    grey = luma(picture)
    return np.asarray(abs(grey - cv2.GaussianBlur(grey, (0, 0), FINE_PX)))


def changes(stylize: Stylize, frames: Iterable[Frame]) -> "Changes":
    """What changes from frame to frame of a clip and of its painting."""
    seen = Changes()
    for frame in frames:
        seen.add(frame, stylize(frame))
    return seen


@dataclass
class Total:
    """Changes of luma in some part of the frames, in grey levels, added up over `pixels`."""

    pixels: int = 0
    photo: float = 0.0
    painting: float = 0.0

    def add(self, photo: Array, painting: Array, where: Array) -> None:
        """(H, W) each, the last bool."""
        self.pixels += int(where.sum())
        self.photo += float(photo[where].sum())
        self.painting += float(painting[where].sum())

    @property
    def mean(self) -> tuple[float, float]:
        """Of the photo and of the painting, for a pixel and frame; 0 where there are none."""
        return self.photo / max(1, self.pixels), self.painting / max(1, self.pixels)


class Changes:
    """Mean absolute changes of luma, in grey levels, of a clip and its painting, frame by frame.

    A place is still where, on average over a few pixels, the photo changes by no more than `STILL`, and all around it
    as well; it moves where that is more.
    """

    def __init__(self) -> None:
        self.photo: list[float] = []
        """From each frame to the next, over all pixels."""
        self.painting: list[float] = []
        self.still, self.moving, self.everywhere = Total(), Total(), Total()
        self._before: tuple[Array, Array] | None = None

    def add(self, photo: Frame, painting: Frame) -> None:
        """The next frame, (H, W, 3) uint8 RGB, and what became of it."""
        now = luma(photo), luma(painting)
        if self._before is not None:
            self._compare(*(after - before for after, before in zip(now, self._before, strict=True)))
        self._before = now

    def _compare(self, photo: Array, painting: Array) -> None:
        moving = abs(cv2.blur(photo, (STILL_PX, STILL_PX))) > STILL
        near = cv2.dilate(moving.astype(np.uint8), np.ones((2 * NEAR_PX + 1,) * 2, np.uint8)) > 0
        own, painted = abs(photo), abs(painting)
        for total, where in ((self.still, ~near), (self.moving, moving), (self.everywhere, np.ones_like(moving))):
            total.add(own, painted, where)
        self.photo.append(float(own.mean()))
        self.painting.append(float(painted.mean()))

    @property
    def flicker(self) -> float:
        """Change of the painting over the photo's own, where the photo is still; NaN: it nowhere is."""
        return _ratio(self.still.painting, self.still.photo) if self.still.pixels else math.nan

    @property
    def liveliness(self) -> float:
        """The same where the photo moves."""
        return _ratio(self.moving.painting, self.moving.photo) if self.moving.pixels else math.nan

    @property
    def spill(self) -> float:
        """Change of the painting where the photo is still, over that of the photo all in all; NaN: it nowhere is.

        What a part of the photo does to all the rest of its painting.
        """
        return _ratio(self.still.mean[1], self.everywhere.mean[0]) if self.still.pixels else math.nan

    def figures(self) -> dict[str, float | None]:
        """The three by name; None for those that cannot be said."""
        named = {name: getattr(self, name) for name in ("flicker", "liveliness", "spill")}
        return {name: value if math.isfinite(value) else None for name, value in named.items()}


def _ratio(painted: float, own: float) -> float:
    """Nothing over nothing is nothing: what never changes is steady."""
    if not painted:
        return 0.0
    return painted / own if own else math.inf
