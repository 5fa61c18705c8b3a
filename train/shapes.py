"""Outlines of things, for photos from nothing.

A thing is a list of parts, from back to front: polygons, (N, 2) x and y, within about 1 of (0, 0).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .surfaces import Random, pick

Points = npt.NDArray[np.float64]
Shape = Callable[[Random], list[Points]]

_AROUND = np.linspace(0, 2 * np.pi, 36, endpoint=False)
_CIRCLE = np.column_stack([np.cos(_AROUND), np.sin(_AROUND)])
_ALONG = np.linspace(-1, 1, 12)


def blob(random: Random) -> list[Points]:
    """Round, and uneven."""
    orders = np.arange(1, 6)
    waves = np.cos(orders * _AROUND[:, None] + random.uniform(0, 2 * np.pi, 5)) @ (random.normal(0, 0.25, 5) / orders)
    return [_CIRCLE * np.maximum(0.2, 1 + waves)[:, None]]


def disc(random: Random) -> list[Points]:
    """Seen from aside."""
    return [turned(random, ellipse(1, random.uniform(0.3, 1)))]


def polygon(random: Random) -> list[Points]:
    """With three to six corners."""
    corners = _CIRCLE[np.sort(random.integers(0, len(_CIRCLE), random.integers(3, 7)))]
    return [corners * random.uniform(0.5, 1, (len(corners), 1))]


def panel(random: Random) -> list[Points]:
    """A rectangle, mostly upright."""
    long, short = 1.0, random.uniform(0.2, 1)
    corners = rectangle(long, short) if random.random() < 0.5 else rectangle(short, long)
    return [turned(random, corners) if random.random() < 0.3 else corners]


def box(random: Random) -> list[Points]:
    """Two walls and a roof."""
    left, right, depth, height = random.uniform(0.3, 1, 4)
    near, up = np.array([0, 0.5]), np.array([0, -height])
    west, east = np.array([-left, 0.5 - depth / 3]), np.array([right, 0.5 - depth / 2])
    walls = [np.array([near, side, side + up, near + up]) for side in (west, east)]
    return [*walls, np.array([near, west, west + east - near, east]) + up]


def wheel(random: Random) -> list[Points]:
    """Discs on discs: wheels, eyes, plates, clocks."""
    flat, sizes = random.uniform(0.4, 1), np.cumprod(random.uniform(0.3, 0.9, random.integers(2, 5)))
    return [ellipse(size, flat * size) for size in sizes / sizes[0]]


def limb(random: Random) -> list[Points]:
    """A branch, an arm, a pole, a cable."""
    return [turned(random, 1.6 * bough(random, 10 ** random.uniform(-1.7, -0.6)))]


def twigs(random: Random) -> list[Points]:
    """A bush, a bunch of grass, a tree in winter."""
    direction, spread = random.uniform(0, 2 * np.pi), random.uniform(0.1, 1.5)
    parts = []
    for _ in range(random.integers(5, 25)):
        twig = moved(bough(random, 10 ** random.uniform(-1.9, -1.2)), 1, 0) * random.uniform(0.3, 0.8)
        parts.append(rotated(twig, direction + random.normal(0, spread)))
    return parts


def heap(random: Random) -> list[Points]:
    """Fruit, pebbles, petals: much the same, many times."""
    kinds: dict[Shape, float] = {blob: 1, disc: 1, polygon: 1}
    kind, size = pick(random, kinds), random.uniform(0.08, 0.3)
    places = random.normal(0, 0.6, (random.integers(5, 30), 2)) * (1, random.uniform(0.3, 1))
    nearer = places[places[:, 1].argsort()]  # what lies lower is in front
    return [moved(kind(random)[0] * size * random.uniform(0.6, 1.2), x, y) for x, y in nearer]


def row(random: Random) -> list[Points]:
    """A fence, windows, books, columns."""
    count = int(random.integers(3, 12))
    post = rectangle(random.uniform(0.2, 0.9) / count, random.uniform(0.5, 4) / count)
    return [moved(post, (2 * i + 1) / count - 1, random.normal(0, 0.02)) for i in range(count)]


def person(random: Random) -> list[Points]:
    """From afar: legs, trunk, arms, hair and face."""
    down, sides = np.pi / 2, (-1, 1)
    legs = [rotated(0.5 * bough(random, 0.12, bend=0.1), down + random.normal(0, 0.15)) for _ in sides]
    arms = [rotated(0.35 * bough(random, 0.12, bend=0.3), down + side * random.uniform(-0.8, 0.3)) for side in sides]
    return [
        *(moved(leg, 0.12 * side, 0.55) for side, leg in zip(sides, legs, strict=True)),
        moved(ellipse(0.24, 0.42), 0, -0.15),
        *(moved(arm, 0.27 * side, -0.15) for side, arm in zip(sides, arms, strict=True)),
        moved(ellipse(0.16, 0.19), 0, -0.74),
        moved(ellipse(0.12, 0.16), random.normal(0, 0.04), -0.70),
    ]


SHAPES: dict[Shape, float] = {
    blob: 0.20,
    disc: 0.08,
    polygon: 0.10,
    panel: 0.16,
    box: 0.06,
    wheel: 0.06,
    limb: 0.10,
    twigs: 0.06,
    heap: 0.06,
    row: 0.05,
    person: 0.07,
}
"""And how often they come."""


def ellipse(x: float, y: float) -> Points:
    """By its half axes."""
    return np.asarray(_CIRCLE * np.array([x, y]))


def rectangle(x: float, y: float) -> Points:
    """By half its sides."""
    return np.array([(-x, -y), (x, -y), (x, y), (-x, y)])


def bough(random: Random, thickness: float, *, bend: float = 0.4) -> Points:
    """Long, bent and tapering, from (-1, 0) to (1, 0)."""
    curve, wave = random.normal(0, bend, 2)
    middle = (1 - _ALONG**2) * (curve + wave * _ALONG)
    half = thickness * (1 - random.uniform(0, 0.8) * _ALONG)
    return np.column_stack([[*_ALONG, *_ALONG[::-1]], [*(middle + half), *(middle - half)[::-1]]])


def moved(points: Points, x: float, y: float) -> Points:
    """To elsewhere."""
    return np.asarray(points + np.array([x, y]))


def turned(random: Random, points: Points) -> Points:
    """By any angle."""
    return rotated(points, random.uniform(0, 2 * np.pi))


def rotated(points: Points, angle: float) -> Points:
    """By `angle`, in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([(cos, sin), (-sin, cos)]))
