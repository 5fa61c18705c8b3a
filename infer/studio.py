"""The painting half of a live session: a frame in, the picture that the user has chosen to see out."""

from collections.abc import Callable
from dataclasses import replace
from threading import Thread
from time import monotonic

import cv2
import numpy as np

from ..errors import InputError
from ..pictures import Frame
from .keep_colours import KeepColours
from .look import Look, blend, split
from .mask import Mask, composite
from .smoothing import Smoother
from .video import Paint

Snapshot = Callable[[Frame, Frame], None]


class Studio:
    """Paints frame after frame as `look` has it at that moment.

    Args:
        paint: the style, at whatever size it sees fit.
        look: what the user chose; read for each frame.
        mask: finds the person.
        open_mask: opens it where there is none, when it is first wanted, on a thread of its own; until then, all is
            painted.
        turning: whether the last painting is of another style than the one before: nothing of that one may stay.
        on_rest: is told of each frame that is not painted anew, as nothing moves before the camera (`smoothing`).
    """

    snapshot: Snapshot | None = None
    """Is given the next frame (where frozen, that one) and its painting, copies of them, and forgotten."""

    problem: str | None = None
    """Why the person cannot be found, for people; the mask is off then."""
    beside_ms = 0.0
    """What the last frame took apart from the style: mask, smoothing, colours."""
    size_px = 0, 0
    """Width and height of the last frame."""

    def __init__(
        self,
        paint: Paint,
        look: Look,
        *,
        mask: Mask | None = None,
        open_mask: Callable[[], Mask] = Mask,
        turning: Callable[[], bool] = lambda: False,
        on_rest: Callable[[], None] = lambda: None,
    ) -> None:
        self.look, self._paint, self._open_mask = look, paint, open_mask
        self._turning, self._on_rest = turning, on_rest
        self._keep_colours, self._smoother = KeepColours(), Smoother()
        self._kept_colours = look.keep_colours
        self._mask = mask
        self._opening: Thread | None = None
        self._style_s = 0.0
        self._frozen: tuple[Frame, Frame, Frame] | None = None  # photo, painting, what is shown of them

    def __call__(self, photo: Frame) -> Frame:
        """(H, W, 3) uint8 RGB -> the same."""
        look = replace(self.look)  # it may change on the way
        if look.frozen and self._frozen is not None:
            self._take_snapshot(*self._frozen[:2])
            return self._frozen[2]
        started_s = monotonic()
        self.size_px = photo.shape[1], photo.shape[0]
        if look.mirror:
            photo = np.asarray(cv2.flip(photo, 1), dtype=np.uint8)
        painting = self._painted(photo, look)
        self._take_snapshot(photo, painting)
        whole = painting.copy() if look.frozen else painting  # `split` draws into it
        shown = painting if look.split is None else split(painting, photo, look.split)
        self._frozen = (photo, whole, shown) if look.frozen else None
        self.beside_ms = 1000 * (monotonic() - started_s - self._style_s)
        return shown

    def _take_snapshot(self, photo: Frame, painting: Frame) -> None:
        if snapshot := self.snapshot:
            self.snapshot = None
            snapshot(photo.copy(), painting.copy())

    def _painted(self, photo: Frame, look: Look) -> Frame:
        if look.keep_colours != self._kept_colours:
            self._smoother.forget()
        self._kept_colours, self._style_s = look.keep_colours, 0.0
        painting = self._smoother(lambda frame: self._styled(frame, look), photo, look.smoothing)
        if not self._style_s:
            self._on_rest()
        if look.mask != "off":
            painting = self._masked(painting, photo, look)
        return blend(painting, photo, look.strength) if look.strength < 1 else painting

    def _styled(self, photo: Frame, look: Look) -> Frame:
        started_s = monotonic()
        painting = self._paint(photo)
        self._style_s = monotonic() - started_s
        if self._turning():
            self._smoother.forget()
        return self._keep_colours(painting, photo) if look.keep_colours else painting

    def _masked(self, painting: Frame, photo: Frame, look: Look) -> Frame:
        if self._mask is None:
            self._open_beside()
            return painting
        try:
            person = self._mask(photo)
        except InputError as error:
            self.problem, self.look.mask = str(error), "off"
            return painting
        if look.mask == "person":
            return composite(photo, painting, person)
        return composite(painting, photo, person)

    def _open_beside(self) -> None:
        if self._opening is None or not self._opening.is_alive():
            self.problem = None
            self._opening = Thread(target=self._open, name="mask", daemon=True)
            self._opening.start()

    def _open(self) -> None:
        try:
            self._mask = self._open_mask()
        except InputError as error:
            self.problem, self.look.mask = str(error), "off"
