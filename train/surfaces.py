"""What things are covered with, for photos from nothing: wood, grass, bricks, cloth, foliage, print.

A surface is (S, S, 2) float32: how much of a thing's second colour shows (0..1), and the logarithm of the light that
it throws back, about 0. So one surface serves things of any two colours.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[Any]
"""float32 throughout."""
Random = np.random.Generator
Choice = TypeVar("Choice")

LEAVES = 250
LETTERS = np.array(list("etaoin shrdlu cmfwyp vbgkqjxz ETAOINSHRDLU 0123456789"))
FONTS = {cv2.FONT_HERSHEY_SIMPLEX: 1, cv2.FONT_HERSHEY_TRIPLEX: 1, cv2.FONT_HERSHEY_COMPLEX: 1}


def pick(random: Random, shares: Mapping[Choice, float]) -> Choice:
    """One of the keys, each as often as its share has it."""
    upto = np.cumsum(list(shares.values()))
    return list(shares)[int(upto.searchsorted(random.random() * upto[-1], side="right"))]


def noise(random: Random, height: int, width: int, *, smooth: float) -> Field:
    """(H, W) of mean 0 and deviation 1: random grids, each twice as fine as the last and 2 ** smooth times as weak.

    With smooth 0 every octave has as much contrast, as in photographs (power falls as the square of the frequency).
    """
    field: Field = np.zeros((1, 1), np.float32)
    for octave in reversed(range(max(height, width).bit_length())):
        rows, columns = max(1, height >> octave), max(1, width >> octave)
        field = cv2.resize(field, (columns, rows), interpolation=cv2.INTER_LINEAR)
        field += 2.0 ** (smooth * octave) * (random.random((rows, columns), np.float32) - 0.5)
    return standard(field)


def standard(field: Field) -> Field:
    """The same with mean 0 and deviation 1."""
    mean, deviation = cv2.meanStdDev(field)
    return np.asarray((field - float(mean[0, 0])) / (float(deviation[0, 0]) + 1e-6))


def surface(random: Random, size_px: int, *, rough: float) -> Field:
    """(S, S, 2): one of the patterns below, with a grain that is `rough` times as strong as usual."""
    pattern = pick(random, PATTERNS)(random, size_px)
    relief = rough * 10 ** random.uniform(-1.2, 0) * grain(random, size_px)
    return np.asarray(cv2.merge([np.clip(pattern, 0, 1), relief]))


def grain(random: Random, size_px: int) -> Field:
    """Light and dark: as on stone and skin, or drawn out, as on wood, fur, grass and water; or creased."""
    stretch = pick(random, {1: 2, 2: 1, 4: 1, 8: 1})
    field = noise(random, size_px, -(-size_px // stretch), smooth=random.uniform(-0.4, 0.6))
    if random.random() < 0.3:
        field = standard(np.abs(field))
    return np.asarray(cv2.resize(field, (size_px, size_px), interpolation=cv2.INTER_LINEAR))


def plain(random: Random, size_px: int) -> Field:
    """One colour."""
    return np.zeros((size_px, size_px), np.float32)


def blotches(random: Random, size_px: int) -> Field:
    """Two colours that run into each other, or meet at an edge: clouds, rust, marble, a cow."""
    field = noise(random, size_px, size_px, smooth=random.uniform(0.2, 1.0))
    return 0.5 + 10 ** random.uniform(-0.7, 0.7) * (field - random.uniform(-1, 1))


def stripes(random: Random, size_px: int) -> Field:
    """Straight or winding: planks, folds, fences, sand."""
    wavelength_px = size_px * 10 ** random.uniform(-1.7, -0.6)
    phase = np.tile(np.arange(size_px, dtype=np.float32) * (2 * np.pi / wavelength_px), (size_px, 1))
    if random.random() < 0.6:
        phase += random.uniform(0, 3) * noise(random, size_px, size_px, smooth=1.2)
    return np.asarray(0.5 + 10 ** random.uniform(-0.4, 0.8) * (np.sin(phase) - random.uniform(-0.8, 0.8)))


def checks(random: Random, size_px: int) -> Field:
    """Stripes across stripes: cloth."""
    across, down = (np.clip(stripes(random, size_px), 0, 1) for _ in range(2))
    return np.asarray((across + down.T) / 2)


def bricks(random: Random, size_px: int) -> Field:
    """Bricks, tiles or windows: rows of rectangles of several tints, with joints."""
    height = size_px * 10 ** random.uniform(-1.5, -0.6)
    width, joint, shift = (
        height * random.uniform(0.5, 3),
        height * random.uniform(0.02, 0.2),
        pick(random, {0: 1, 1: 1}),
    )
    y = np.arange(size_px, dtype=np.float32)[:, None] / height
    row = np.floor(y)
    x = np.arange(size_px, dtype=np.float32) / width + 0.5 * shift * row
    column = np.floor(x)
    tints = random.uniform(0.3, 1.0, 1000).astype(np.float32)
    tint = tints[(column * 37 + row * 101).astype(np.int32) % len(tints)]
    to_edge_px = np.minimum((0.5 - np.abs(x - column - 0.5)) * width, (0.5 - np.abs(y - row - 0.5)) * height)
    return np.asarray(tint * np.clip(to_edge_px - joint + 0.5, 0, 1))


def leaves(random: Random, size_px: int) -> Field:
    """Small things heaped up, of every tint: foliage, gravel, a crowd."""
    heap = np.zeros((size_px, size_px), np.uint8)
    length, width = size_px * 10 ** random.uniform(-1.8, -1.2) * np.array([1, random.uniform(0.2, 1)])
    for x, y, size, angle, tint in random.random((LEAVES, 5)):
        axes = np.maximum(16 * (0.3 + size) * np.array([length, width]), 1).astype(int).tolist()  # in 1/16 px, as below
        middle = int(16 * x * size_px), int(16 * y * size_px)
        cv2.ellipse(heap, middle, axes, 360 * angle, 0, 360, 255 * tint, cv2.FILLED, cv2.LINE_AA, 4)
    return heap.astype(np.float32) / 255


def lettering(random: Random, size_px: int) -> Field:
    """Lines of letters."""
    page = np.zeros((size_px, size_px), np.uint8)
    height = size_px * 10 ** random.uniform(-1.6, -0.6)
    font, thick = pick(random, FONTS), max(1, round(height * random.uniform(0.05, 0.2)))
    for row in range(1, int(size_px / (1.7 * height)) + 2):
        line = "".join(random.choice(LETTERS, int(2.2 * size_px / height)))
        cv2.putText(page, line, (0, int(1.7 * height * row)), font, height / 22, 255, thick, cv2.LINE_AA)
    return page.astype(np.float32) / 255


PATTERNS: dict[Callable[[Random, int], Field], float] = {
    plain: 0.25,
    blotches: 0.25,
    stripes: 0.12,
    bricks: 0.12,
    checks: 0.06,
    leaves: 0.15,
    lettering: 0.05,
}
"""And how often they come."""
