"""A scene that moves, drawn frame by frame: what the live app shows to somebody without a camera.

Hills under a drifting sky, a mill, a balloon and a boat on the water. Frame n is always the same picture.
"""

from collections.abc import Generator
from functools import cached_property
from itertools import count
from math import cos, pi, sin, tau

import cv2
import numpy as np
import numpy.typing as npt

from ..pictures import Frame
from .played import Pace

DEMO_SIZE = 640, 480
DEMO_FPS = 30
_SHIFT, _ONE = 4, 16  # OpenCV draws at sixteenths of a pixel: slow things move smoothly
_HORIZON = 0.62  # of the height

Colour = tuple[int, int, int]
Floats = npt.NDArray[np.float32]
Points = list[tuple[float, float]]


class DemoCamera:
    """The scene, without an end, at 30 fps.

    Args:
        size: width and height, px; None: 640x480.
        notes: the camera's.
    """

    def __init__(self, *, size: tuple[int, int] | None = None, notes: list[str]) -> None:
        self._width, self._height = size or DEMO_SIZE
        self.name, self.notes = "demo", notes
        self.description = f"demo: a drawn scene, {self._width}x{self._height} at {DEMO_FPS} fps"

    def frames(self) -> Generator[Frame | None, None, None]:
        """Yield frame after frame, each when it is due."""
        self.draw(0)  # which takes several times as long as the others: they would be late, then hurry
        pace = Pace()
        for number in count():
            yield from pace.until(number / DEMO_FPS)
            yield self.draw(number)

    def close(self) -> None:
        """Nothing was taken."""

    def draw(self, number: int) -> Frame:
        """Frame `number`, (H, W, 3) uint8 RGB."""
        time_s = number / DEMO_FPS
        horizon = round(_HORIZON * self._height)
        picture = np.empty((self._height, self._width, 3), dtype=np.uint8)
        picture[:horizon] = _scrolled(self._sky, 15 * time_s, self._width)
        picture[horizon:] = _scrolled(self._water, -30 * time_s, self._width)
        sun = 0.5 + 0.35 * cos(tau * time_s / 40), 0.22 + 0.08 * sin(tau * time_s / 20)
        for radius, colour in ((0.11, (250, 214, 130)), (0.085, (255, 236, 170))):
            self._disc(picture, sun, radius, colour)
        for level, speed, colour in ((0.46, 0.02, (112, 132, 168)), (0.53, 0.05, (84, 124, 96))):
            self._hill(picture, level, speed * time_s, colour)
        self._mill(picture, (0.78, 0.47), time_s)
        self._balloon(picture, (0.24 + 0.1 * sin(tau * time_s / 17), 0.26 + 0.06 * sin(tau * time_s / 7)))
        self._boat(picture, (0.06 * time_s + 0.4) % 1.4 - 0.2, time_s)
        return picture

    @cached_property
    def _sky(self) -> Frame:
        """Blue above, gold below, with soft clouds; its right edge meets its left one: (horizon, 2 W, 3)."""
        height, width = round(_HORIZON * self._height), 2 * self._width
        down = np.linspace(0, 1, height)[:, None, None] ** 1.5
        gradient = (1 - down) * (70, 130, 205) + down * (250, 214, 165)
        clouds = np.clip(_noise(height, width, cell_px=self._height / 5) - 0.52, 0, 0.3)[..., None] * 2.6
        return np.asarray(np.clip(gradient + (255 - gradient) * clouds, 0, 255), dtype=np.uint8)

    @cached_property
    def _water(self) -> Frame:
        """Ripples that grow towards the viewer; its right edge meets its left one: (H - horizon, 2 W, 3)."""
        height, width = self._height - round(_HORIZON * self._height), 2 * self._width
        down = np.linspace(0, 1, height)[:, None]
        along = np.linspace(0, tau, width, endpoint=False)[None]
        depth = 40 / (0.25 + down)  # rows are denser at the horizon
        ripples = np.sin(depth + 2 * np.sin(5 * along)) * np.sin(9 * along + 3 * depth) + 0.5 * np.sin(
            31 * along - depth
        )
        light = 0.75 + 0.12 * ripples + 0.2 * _noise(height, width, cell_px=self._height / 30)
        return np.asarray(np.clip(light[..., None] * (62, 128, 160), 0, 255), dtype=np.uint8)

    def _hill(self, picture: Frame, level: float, shift: float, colour: Colour) -> None:
        """A range of hills, from `level` down to the horizon."""
        xs = np.linspace(0, 1, 49)
        rises = (
            np.sin(tau * (xs + shift))
            + 0.6 * np.sin(tau * (2.7 * xs + 2 * shift))
            + 0.25 * np.sin(tau * (7 * xs + shift))
        )
        ridge = [(float(x), float(level + 0.035 * rise)) for x, rise in zip(xs, rises, strict=True)]
        self._shape(picture, [*ridge, (1.0, _HORIZON), (0.0, _HORIZON)], colour)

    def _mill(self, picture: Frame, foot: tuple[float, float], time_s: float) -> None:
        """A tower on a hill, and four sails that turn."""
        x, y = foot
        self._shape(
            picture, [(x - 0.035, y + 0.12), (x - 0.022, y), (x + 0.022, y), (x + 0.035, y + 0.12)], (120, 70, 50)
        )
        self._shape(picture, [(x - 0.028, y), (x, y - 0.04), (x + 0.028, y)], (70, 44, 40))
        aspect = self._width / self._height
        for sail in range(4):
            angle = 0.9 * time_s + sail * pi / 2
            along, across = (cos(angle), sin(angle)), (-sin(angle), cos(angle))
            corners = [(0.01, 0.0), (0.13, 0.0), (0.13, 0.03), (0.03, 0.03)]
            points = [(a * along[0] + b * across[0], a * along[1] + b * across[1]) for a, b in corners]
            self._shape(picture, [(x + px / aspect, y + py) for px, py in points], (244, 238, 222))

    def _balloon(self, picture: Frame, centre: tuple[float, float]) -> None:
        """Red with a white stripe, and its basket."""
        x, y = centre
        self._shape(
            picture,
            [(x - 0.02, y + 0.15), (x + 0.02, y + 0.15), (x + 0.016, y + 0.19), (x - 0.016, y + 0.19)],
            (110, 74, 40),
        )
        self._shape(
            picture,
            [(x - 0.062, y + 0.06), (x + 0.062, y + 0.06), (x + 0.018, y + 0.15), (x - 0.018, y + 0.15)],
            (150, 36, 40),
        )
        self._disc(picture, centre, 0.1, (206, 52, 48))
        self._disc(picture, centre, 0.1, (246, 240, 226), width=0.4)
        self._disc(picture, centre, 0.1, (206, 52, 48), width=0.15)

    def _boat(self, picture: Frame, x: float, time_s: float) -> None:
        """It sails from left to right, and rocks."""
        y, tilt = 0.78 + 0.008 * sin(tau * time_s / 2.3), 0.06 * sin(tau * time_s / 3.1)

        def rocked(points: Points) -> Points:
            return [(x + px - tilt * py, y + py + tilt * px) for px, py in points]

        self._shape(picture, rocked([(-0.1, 0.0), (0.1, 0.0), (0.07, 0.05), (-0.07, 0.05)]), (86, 48, 40))
        self._shape(picture, rocked([(-0.005, -0.02), (-0.005, -0.25), (-0.09, -0.02)]), (240, 226, 196))
        self._shape(picture, rocked([(0.01, -0.02), (0.01, -0.22), (0.08, -0.02)]), (216, 120, 60))

    def _shape(self, picture: Frame, points: Points, colour: Colour) -> None:
        """A filled polygon; corners in fractions of width and height."""
        corners = np.rint(np.array(points) * (self._width * _ONE, self._height * _ONE)).astype(np.int32)
        cv2.fillPoly(picture, [corners], colour, cv2.LINE_AA, _SHIFT)

    def _disc(
        self, picture: Frame, centre: tuple[float, float], radius: float, colour: Colour, *, width: float = 1.0
    ) -> None:
        """A filled ellipse; its radius in fractions of the height, its width in fractions of its height."""
        x, y = round(centre[0] * self._width * _ONE), round(centre[1] * self._height * _ONE)
        ry = radius * self._height * _ONE
        cv2.ellipse(picture, (x, y), (round(width * ry), round(ry)), 0, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT)


def _scrolled(strip: Frame, shift_px: float, width: int) -> Frame:
    """A view `width` wide of a strip whose right edge meets its left one."""
    start = round(shift_px) % strip.shape[1]
    return np.concatenate([strip[:, start : start + width], strip[:, : max(0, start + width - strip.shape[1])]], axis=1)


def _noise(height: int, width: int, *, cell_px: float) -> Floats:
    """Soft spots of about `cell_px` with finer ones on them, 0..1, whose edges meet: (height, width)."""
    random, total = np.random.default_rng(0), np.zeros((height, width), dtype=np.float32)
    for octave in range(4):
        rows, columns = (max(2, round(side * 2**octave / cell_px)) for side in (height, width))
        cells = random.random((rows, columns), dtype=np.float32)
        y, x = np.mgrid[: rows : height * 1j, : columns - columns / width : width * 1j].astype(np.float32)
        total += cv2.remap(cells, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP) / 2**octave
    return np.asarray((total - total.min()) / np.ptp(total), dtype=np.float32)
