"""Cameras that play at a speed of their own: clips and network streams, and folders of pictures."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import count, repeat
from pathlib import Path
from time import monotonic, sleep

import cv2
import numpy as np

from ..contract import MIN_SIZE_PX
from ..errors import InputError
from ..pictures import Frame, find_pictures, read_picture
from .ahead import ahead
from .clip import Clip

PICTURE_S = 4.0
"""How long a picture of a folder is shown."""
FOLDER_FPS = 25
_NAP_S = 0.25  # the longest silence
_LATE_S = 1.0  # who is later than this goes on from there, rather than run after the clock
_AHEAD = 4  # frames; as long as they last, a clip that repeats has time to be opened anew
_LONGER_PX = 1280  # of a folder's pictures: photos are larger than what can be painted live


class Pace:
    """A clock that holds back what is not due yet. It starts with the first time that it is asked for."""

    _start_s: float | None = None

    def until(self, time_s: float) -> Generator[None, None, None]:
        """Wait for a time, in seconds on the source's own clock; yields None now and then meanwhile."""
        now_s = monotonic()
        if self._start_s is None or now_s - self._start_s - time_s > _LATE_S:
            self._start_s = now_s - time_s
        while (left_s := self._start_s + time_s - monotonic()) > 0:
            sleep(min(left_s, _NAP_S))
            if left_s > _NAP_S:
                yield None


class ClipCamera:
    """A network stream, as it comes, or a clip, at its own speed.

    Args:
        opener: opens it; of a clip that repeats, once a round.
        loop: repeat a clip, each round right after the one before.
        notes: the camera's, to begin with.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(self, opener: Callable[[], Clip], *, loop: bool = False, notes: list[str]) -> None:
        self._opener, self._clip = opener, opener()
        self.name, self._loop = self._clip.name, loop and self._clip.finite
        self.description = f"{self.name}: {self._clip.width}x{self._clip.height}"
        if self._clip.finite:
            self.description += f" at {float(self._clip.rate):.4g} fps" + (", repeated" if loop else "")
        elif loop:
            notes = [*notes, "--loop is ignored: a camera has no end"]
        self.notes = notes

    def frames(self) -> Generator[Frame | None, None, None]:
        """Yield frames when they come, or, of a clip, when they are due."""
        if not self._clip.finite:
            with closing(self._clip.shots()) as shots:
                yield from (shot.picture for shot in shots)
            raise InputError(f"{self.name} stopped sending pictures (it hung up): check it and start again")
        pace = Pace()
        with closing(ahead(self._timed(), depth=_AHEAD)) as frames:
            for due_s, picture in frames:
                yield from pace.until(float(due_s))
                yield picture

    def close(self) -> None:
        """Close the file or the connection."""
        self._clip.__exit__()

    def _timed(self) -> Generator[tuple[Fraction, Frame], None, None]:
        """Yield each frame with the seconds when it is due; the rounds of a clip that repeats follow each other."""
        start_s = Fraction(0)
        while True:
            clip, first_pts, end_s = self._clip, None, start_s
            with closing(clip.shots()) as shots:
                for shot in shots:
                    first_pts = shot.pts if first_pts is None else first_pts
                    due_s = start_s + (shot.pts - first_pts) * clip.time_base
                    end_s = due_s + (shot.duration * clip.time_base or 1 / clip.rate)
                    yield due_s, shot.picture
            if not self._loop:
                return
            clip.__exit__()
            start_s, self._clip = end_s, self._opener()


class FolderCamera:
    """A folder's pictures, by name, each for a few seconds, on black where they have another shape.

    Args:
        folder: with JPEG, PNG or WebP pictures in it or below.
        size: width and height, px; None: the first picture's, its longer side at most 1280.
        loop: start anew after the last one.
        seconds: how long each is shown.
        notes: the camera's, to begin with; a picture that cannot be read is skipped and noted.

    Raises:
        InputError: it holds no picture that can be read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: tuple[int, int] | None = None,
        loop: bool = False,
        seconds: float = PICTURE_S,
        notes: list[str],
    ) -> None:
        self.name, self.notes = f"folder '{folder}'", notes
        self._size, self._loop, self._frames_each = size, loop, max(1, round(seconds * FOLDER_FPS))
        self._paths = find_pictures(folder)
        self._unreadable: set[Path] = set()
        if (first := next(self._round(), None)) is None:
            raise InputError(f"{self.name} holds no picture that can be read: give one with JPEG, PNG or WebP pictures")
        height, width, _ = first.shape
        self._size = width, height
        pictures = f"{len(self._paths)} picture{'s' if len(self._paths) > 1 else ''}, {seconds:g} s each"
        self.description = f"{self.name}: {pictures}, {width}x{height} at {FOLDER_FPS} fps"

    def frames(self) -> Generator[Frame | None, None, None]:
        """Yield each picture again and again, at a steady rate, while the next one is read."""
        pace, numbers = Pace(), count()
        with closing(ahead(self._pictures(), depth=1)) as pictures:
            for picture in pictures:
                for shown in repeat(picture, self._frames_each):
                    yield from pace.until(next(numbers) / FOLDER_FPS)
                    yield shown

    def close(self) -> None:
        """No file is left open."""

    def _pictures(self) -> Iterator[Frame]:
        while True:
            yield from self._round()
            if not self._loop:
                return
            if len(self._unreadable) == len(self._paths):
                raise InputError(f"{self.name} holds no picture any more that can be read: start again")

    def _round(self) -> Iterator[Frame]:
        """Every picture that can be read, once."""
        for path in self._paths:
            try:
                picture = read_picture(path, what="picture", shorter_px=max(self._size or (_LONGER_PX,)))
            except InputError as error:
                if path not in self._unreadable:
                    self.notes.append(f"skipped: {error}")
                self._unreadable.add(path)
                continue
            self._unreadable.discard(path)
            yield fit(picture, self._size or _at_most(picture, _LONGER_PX))


def fit(picture: Frame, size: tuple[int, int]) -> Frame:
    """Scale an (H, W, 3) uint8 picture into the middle of a black one of `size`, width and height, whole."""
    (height, width, _), (frame_width, frame_height) = picture.shape, size
    scale = min(frame_width / width, frame_height / height)
    width, height = max(1, round(scale * width)), max(1, round(scale * height))
    left, top = (frame_width - width) // 2, (frame_height - height) // 2
    framed = np.zeros((frame_height, frame_width, 3), dtype=np.uint8)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    framed[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=method)
    return framed


def _at_most(picture: Frame, longer_px: int) -> tuple[int, int]:
    """Width and height of a picture, scaled down where its longer side is more than that."""
    height, width, _ = picture.shape
    scale = min(1.0, longer_px / max(height, width))
    return max(MIN_SIZE_PX, round(scale * width)), max(MIN_SIZE_PX, round(scale * height))
