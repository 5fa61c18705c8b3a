"""Make the demo clip: a camera moves over four photographs that come inside scikit-image's wheel.

    python scripts/make_demo_clip.py demo_clip.mp4

The moves are eased and sampled between pixels, so that a painted clip shows what a style does to steady motion.
"""

import sys
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np

from allaprima.errors import InputError
from allaprima.files import replacing
from allaprima.pictures import Frame, read_picture

WIDTH_PX, HEIGHT_PX, FPS = 640, 480, 24
SHOT_S, FADE_S = 2.6, 0.4


@dataclass(frozen=True)
class View:
    """What the camera sees of a photograph, in fractions of the photograph."""

    x: float
    """Centre, from the left."""
    y: float
    """Centre, from the top."""
    width: float
    """Part of the photograph's width; the height follows from the clip's shape."""


@dataclass(frozen=True)
class Shot:
    """A photograph and the camera's way over it."""

    photo: str
    start: View
    end: View


SHOTS = (
    Shot("astronaut.png", View(0.50, 0.39, 0.98), View(0.43, 0.27, 0.62)),
    Shot("rocket.jpg", View(0.58, 0.60, 0.62), View(0.50, 0.50, 0.87)),
    Shot("coffee.png", View(0.44, 0.42, 0.70), View(0.54, 0.49, 0.86)),
    Shot("chelsea.png", View(0.54, 0.50, 0.86), View(0.46, 0.46, 0.68)),
)

_STEP, _FADE = round((SHOT_S - FADE_S) * FPS), round(FADE_S * FPS)
FRAMES = len(SHOTS) * _STEP + _FADE


def make_clip(path: Path) -> None:
    """Write the clip as H.264.

    Raises:
        InputError: the photographs are missing, or `path` cannot be written.
    """
    with replacing(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for index in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_at(index), format="rgb24")))
        container.mux(stream.encode(None))


def frame_at(index: int) -> Frame:
    """One frame of the clip, (480, 640, 3) uint8 RGB: a shot, or two while one fades into the next."""
    number = min(index // _STEP, len(SHOTS) - 1)
    since = index - number * _STEP  # frames since this shot began
    frame = _look(SHOTS[number], since)
    if number == 0 or since >= _FADE:
        return frame
    share = (since + 1) / (_FADE + 1)
    return cast(Frame, cv2.addWeighted(_look(SHOTS[number - 1], since + _STEP), 1 - share, frame, share, 0))


def photographs() -> Path:
    """The folder of pictures in scikit-image, installed or where scripts/demo puts it, without its dependencies.

    Raises:
        InputError: scikit-image is not there.
    """
    spec = find_spec("skimage")
    package = Path(spec.origin).parent if spec and spec.origin else Path(sys.prefix, "photographs", "skimage")
    if not package.is_dir():
        raise InputError("the demo's photographs come with scikit-image: scripts/demo installs it")
    return package / "data"


def _look(shot: Shot, index: int) -> Frame:
    """A frame of one shot, before any fading."""
    time = index / (_STEP + _FADE - 1)
    eased = time * time * (3 - 2 * time)  # starts and stops gently
    start, end = shot.start, shot.end
    x, y = (1 - eased) * start.x + eased * end.x, (1 - eased) * start.y + eased * end.y
    # Widths grow by a constant factor, not by constant steps: that is what looks like an even zoom.
    return _sample(_read(shot.photo), View(x, y, start.width ** (1 - eased) * end.width**eased))


@cache
def _read(photo: str) -> Frame:
    return read_picture(photographs() / photo)


def _sample(photo: Frame, view: View) -> Frame:
    height, width, _ = photo.shape
    scale = view.width * width / WIDTH_PX  # photo pixels per clip pixel; below 1, so nothing aliases
    left = view.x * width - scale * WIDTH_PX / 2
    top = view.y * height - scale * HEIGHT_PX / 2
    corner = scale / 2 - 0.5  # pixels are counted from their centres
    matrix = np.array([[scale, 0, left + corner], [0, scale, top + corner]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    frame = cv2.warpAffine(photo, matrix, (WIDTH_PX, HEIGHT_PX), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return cast(Frame, frame)


if __name__ == "__main__":
    make_clip(Path(sys.argv[1]))
