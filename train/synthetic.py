"""Photos from nothing: made up, with the statistics of photographs, for those who have none to train on.

    frame = synthetic_photo(seed=0, number=17, size_px=256)     # (256, 256, 3) uint8 RGB

Things hide things, of all sizes, as in the dead leaves model (Lee, Mumford and Huang 2001, "Occlusion models for
natural images"), whose pictures alone teach a network much of what photos do (Baradad et al. 2021, "Learning to see by
looking at noise"). Here things also have surfaces and parts, stand in the light and cast shadows, before a wall or
between ground and sky, and are seen by a camera: out of focus, exposed, developed, with noise. What is random has been
set such that colours, spectrum and the activations of VGG-19 come near those of photos (`scripts/realism.py`).
"""

import cv2
import numpy as np
import numpy.typing as npt

from ..pictures import Frame
from .config import DEFAULT_STEPS
from .shapes import SHAPES, Points
from .surfaces import Field, Random, noise, pick, surface

J_RATIO = 0.997
"""J on real photos after training on synthetic ones, over J after training on real ones: `DEFAULT_STEPS` from the base,
mean over six paintings (scripts/without_photos.py)."""
SURFACES = 4
"""Of one scene."""
SMALLEST, LARGEST = 0.012, 0.45
"""Radius of a thing, over the picture's side."""
SKY = (0.28, 0.42, 0.66)
COLOURS = (
    SKY,
    (0.16, 0.20, 0.06),  # foliage
    (0.30, 0.19, 0.10),  # earth, wood
    (0.45, 0.38, 0.29),  # stone, sand
    (0.60, 0.36, 0.25),  # skin
    (0.80, 0.78, 0.74),  # walls, snow
    (0.03, 0.03, 0.03),  # what lies in the dark
)
"""Of what photos show most, linear RGB."""

Mask = npt.NDArray[np.uint8]


def what_they_are_worth() -> str:
    """What to tell those who train on synthetic photos, one line."""
    return (
        f"photos are made up: {DEFAULT_STEPS} steps from the base do as well on them as on real ones (J on photos is "
        f"{J_RATIO:.2f} times as high); for more steps that is not measured, --photos DIR takes real ones"
    )


def synthetic_photo(*, seed: int, number: int, size_px: int) -> Frame:
    """(S, S, 3) uint8 RGB; the same for the same seed, number and size."""
    random = np.random.default_rng((seed, number))
    return develop(random, Scene(random, size_px).light)


class Scene:
    """What stands before the camera, drawn from back to front. `light` is (3, S, S) float32, linear RGB."""

    def __init__(self, random: Random, size_px: int) -> None:
        self.random, self.size_px = random, size_px
        self.colours = palette(random)
        self.upto = np.cumsum(random.dirichlet(np.full(len(self.colours), 1.2)))  # some colours come more often
        rough = 10 ** random.normal(0.05, 0.2)
        self.surfaces = [surface(random, size_px, rough=rough) for _ in range(SURFACES)]
        angle = random.uniform(-np.pi, 0)  # of the light, which comes from above
        towards_light = np.array([np.cos(angle), np.sin(angle), random.uniform(0.3, 1.2)])
        self.x, self.y, self.z = (towards_light / np.linalg.norm(towards_light)).tolist()
        self.across = np.linspace(-1, 1, size_px, dtype=np.float32)  # from edge to edge
        self.slope = self.across * self.x + self.across[:, None] * self.y  # (S, S): how far towards the light
        self.light = self.backdrop()
        things = int(10 ** random.uniform(0.6, 1.9))
        in_focus = int(random.integers(things)) if random.random() < 0.4 else 0
        for number in range(things):
            if 0 < number == in_focus:
                self.defocus()
            self.add_thing()

    def backdrop(self) -> Field:
        """A wall, or ground below a sky."""
        random, size = self.random, self.size_px
        seen = cv2.warpPerspective(self.surfaces[0], self.perspective(), (size, size), borderMode=cv2.BORDER_REFLECT)
        wall = paint(seen, *self.two_colours()) * np.exp(random.uniform(0, 0.6) * self.slope)
        if random.random() < 0.5:
            return np.asarray(wall)
        horizon, skyline = random.uniform(-0.6, 0.6), random.normal(0, 0.05) * self.across
        if random.random() < 0.5:  # trees and hills
            skyline += np.cumsum(random.normal(0, 0.01, size)).astype(np.float32)
        ground = np.clip((self.across[:, None] - horizon - skyline) * (size / 2), 0, 1)
        return np.asarray(ground * wall + (1 - ground) * self.sky(horizon))

    def sky(self, horizon: float) -> Field:
        """(3, S, S): brightest at the horizon, with clouds or without."""
        random = self.random
        top, low = sorted(random.uniform(0.2, 1.5, 2).tolist())
        sky = self.colours[0][:, None, None] * (top + (low - top) * (self.across[:, None] + 1) / (horizon + 1))
        if random.random() < 0.6:
            clouds = noise(random, self.size_px, self.size_px, smooth=0.6)
            sky = sky + np.clip(clouds * random.uniform(0.1, 0.8), 0, 1) * (1 - sky)
        return np.asarray(sky)

    def perspective(self) -> Field:
        """(3, 3): of a wall that faces the camera, or of one that leans back, as far as a floor does."""
        size, lean = self.size_px, pick(self.random, {0: 1, 1: 1}) * self.random.uniform(0, 2)
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
        moved = np.array([(0, 0), (1, 0), (1 + lean, 1), (-lean, 1)], np.float32)
        return np.asarray(cv2.getPerspectiveTransform(size * corners, size * moved))

    def add_thing(self) -> None:
        """Something in front of all that is there, of one or more parts."""
        random = self.random
        radius_px = self.size_px * SMALLEST * (LARGEST / SMALLEST) ** (random.random() ** 0.85)
        place = random.uniform(0, self.size_px, 2)
        looks = self.two_colours(), random.integers(SURFACES)
        for part in pick(random, SHAPES)(random):
            if random.random() < 0.2:
                looks = self.two_colours(), random.integers(SURFACES)
            colours, which = looks
            self.add_part(part * radius_px + place, self.surfaces[which], *colours)

    def add_part(self, outline: Points, surface: Field, first: Field, second: Field) -> None:
        """Its shadow, then itself."""
        random, size = self.random, self.size_px
        radius_px = float(np.ptp(outline, 0).min()) / 2
        if radius_px > 0.04 * size and random.random() < 0.6:
            self.cast_shadow(outline, radius_px)
        mask, (rows, columns) = self.silhouette(outline, margin_px=1)
        if not mask.size:
            return
        turn = cv2.getRotationMatrix2D(
            random.uniform(0, size, 2).tolist(), random.uniform(0, 360), random.uniform(0.6, 1.5)
        )
        patch = cv2.warpAffine(surface, turn, mask.shape[::-1], borderMode=cv2.BORDER_REFLECT)
        shade = self.lean(rows, columns) if random.random() < 0.4 else self.bulge(mask)
        there = self.light[:, rows, columns]
        there += mask.astype(np.float32) / 255 * (paint(patch, first, second) * shade - there)

    def silhouette(self, outline: Points, *, margin_px: int) -> tuple[Mask, tuple[slice, slice]]:
        """(h, w), 255 inside; and which rows and columns of the picture that is: perhaps none."""
        ends = np.array([outline.min(0) - margin_px, outline.max(0) + margin_px])
        (left, top), (right, bottom) = np.clip(np.rint(ends), 0, self.size_px).astype(int).tolist()
        mask = np.zeros((bottom - top, right - left), np.uint8)
        if mask.size:
            sixteenths = np.rint((outline - (left, top)) * 16).astype(np.int32)
            cv2.fillPoly(mask, [sixteenths], 255, cv2.LINE_AA, 4)
        return mask, (slice(top, bottom), slice(left, right))

    def cast_shadow(self, outline: Points, radius_px: float) -> None:
        """Darken what lies behind, away from the light; softly."""
        random = self.random
        away = -radius_px * random.uniform(0.1, 0.5) * np.array([self.x, self.y])
        soft_px = 2 * int(radius_px * random.uniform(0.05, 0.3)) + 1
        mask, (rows, columns) = self.silhouette(outline + away, margin_px=soft_px)
        if mask.size:
            soft = cv2.blur(cv2.blur(mask, (soft_px, soft_px)), (soft_px, soft_px))
            self.light[:, rows, columns] *= 1 - random.uniform(0.3, 0.8) / 255 * soft.astype(np.float32)

    def lean(self, rows: slice, columns: slice) -> Field:
        """(h, w): how much light falls on something flat, or nearly so."""
        slope = self.slope[rows, columns]
        steep = self.random.uniform(0, 0.6) / float(np.ptp(slope) + 0.2)
        return np.asarray(np.exp(steep * (slope - slope.mean()) + self.random.normal(0, 0.3)))

    def bulge(self, mask: Mask) -> Field:
        """(h, w): the same for something round, as high as its edge is far."""
        edge_px = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
        edge_px = np.minimum(edge_px, self.size_px)  # where no edge is to be seen, it is infinitely far
        radius_px = max(float(edge_px.max()), 1.0)
        height = np.sqrt(edge_px * (2 * radius_px - edge_px))
        dx, dy = (cv2.Sobel(height, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
        facing = (self.z - dx * self.x - dy * self.y) / np.sqrt(1 + dx * dx + dy * dy)
        return np.asarray(0.25 + np.maximum(facing, 0))

    def defocus(self) -> None:
        """What is there by now lies behind the focus."""
        blur_px = self.size_px * 10 ** self.random.uniform(-2.6, -1.7)
        for plane in self.light:
            cv2.GaussianBlur(plane, (0, 0), blur_px, dst=plane)

    def two_colours(self) -> tuple[Field, Field]:
        """(3,) each."""
        first, second = np.minimum(self.upto.searchsorted(self.random.random(2)), len(self.colours) - 1)
        return self.colours[first], self.colours[second]


def paint(surface: Field, first: Field, second: Field) -> Field:
    """(H, W, 2), (3,), (3,) -> (3, H, W): the surface in two colours."""
    mix, relief = surface[..., 0], np.exp(surface[..., 1])
    return np.asarray(first[:, None, None] * ((1 - mix) * relief) + second[:, None, None] * (mix * relief))


def palette(random: Random) -> Field:
    """(N, 3) linear RGB, the first one the sky's: the colours of one scene, in the light of one lamp."""
    colours = np.array([*COLOURS, *random.uniform(0.02, 0.9, (2, 3)) ** 1.5])  # two are of things that were painted
    grey = colours.mean(1, keepdims=True)
    colours = grey + random.uniform(0.2, 1.0) * (colours - grey)
    bright = random.normal(0, 0.7, (len(colours), 1)) + random.normal(0, 0.05, (len(colours), 3))
    warm = random.normal(0.18, 0.2) * np.array([1, 0, -1])
    return np.asarray(colours * np.exp(bright + warm), np.float32)


def develop(random: Random, light: Field) -> Frame:
    """(3, S, S) float32 linear RGB -> (S, S, 3) uint8: lens, exposure, gradation, sensor. `light` is spent."""
    size = light.shape[1]
    edge = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    light *= 1 - random.uniform(0, 0.25) * (edge[:, None] + edge)
    tone = np.log(light + 0.003)
    grey = tone[:, ::2, ::2].mean(0)
    contrast, bright = min(max(random.normal(1.2, 0.3), 0.5), 1.9), random.normal(-0.4, 0.55)
    tone -= float(grey.mean())
    tone *= contrast / (float(grey.std()) + 0.05)
    picture = 255 / (1 + np.exp(-tone - bright))  # an S, as film has
    sharp = random.uniform(-0.1, 0.16)
    lens = np.array([(0, -sharp, 0), (-sharp, 1 + 4 * sharp, -sharp), (0, -sharp, 0)])
    sensor = random.uniform(0, 3) * random.standard_normal((size, size), np.float32)
    return np.asarray(cv2.merge([cv2.add(cv2.filter2D(p, -1, lens), sensor, dtype=cv2.CV_8U) for p in picture]))
