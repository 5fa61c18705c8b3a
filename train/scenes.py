"""Short clips made up from a photo, in which what moves is known: for the figures of `artefacts`, without any film.

    flicker(stylize, noisy(photo))
    motion_error(stylize, pans(photo))
    changes(stylize, lamp(photo)).spill

Always the same for the same photo. Frames are (H, W, 3) uint8 RGB.
"""

import cv2
import numpy as np

from ..pictures import Frame
from .artefacts import Array, Motion

NOISE = 3.0
"""Standard deviation of a webcam's noise by lamplight, in grey levels."""
FRAMES = 5
PANS_PX = (2.6, -1.3), (-6.4, 3.7), (0.5, 5.5)
"""Steps of the camera, (x, y)."""
LEVELS = (1.0, 1.15, 1.3, 1.45, 1.3, 1.15)
"""Of the lamp's light, over the light that is there."""
ENTERING = 24
"""What enters comes in by one such part of the frame's width with each frame."""


def noisy(photo: Frame, *, deviation: float = NOISE, frames: int = FRAMES, seed: int = 0) -> list[Frame]:
    """A still scene, and the noise of a sensor: Gaussian, by itself in each frame, pixel and colour."""
    random = np.random.default_rng(seed)
    return [_to_frame(photo + random.normal(0, deviation, photo.shape)) for _ in range(frames)]


def pans(photo: Frame, *, deviation: float = NOISE) -> list[Motion]:
    """A camera's steps over the photo, between pixels, with noise."""
    height, width = photo.shape[:2]
    edge = int(np.ceil(np.abs(PANS_PX).max()))
    motions = []
    for number, (x, y) in enumerate(PANS_PX):
        moved = cv2.warpAffine(photo, np.array([[1, 0, x], [0, 1, y]]), (width, height), flags=cv2.INTER_CUBIC)
        first, second = (
            noisy(picture[edge:-edge, edge:-edge], deviation=deviation, frames=1, seed=2 * number + i)[0]
            for i, picture in enumerate((photo, _to_frame(moved)))
        )
        motions.append(Motion(first, second, np.full((*first.shape[:2], 2), (x, y), np.float32)))
    return motions


def lamp(photo: Frame) -> list[Frame]:
    """A lamp that swells and fades, on a disc left of the middle; elsewhere nothing changes."""
    height, width = photo.shape[:2]
    share = _disc(photo, height / 2, width / 3, 0.3 * min(height, width))[..., None]
    return [_to_frame(photo * (1 + (level - 1) * share)) for level in LEVELS]


def entering(photo: Frame) -> list[Frame]:
    """Something comes in from the right: a disc of the mirrored photo."""
    height, width = photo.shape[:2]
    radius = 0.3 * min(height, width)
    frames = []
    for number in range(len(LEVELS)):
        share = _disc(photo, height / 2, width + radius - number * width / ENTERING, radius)[..., None]
        frames.append(_to_frame(photo + share * (photo[:, ::-1].astype(np.float64) - photo)))
    return frames


def _disc(photo: Frame, y: float, x: float, radius: float) -> Array:
    """(H, W), 1 within the disc and 0 outside, with an edge of one pixel."""
    rows, columns = np.ogrid[: photo.shape[0], : photo.shape[1]]
    return np.asarray(np.clip(radius - np.hypot(rows - y, columns - x), 0, 1))


def _to_frame(values: Array) -> Frame:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
