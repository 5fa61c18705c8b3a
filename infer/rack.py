"""The styles of a live session: one paints, the next is loaded beside it, and they change places between two frames."""

from collections.abc import Callable, Sequence
from threading import Condition, Lock, Thread
from time import monotonic

import numpy as np

from ..errors import InputError
from ..pictures import Frame
from .look import blend
from .stylizer import Stylizer

KEPT = 3
"""Styles that stay loaded, about 30 MB each: going back to the one before is immediate."""
FADE_S = 0.4
"""How long one style takes to become the next, where they fade."""
_WARM_UP_PX = 64  # of a style on a CPU: the first whole frame is then 1 to 3 ms slower than the next ones
_PATIENCE_S = 0.2  # of the thread that loads, with a session that paints no frame


class Rack:
    """Styles by number, opened on a thread of their own.

    Args:
        names: of the styles, in the order of their numbers.
        open_: opens one by name; InputError where that cannot be done.
        first: number of the one to begin with, which is opened at once.
        fade: let one style turn into the next; both are painted meanwhile.

    Raises:
        InputError: the first one cannot be opened.
    """

    problem: str | None = None
    """Why the last one chosen could not be opened."""
    turning = False
    """Whether the last painting was the first of another style, or on its way to it."""

    def __init__(
        self, names: Sequence[str], open_: Callable[[str], Stylizer], *, first: int = 0, fade: bool = False
    ) -> None:
        self.names, self.chosen = tuple(names), first
        self._open, self._lock, self._at_work = open_, Lock(), False
        self._between_frames = Condition()
        self._loaded = {first: open_(self.names[first])}
        self._painting = first
        self._shape: tuple[int, ...] = ()
        self._fade, self._fading, self._since_s = fade, self.stylizer, 0.0
        self._last = self.stylizer

    @property
    def name(self) -> str:
        """The style that paints."""
        return self.names[self._painting]

    @property
    def stylizer(self) -> Stylizer:
        """The same."""
        return self._loaded[self._painting]

    @property
    def loading(self) -> bool:
        """Whether the one chosen is still being opened."""
        return self.chosen != self._painting

    def choose(self, number: int) -> None:
        """Ask for a style; it paints from the frame on at which it is ready. Numbers go round at both ends."""
        with self._lock:
            self.chosen, self.problem = number % len(self.names), None
            if not self._at_work:
                self._at_work = True
                Thread(target=self._work, name="rack", daemon=True).start()

    def paint(self, photo: Frame) -> Frame:
        """Paint with the style of the moment: (H, W, 3) uint8 RGB -> the same."""
        try:
            return self._paint(photo)
        finally:
            with self._between_frames:
                self._between_frames.notify_all()

    def _paint(self, photo: Frame) -> Frame:
        self._shape, stylizer = photo.shape, self.stylizer
        self.turning = stylizer is not self._last
        if self.turning:
            stylizer.forget()
            self._fading, self._last, self._since_s = self._last, stylizer, monotonic()
        painting = stylizer(photo)
        share = (monotonic() - self._since_s) / FADE_S
        if not self._fade or share >= 1:
            return painting
        self.turning = True
        return blend(painting, self._fading(photo), share)

    def _work(self) -> None:
        """Load what is chosen, until nothing else was chosen meanwhile."""
        while True:
            with self._lock:
                if (number := self.chosen) == self._painting:
                    self._at_work = False
                    return
            try:
                stylizer = self._loaded.get(number) or self._opened(number)
            except InputError as error:
                with self._lock:
                    if number == self.chosen:
                        self.problem, self.chosen = str(error), self._painting
                continue
            self._loaded = {n: s for n, s in self._loaded.items() if n != number} | {number: stylizer}  # newest last
            self._painting = number
            self._loaded = dict(list(self._loaded.items())[-KEPT:])

    def _opened(self, number: int) -> Stylizer:
        """A style that has painted once: the first frame is slow, a GPU's for every size anew.

        On a CPU a corner of it will do, and takes no time from the style that paints.
        """
        self._wait_for_pause()
        stylizer = self._open(self.names[number])
        if self._shape:
            height, width, _ = self._shape
            if stylizer.provider == "cpu":
                height, width = min(height, _WARM_UP_PX), min(width, _WARM_UP_PX)
            stylizer(np.zeros((height, width, 3), np.uint8))
        return stylizer

    def _wait_for_pause(self) -> None:
        """Until a frame has just been painted: what is done now takes little of the next one's time."""
        if self._shape:
            with self._between_frames:
                self._between_frames.wait(_PATIENCE_S)
