"""Painting that holds a frame rate by itself: when it takes too long, frames are painted smaller.

    controller = QualityController(30, on_change=lambda change: log(str(change)))
    paint = ScaledPainter(stylizer, controller, dropped=lambda: newest.dropped)
    painted = paint(frame)                        # of the frame's size, whatever size it was painted at

A network's cost grows with the pixels, so what a frame costs at one size tells what it would cost at the others. Going
down takes three slow frames. Going up takes a second and the prediction that it will hold, or three seconds of it where
that is a close thing; where it did not hold, the next try waits twice as long, so that a load which stays does not make
the picture hunt.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import monotonic

from ..contract import MIN_SIZE_PX
from ..errors import InputError
from ..pictures import Frame
from .stylizer import resize
from .timing import HEADROOM
from .video import Paint

STEPS = (1.0, 0.85, 0.72, 0.6, 0.5, 0.42, 0.35)
"""Scales of the sides: each step has about 0.7 times the pixels of the one before."""
_MULTIPLE_PX = 8  # what our networks pad to: anything else is painted and cut off again
_WINDOW = 20  # frames that are judged together
_LATE = 3  # so many late ones among them are too many; the third highest of 20 is their 90th percentile
_SETTLING = 2  # frames after a change that tell nothing: the first at a new size plan the session's memory
_UP_MARGIN = 0.85  # of the limit: a step up that promises that much air is sure, and noise will not undo it
_WAIT_S, _LONGEST_WAIT_S = 1.0, 64.0  # before a step up
_CALM_S = 3.0  # of promises within the limit: then one that promises less air is tried as well
_HELD_S = 60.0  # a step up that lasted so long has not failed
_EASED, _EASED_S = 0.7, 3.0  # of what a frame took when a step up failed, for so long: that load is gone


@dataclass(frozen=True)
class QualityChange:
    """Frames are painted at another size from now on; `str()` says it to people."""

    scale: float
    """The new one, of the frame's sides."""
    cost_ms: float
    """What a frame took before, mask and smoothing included, in 9 of 10 at most."""
    budget_ms: float
    """What a frame may take at the target rate."""
    dropped: bool
    """Whether frames had been lost because the session was behind."""

    def __str__(self) -> str:
        took = f"painting took {self.cost_ms:.0f} ms of {self.budget_ms:.0f}"
        return f"quality {100 * self.scale:.0f} %: {took}{', frames were dropped' if self.dropped else ''}"


class QualityController:
    """Chooses the size to paint at, from what painting costs.

    Args:
        target_fps: frames per second to hold, with `timing.HEADROOM` to spare.
        steps: the scales to choose from, falling; it starts with the first.
        on_change: is told of each change, on the thread that paints.

    Raises:
        InputError: the rate is not above 0.
    """

    def __init__(
        self,
        target_fps: float,
        *,
        steps: Sequence[float] = STEPS,
        on_change: Callable[[QualityChange], None] = lambda change: None,
    ) -> None:
        if not target_fps > 0:
            raise InputError(f"frame rate to hold: got {target_fps}, expected more than 0")
        assert list(steps) == sorted(steps, reverse=True)
        self.budget_ms = 1000 / target_fps
        self._steps, self._level, self._on_change = steps, 0, on_change
        self._costs_ms: deque[float] = deque(maxlen=_WINDOW)
        self._dropped: deque[bool] = deque(maxlen=_WINDOW)
        self._besides_ms: deque[float] = deque([0.0], maxlen=_WINDOW)
        self._settling = _SETTLING
        self._changed_s = 0.0
        self._climbed = False  # whether the last change was a step up
        self._wait_s = _WAIT_S
        self._failed_full_ms = 0.0  # what a frame at full size would have taken when a step up failed
        self._strained_s = 0.0  # when it last took about so long
        self._unsure_s = 0.0  # when a step up last promised not to hold

    @property
    def scale(self) -> float:
        """Of the frame's sides: what to paint the next frame at."""
        return self._steps[self._level]

    @property
    def _beside_ms(self) -> float:
        return median(self._besides_ms)

    @property
    def _limit_ms(self) -> float:
        """What painting may take."""
        return max(self.budget_ms * (1 - HEADROOM) - self._beside_ms, 0.0)

    def add(self, cost_ms: float, *, time_s: float, dropped: bool = False, beside_ms: float = 0.0) -> None:
        """Note a painted frame, and choose the scale of the next.

        Args:
            cost_ms: what painting took, at `scale`.
            time_s: now, monotonic.
            dropped: whether frames were lost before this one because the session was behind the target rate.
            beside_ms: what else a frame takes on this thread, at any scale; painting may take so much less.
        """
        self._besides_ms.append(beside_ms)
        if self._settling:
            self._settling -= 1
            return
        self._costs_ms.append(cost_ms)
        self._dropped.append(dropped)
        if len(self._costs_ms) < _LATE:
            return
        p90_ms = sorted(self._costs_ms)[-_LATE]
        if self._too_slow():
            self._go_down(p90_ms, time_s)
        elif len(self._costs_ms) == _WINDOW:
            self._consider_going_up(p90_ms, time_s)

    def _too_slow(self) -> bool:
        """Whether too many frames were late: took too long themselves, or came after dropped ones.

        Dropped frames count against painting only while it takes half of the time or more; if it takes less, something
        else is slow, the recording for example, and painting still smaller would not help.
        """
        limit_ms = self._limit_ms
        late = [
            cost_ms > (limit_ms / 2 if dropped else limit_ms)
            for cost_ms, dropped in zip(self._costs_ms, self._dropped, strict=True)
        ]
        return sum(late) >= _LATE

    def _go_down(self, p90_ms: float, time_s: float) -> None:
        """To the largest of the smaller sizes that promises to hold."""
        smaller = range(self._level + 1, len(self._steps))
        if not smaller:
            return
        if self._climbed and time_s - self._changed_s < _HELD_S:
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
            self._failed_full_ms, self._strained_s = self._predict_ms(p90_ms, 1.0), time_s
        holding = (n for n in smaller if self._predict_ms(p90_ms, self._steps[n]) <= self._limit_ms)
        self._change(next(holding, smaller[-1]), p90_ms, time_s)

    def _consider_going_up(self, p90_ms: float, time_s: float) -> None:
        """One step, once the wait is over, if it promises to hold."""
        lasted_s = time_s - self._changed_s
        if self._predict_ms(p90_ms, 1.0) >= _EASED * self._failed_full_ms:
            self._strained_s = time_s
        if time_s - self._strained_s >= _EASED_S or (self._climbed and lasted_s >= _HELD_S):
            self._wait_s, self._failed_full_ms = _WAIT_S, 0.0
        if self._level == 0:
            return
        promised_ms = self._predict_ms(p90_ms, self._steps[self._level - 1])
        if promised_ms > self._limit_ms or any(self._dropped):
            self._unsure_s = time_s
            return
        sure = promised_ms <= _UP_MARGIN * self._limit_ms or time_s - self._unsure_s >= _CALM_S
        if sure and lasted_s >= self._wait_s:
            self._change(self._level - 1, p90_ms, time_s)

    def _predict_ms(self, cost_ms: float, scale: float) -> float:
        """What a frame that cost so much would cost at another scale."""
        return cost_ms * (scale / self.scale) ** 2

    def _change(self, level: int, p90_ms: float, time_s: float) -> None:
        self._climbed = level < self._level
        self._level, self._settling = level, _SETTLING
        self._changed_s = self._unsure_s = time_s
        change = QualityChange(self.scale, p90_ms + self._beside_ms, self.budget_ms, dropped=any(self._dropped))
        self._costs_ms.clear()
        self._dropped.clear()
        self._on_change(change)


class ScaledPainter:
    """Paints each frame at the scale that a controller chooses, and tells the controller what it cost.

    Args:
        paint: the style.
        controller: chooses.
        dropped: how many frames the camera has given in vain so far, as `NewestFrame.dropped` counts.
        beside_ms: what the last frame took on this thread apart from `paint`.
    """

    def __init__(
        self,
        paint: Paint,
        controller: QualityController,
        *,
        dropped: Callable[[], int] = lambda: 0,
        beside_ms: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._paint, self._controller = paint, controller
        self._count_dropped, self._beside_ms = dropped, beside_ms
        self._dropped = dropped()
        self._started_s = monotonic()

    @property
    def scale(self) -> float:
        """What the next frame is painted at."""
        return self._controller.scale

    def rest(self) -> None:
        """Note a frame that need not be painted."""
        self._started_s, self._dropped = monotonic(), self._count_dropped()

    def __call__(self, frame: Frame) -> Frame:
        """(H, W, 3) uint8 RGB in, the same out; `paint`'s own errors."""
        started_s, dropped = monotonic(), self._count_dropped()
        # A camera faster than the target loses frames too, and nothing is wrong with that.
        behind = 1000 * (started_s - self._started_s) > self._controller.budget_ms * (1 + HEADROOM)
        lost = behind and dropped > self._dropped
        self._started_s, self._dropped = started_s, dropped
        painted = paint_scaled(self._paint, frame, self._controller.scale)
        now_s = monotonic()
        self._controller.add(1000 * (now_s - started_s), time_s=now_s, dropped=lost, beside_ms=self._beside_ms())
        return painted


class Quality:
    """The size that a session paints at: one of `STEPS` chosen by hand, or by a controller.

    Args:
        paint: the style.
        steps: what `parse_quality` gives; several mean a controller.
        target_fps: the rate that the controller holds.
        dropped, beside_ms: as a `ScaledPainter`'s.
        on_change: as a `QualityController`'s.
    """

    def __init__(
        self,
        paint: Paint,
        steps: Sequence[float],
        *,
        target_fps: float,
        dropped: Callable[[], int] = lambda: 0,
        beside_ms: Callable[[], float] = lambda: 0.0,
        on_change: Callable[[QualityChange], None] = lambda change: None,
    ) -> None:
        self._paint, self._dropped, self._beside_ms = paint, dropped, beside_ms
        self._target_fps, self._on_change = target_fps, on_change
        self._fixed = steps[0]
        self._automatic: ScaledPainter | None = None
        if len(steps) > 1:
            self.choose_automatically()

    @property
    def automatic(self) -> bool:
        """Whether a controller chooses."""
        return self._automatic is not None

    @property
    def scale(self) -> float:
        """Of the frame's sides."""
        return automatic.scale if (automatic := self._automatic) else self._fixed

    def choose_automatically(self) -> None:
        """Let a new controller choose from now on."""
        controller = QualityController(self._target_fps, on_change=self._on_change)
        self._automatic = ScaledPainter(self._paint, controller, dropped=self._dropped, beside_ms=self._beside_ms)

    def step(self, by: int) -> None:
        """Choose by hand: the next larger (1) or smaller (-1) of `STEPS`."""
        now = self.scale
        beyond = [scale for scale in STEPS if (scale > now if by > 0 else scale < now)]
        self._fixed = (min(beyond) if by > 0 else max(beyond)) if beyond else now
        self._automatic = None

    def rest(self) -> None:
        """Note a frame that need not be painted, as nothing has changed."""
        if automatic := self._automatic:
            automatic.rest()

    def __call__(self, frame: Frame) -> Frame:
        """(H, W, 3) uint8 RGB in, the same out; `paint`'s own errors."""
        if automatic := self._automatic:
            return automatic(frame)
        return paint_scaled(self._paint, frame, self._fixed)


def paint_scaled(paint: Paint, frame: Frame, scale: float) -> Frame:
    """Paint `frame` at `scale` of its sides, rounded to what networks like, and bring the painting back to its size.

    Args:
        paint: the style.
        frame: (H, W, 3) uint8 RGB.
        scale: above 0, at most 1, which leaves the frame as it is.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = frame.shape[:2]
    if scale == 1:
        return paint(frame)
    small = resize(frame, *scaled_size(height, width, scale))
    return resize(paint(small), height, width)


def scaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width, px, that `paint_scaled` paints such a frame at."""
    return (height, width) if scale == 1 else (_scaled_px(height, scale), _scaled_px(width, scale))


def _scaled_px(side_px: int, scale: float) -> int:
    rounded: int = round(side_px * scale / _MULTIPLE_PX) * _MULTIPLE_PX
    return min(max(rounded, MIN_SIZE_PX), side_px)


def parse_quality(text: str) -> tuple[float, ...]:
    """The scales that `--quality` allows: "auto" -> `STEPS`, "75" -> (0.75,), which stays.

    Raises:
        InputError: anything else.
    """
    if text == "auto":
        return STEPS
    if not (text.isdecimal() and 10 <= int(text) <= 100):
        raise InputError(f"--quality: got '{text}', expected auto, or a percentage of the frame's sides, 10 to 100")
    return (int(text) / 100,)
