"""Make the painting of `scripts/demo --train`: an evening by a lake, in thick strokes; nobody's but this program's.

    python scripts/make_demo_painting.py painting.png

What is to be seen is laid out in flat colours, with a direction at every pixel: round the sun and round whirls in the
sky, along the ridges, level on the water. Then it is painted over three times, with ever smaller brushes that follow
these directions (after Hertzmann 1998, "Painterly rendering with curved brush strokes of multiple sizes").
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from allaprima.pictures import Frame, write_picture
from allaprima.train.surfaces import Field, Random, noise

WIDTH_PX, HEIGHT_PX = 640, 512
SEED = 4
HORIZON = 0.62
SUN = (0.68, 0.30)
WHIRLS = ((0.20, 0.22, 0.17), (0.43, 0.42, 0.10), (0.93, 0.12, 0.12))
"""x and y in fractions of the picture, radius in fractions of its width."""
SKY, GLOW, WATER = ((10, 40, 150), (255, 168, 40)), (255, 226, 110), ((30, 100, 190), (8, 36, 110))
"""RGB, from the top down; round the sun; from the shore down."""
CLOUD, WHIRL, TREE = (255, 140, 130), (150, 215, 255), (30, 70, 40)
RIDGES = ((0.50, 0.05, (96, 88, 150)), (0.56, 0.04, (52, 96, 112)), (0.605, 0.02, (36, 82, 52)))
"""Where they stand, how high they are, their colour; the farthest first."""
BRUSHES = ((18, 70, 0.5), (9, 42, 0.8), (4, 24, 0.6))
"""Width and length in px, and how much of the picture is covered, in strokes a cell of a brush's width squared."""
BRISTLES = 5


def main() -> None:
    """Write the picture."""
    write_picture(Path(sys.argv[1]), demo_painting())


def demo_painting() -> Frame:
    """(512, 640, 3) uint8 RGB, always the same."""
    random = np.random.default_rng(SEED)
    colours, angles = scene(random)
    canvas = cv2.GaussianBlur(colours, (0, 0), 12)
    for width_px, length_px, cover in BRUSHES:
        for _ in range(int(cover * WIDTH_PX * HEIGHT_PX / width_px**2)):
            stroke(random, canvas, colours, angles, width_px, length_px)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def scene(random: Random) -> tuple[Field, Field]:
    """Colours (H, W, 3) in 0..255, and directions (H, W) in radians: sky, ridges, water, and a tree before them."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
    colours, angles = sky(random, x, y)
    for base, height, colour in RIDGES:
        ridge = HEIGHT_PX * (base - height * noise(random, 1, WIDTH_PX, smooth=0.8)[0])
        lit = np.clip(1.25 - (y - ridge) / (0.16 * HEIGHT_PX), 0.6, 1.25)[..., None]
        land = y > ridge
        colours[land] = (lit * np.array(colour, np.float32))[land]
        angles[land] = np.broadcast_to(np.arctan(np.gradient(cv2.blur(ridge[None], (31, 1))[0])), land.shape)[land]
    shore = round(HORIZON * HEIGHT_PX)
    depth = np.clip((y - shore) / (HEIGHT_PX - shore), 0, 1)[..., None]
    mirrored = colours[np.clip(2 * shore - y[:, 0], 0, HEIGHT_PX - 1).astype(int)]
    water = 0.55 * mirrored + 0.45 * blend(WATER, depth)
    path = np.exp(-(((x - SUN[0] * WIDTH_PX) / (0.03 * WIDTH_PX + 0.5 * (y - shore))) ** 2))[..., None]
    water += 0.5 * path * (np.array(GLOW, np.float32) - water)
    below = y >= shore
    colours[below] = water[below]
    angles[below] = 0.08 * np.sin(x / 40 + y / 9)[below]
    tree(random, colours, angles)
    return colours, angles


def sky(random: Random, x: Field, y: Field) -> tuple[Field, Field]:
    """Blue to gold, with the sun, its rings, and whirls."""
    sun_x, sun_y = SUN[0] * WIDTH_PX, SUN[1] * HEIGHT_PX
    colours = blend(SKY, np.clip(y / (HORIZON * HEIGHT_PX), 0, 1)[..., None] ** 1.3)
    clouds = np.clip(noise(random, HEIGHT_PX, WIDTH_PX, smooth=0.7), 0, 1)[..., None]
    colours += 0.4 * clouds * (np.array(CLOUD, np.float32) - colours)
    from_sun = np.hypot(x - sun_x, y - sun_y)
    rings = np.exp(-from_sun / 90) * (0.75 + 0.25 * np.cos(from_sun / 9))
    colours += np.where(from_sun < 34, 1, rings)[..., None] * (np.array(GLOW, np.float32) - colours)
    flow = np.stack([np.ones_like(x), 0.5 * np.sin(x / 90)])
    for whirl_x, whirl_y, radius in ((*SUN, 0.2), *WHIRLS):
        dx, dy = x - whirl_x * WIDTH_PX, y - whirl_y * HEIGHT_PX
        near = np.exp(-(dx**2 + dy**2) / (radius * WIDTH_PX) ** 2)
        flow = (1 - near) * flow + near * np.stack([-dy, dx]) / (np.hypot(dx, dy) + 1)
        turns = np.cos(np.hypot(dx, dy) / 7 + np.arctan2(dy, dx))
        if (whirl_x, whirl_y) != SUN:
            colours += (0.6 * near * np.clip(turns, 0, 1))[..., None] * (np.array(WHIRL, np.float32) - colours)
    return colours, np.arctan2(flow[1], flow[0])


def tree(random: Random, colours: Field, angles: Field) -> None:
    """A cypress at the left, from the lower edge up into the sky."""
    up = np.linspace(0, 1, 60)
    middle = WIDTH_PX * (0.13 + 0.02 * np.sin(5 * up))
    half = WIDTH_PX * 0.07 * (1 - up) ** 0.7 * (1 + 0.25 * np.sin(40 * up)) + 1
    height = HEIGHT_PX * (1.02 - 0.88 * up)
    outline = np.column_stack([[*(middle - half), *(middle + half)[::-1]], [*height, *height[::-1]]])
    inside = np.zeros(angles.shape, np.uint8)
    cv2.fillPoly(inside, [outline.astype(np.int32)], 1)
    shade = 0.5 + 0.7 * np.clip(0.5 + 0.5 * noise(random, HEIGHT_PX, WIDTH_PX, smooth=0.2), 0, 1)[..., None]
    colours[inside > 0] = (shade * np.array(TREE, np.float32))[inside > 0]
    angles[inside > 0] = np.pi / 2 + 0.3


def blend(ends: tuple[tuple[int, int, int], ...], share: Field) -> Field:
    """From the first colour at 0 to the second at 1, (H, W, 3) float32."""
    first, second = (np.array(colour, np.float32) for colour in ends)
    return np.asarray((1 - share) * first + share * second, dtype=np.float32)


def stroke(random: Random, canvas: Field, colours: Field, angles: Field, width_px: int, length_px: int) -> None:
    """One, along the directions, in the colour of where it begins, lighter and darker from bristle to bristle."""
    x, y = random.uniform(0, WIDTH_PX), random.uniform(0, HEIGHT_PX)
    colour = colours[int(y), int(x)] * random.normal(1, 0.06) + random.normal(0, 7, 3)
    points = []
    for _ in range(max(2, int(length_px * random.uniform(0.6, 1.2) / 4))):
        points.append((x, y))
        angle = angles[int(np.clip(y, 0, HEIGHT_PX - 1)), int(np.clip(x, 0, WIDTH_PX - 1))]
        x, y = x + 4 * np.cos(angle), y + 4 * np.sin(angle)
    line = np.array(points)
    along = np.gradient(line, axis=0)
    across = np.column_stack([-along[:, 1], along[:, 0]]) / (np.hypot(*along.T)[:, None] + 1e-6)
    for place in np.linspace(-0.5, 0.5, BRISTLES):
        shade = colour * random.normal(1, 0.07)
        bristle = np.rint(16 * (line + place * width_px * across)).astype(np.int32)  # in 1/16 px
        thick = max(1, round(width_px / BRISTLES) + 1)
        cv2.polylines(canvas, [bristle[:, None]], False, shade.tolist(), thick, cv2.LINE_8, 4)


if __name__ == "__main__":
    main()
