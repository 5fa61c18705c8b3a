"""A painting that holds still where its photo does, and moves where its photo moves: what boils there is noise.

    smooth = Smoother()
    shown = smooth(stylize, photo, 0.8)              # frame after frame of one clip or camera

    paint = Smoothed(stylize, 0.8)                   # the same as a style, for `paint_video`

The painting before is moved along the photo's motion (dense inverse search: Kroeger et al. 2016, arXiv:1603.03590) and
mixed into the new one, but not where the photo before, moved likewise, does not look like the new photo. There
something was uncovered, changed its light, or the motion is wrong, and the new painting stands alone: no ghosts.

Before a scene at rest, where nothing but noise is new, every other frame shows the painting before once more: it costs
no painting, and holds stiller.

On a plain surface strokes lie elsewhere in every painting while the camera moves, and a mixture of them is a blur. It
gets the contrast of the new painting's strokes, as mixtures of textures do (Heitz and Neyret 2018, "High-Performance
By-Example Noise using a Histogram-Preserving Blending Operator"; here the deviation alone, and of each neighbourhood).
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..contract import MIN_SIZE_PX
from ..pictures import Frame
from .scene_cuts import SceneCuts
from .video import Paint

_LONGER_PX = 320  # of the photos that are compared
_CLEAR, _CHANGED = 2.0, 8.0  # grey levels above the noise: so much is still no change, so much is one
_NOISES = 2.5  # times the difference that a quarter of the picture stays below is what noise rarely exceeds
_MOST_NOISE = 4.0  # grey levels, of that difference; more is motion
_REGION_PX, _BETTER = 15, 0.5  # what moves differs so many grey levels less, all around, once it is moved
_SPARSE = 4  # px from one to the next of those that are looked at for strokes
_STROKE, _AROUND_STROKES = (3, 3), (9, 9)  # of them: a stroke stands out from so many
_MOST_GAIN = 1.25
_DECAY = 0.98  # the gain times what stays of a painting: at most so much
_FEW = 0.02  # of a picture: not worth the time
_FAINT = 0.5  # grey levels: fainter strokes need not be restored
_AROUND = np.ones((3, 3), np.uint8)
_LONE_PX = 5  # over so many, what stands alone is noise
_WORTH, _IN_VAIN = 0.05, 7  # of what has changed: where motion explains less, it is not sought for so many frames

_NONE = np.empty(0, np.float32)  # as OpenCV's type stubs have it

Array = npt.NDArray[Any]
Plane = npt.NDArray[np.float32]
Share = npt.NDArray[np.uint8]
Shift = npt.NDArray[np.int16]


class Memory:
    """What large pictures are computed in, frame after frame: fresh memory costs more time than what is done in it."""

    def __init__(self) -> None:
        self._arrays = dict[tuple[str, tuple[int, ...]], Array]()

    def __call__(self, what: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> Array:
        """An array of this shape; with whatever was computed in it last under that name."""
        if (what, shape) not in self._arrays:
            self._arrays[what, shape] = np.empty(shape, dtype)
        return self._arrays[what, shape]


class Smoother:
    """Smooths the paintings of one clip or camera."""

    cut: bool
    """Whether the last photo began another scene, so that nothing of the one before was kept; with amount 0, never."""
    _painting: Frame
    _seen: Frame
    _cuts: SceneCuts
    _memory: Memory
    _rested: bool  # whether the last frame was at rest, and painted none the less
    _in_vain: int  # frames for which no motion is sought

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self.forget()

    def __call__(self, paint: Paint, photo: Frame, amount: float) -> Frame:
        """Paint and smooth the next frame.

        Args:
            paint: the style. Where a scene rests it is not asked, though never twice in a row.
            photo: (H, W, 3) uint8 RGB, H and W at least 16.
            amount: how much of the painting before stays, 0 (nothing) to 1 (all, while the photo looks the same).

        Returns:
            (H, W, 3) uint8 RGB, an array of its own.
        """
        if not amount:
            self.forget()
            return paint(photo)
        seen = _reduced(photo)
        self.cut = self._cuts(seen)
        if self.cut or photo.shape != self._painting.shape:
            return self._anew(paint(photo), seen)
        difference = _difference(seen, self._seen)
        changed = _changed(difference)
        rests = not changed.any()
        if rests and self._rested:
            self._rested = False
            return self._painting.copy()
        self._rested = rests
        painting = paint(photo)
        if painting.shape != self._painting.shape:  # `forget` was called meanwhile
            return self._anew(painting, seen)
        before, seen_before = self._painting, self._seen
        if not rests:
            before, seen_before, changed = self._before(seen, difference, changed)
        return self._mix(painting, seen, before, seen_before, changed, amount)

    def forget(self) -> None:
        """Begin anew with the next painting; where `paint` calls it, with the one that it makes."""
        self._painting = np.empty((0, 0, 3), np.uint8)
        self.cut, self._cuts = False, SceneCuts()

    def _anew(self, painting: Frame, seen: Frame) -> Frame:
        self._painting, self._seen, self._memory = painting.copy(), seen, Memory()
        self._rested, self._in_vain = False, 0
        return painting

    def _mix(
        self, painting: Frame, seen: Frame, before: Frame, seen_before: Frame, changed: Share, amount: float
    ) -> Frame:
        """Mix the painting before into the new one, in place, where nothing has changed.

        Their photos are mixed likewise, so that what a painting missed, a slow change of light for example, is not
        forgotten, but found later.
        """
        contrast = _contrast(_sparse(painting))
        kept = np.asarray(cv2.bitwise_not(changed), dtype=np.uint8) if changed.any() else None
        _blend(painting, before, kept, amount, self._memory)
        _restore(painting, contrast, amount, self._memory)
        self._seen = _blend(seen, seen_before, kept, amount, self._memory)
        np.copyto(self._painting, painting)
        return painting

    def _before(self, seen: Frame, difference: Plane, changed: Share) -> tuple[Frame, Frame, Share]:
        """The painting before and its photo as they would be now, and 255 where that is wrong."""
        if self._in_vain:
            self._in_vain -= 1
            return self._painting, self._seen, changed
        shift = self._shift(seen)
        moved, outside = _move_small(self._seen, shift, self._painting.shape)
        better = _difference(seen, moved)
        gain = cv2.blur(difference - better, (_REGION_PX, _REGION_PX))
        moves = cv2.inRange(gain, _BETTER, np.inf)  # elsewhere the flow is noise
        difference = np.asarray(cv2.copyTo(cv2.max(better, outside), moves, difference), dtype=np.float32)
        seen_before = np.asarray(cv2.copyTo(moved, moves, self._seen), dtype=np.uint8)
        left = _changed(difference)
        if cv2.countNonZero(left) > (1 - _WORTH) * cv2.countNonZero(changed):
            self._in_vain = _IN_VAIN
        return self._move(cv2.copyTo(shift, moves)), seen_before, left

    def _move(self, shift: Array) -> Frame:
        """The painting before, moved."""
        height, width = self._painting.shape[:2]
        source = self._memory("source", (height, width, 2), np.int16)
        moved = self._memory("moved", self._painting.shape)
        cv2.resize(shift, (width, height), source, interpolation=cv2.INTER_NEAREST)
        cv2.add(source, _grid(height, width), source)
        cv2.remap(self._painting, source, _NONE, cv2.INTER_NEAREST, moved, cv2.BORDER_REPLICATE)
        return moved

    def _shift(self, seen: Frame) -> Shift:
        """From where in the painting before each part of the photo came: (h, w, 2), (x, y) in px of the painting.

        Whole ones, so that no painting is ever resampled and blurs; the rest stays to be found with the next photo.
        """
        now, before = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (seen, self._seen))
        flow = self._flow.calc(now, before, _NONE)
        scaled = cv2.addWeighted(flow, _scale(seen.shape, self._painting.shape), flow, 0, 0, dtype=cv2.CV_16S)
        return np.asarray(scaled, dtype=np.int16)


class Smoothed:
    """A style whose paintings are smoothed: frame after frame of one clip."""

    def __init__(self, paint: Paint, amount: float) -> None:
        self._paint, self._amount, self._smoother = paint, amount, Smoother()

    def __call__(self, photo: Frame) -> Frame:
        """(H, W, 3) uint8 RGB -> the same."""
        return self._smoother(self._paint, photo, self._amount)


def _reduced(photo: Frame) -> Frame:
    sides = photo.shape[:2]
    factor = max(1, min(-(-max(sides) // _LONGER_PX), min(sides) // MIN_SIZE_PX))  # whole ones are five times as quick
    height, width = (side // factor for side in sides)
    return np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _difference(a: Frame, b: Frame) -> Plane:
    """(H, W), in grey levels: of the colour that differs most, on average over a few pixels."""
    red, green, blue = cv2.split(cv2.absdiff(a, b))
    return np.asarray(cv2.boxFilter(cv2.max(cv2.max(red, green), blue), cv2.CV_32F, (3, 3)), dtype=np.float32)


def _changed(difference: Plane) -> Share:
    """0 where a difference is the camera's noise, 255 where it is a change, and around it."""
    sample = difference[::4, ::4].ravel()
    noise = min(float(np.partition(sample, sample.size // 4)[sample.size // 4]), _MOST_NOISE)
    slope = 255 / (_CHANGED - _CLEAR)
    # addWeighted is OpenCV's quickest "scale, add, round and saturate".
    share = cv2.addWeighted(difference, slope, difference, 0, -slope * (_CLEAR + _NOISES * noise), dtype=cv2.CV_8U)
    near = cv2.blur(cv2.dilate(share, _AROUND), (_LONE_PX, _LONE_PX))
    return np.asarray(cv2.inRange(near, 128, 255), dtype=np.uint8)


def _sparse(painting: Frame) -> Frame:
    """One pixel in sixteen."""
    height, width = painting.shape[:2]
    size = width // _SPARSE, height // _SPARSE
    return np.asarray(cv2.resize(painting, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def _contrast(sparse: Frame) -> Plane:
    """(h, w): how far strokes stand out, in grey levels, on average around each place."""
    green = cv2.extractChannel(sparse, 1)
    strokes = cv2.absdiff(green, cv2.blur(green, _STROKE))
    return np.asarray(cv2.boxFilter(strokes, cv2.CV_32F, _AROUND_STROKES), dtype=np.float32)


def _restore(painting: Frame, contrast: Plane, amount: float, memory: Memory) -> None:
    """Where strokes stand out less than `contrast`, let them stand out more, in place.

    All by the same gain: one of each place's own takes twice the time. What stays of a painting from frame to frame
    must not grow, so `amount` limits the gain.
    """
    gain = min(_MOST_GAIN, _DECAY / amount)
    if gain <= 1:
        return
    sparse = _sparse(painting)
    lost = cv2.divide(contrast + _FAINT, _contrast(sparse) + _FAINT)
    faded = cv2.inRange(lost, (1 + gain) / 2, np.inf)
    if cv2.countNonZero(faded) < _FEW * faded.size:
        return
    size = painting.shape[1::-1]
    where, restored = memory("where", painting.shape[:2]), memory("restored", painting.shape)
    cv2.resize(faded, size, where, interpolation=cv2.INTER_NEAREST)
    cv2.resize(cv2.blur(sparse, _STROKE), size, restored)
    cv2.addWeighted(painting, gain, restored, 1 - gain, 0, restored)
    cv2.copyTo(restored, where, painting)


def _scale(small: tuple[int, ...], large: tuple[int, ...]) -> float:
    """Of the longer side, which rounding changed less."""
    return max(large) / max(small)


def _move_small(seen: Frame, shift: Shift, shape: tuple[int, ...]) -> tuple[Frame, Plane]:
    """The small photo moved as a painting of `shape` is, and (h, w), 255 where that came from outside."""
    height, width = seen.shape[:2]
    source = cv2.addWeighted(shift, 1 / _scale(seen.shape, shape), _grid(height, width), 1, 0, dtype=cv2.CV_32F)
    inside = cv2.inRange(source, np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5]))
    where, between = cv2.convertMaps(source, _NONE, cv2.CV_16SC2)  # quicker by a third
    moved = cv2.remap(seen, where, between, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.uint8), cv2.bitwise_not(inside).astype(np.float32)


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> Shift:
    """(x, y) of each pixel."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.int16), np.arange(height, dtype=np.int16)), -1)


def _blend(new: Frame, before: Frame, kept: Share | None, amount: float, memory: Memory) -> Frame:
    """In place of `new`: `amount` of what was before where `kept`, of any size, is not 0; None is everywhere.

    A border between the two need not be soft: both are paintings of what has not changed there.
    """
    if kept is None:
        cv2.addWeighted(new, 1 - amount, before, amount, 0, new)
        return new
    mixed, where = memory("mixed", new.shape), memory("kept", new.shape[:2])
    cv2.addWeighted(new, 1 - amount, before, amount, 0, mixed)
    cv2.resize(kept, new.shape[1::-1], where, interpolation=cv2.INTER_NEAREST)
    cv2.copyTo(mixed, where, new)
    return new
