"""Grids, errors along motion, flicker: cases whose answer is known."""

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from allaprima.pictures import Frame
from allaprima.train.artefacts import (
    EDGE_PX,
    GRID_PERIODS,
    NEAR_PX,
    STILL_PX,
    Changes,
    Motion,
    Warp,
    changes,
    fading,
    flicker,
    grid,
    liveliness,
    luma,
    motion_error,
    tint,
)
from allaprima.train.scenes import LEVELS, PANS_PX, entering, lamp, noisy, pans


def texture(height: int, width: int, seed: int = 0) -> Frame:
    """Noise without any order, uint8 (H, W, 3)."""
    return np.random.default_rng(seed).integers(60, 190, (height, width, 3), dtype=np.uint8)


def pan(dx: int, dy: int) -> Motion:
    """A window that moves over a texture: where it was at (x, y) it is at (x - dx, y - dy)."""
    scene = np.kron(texture(40, 50), np.ones((4, 4, 1), np.uint8))  # blocks of 4, so that half a pixel matters less
    first, second = scene[20:120, 20:150], scene[20 + dy : 120 + dy, 20 + dx : 150 + dx]
    flow = np.broadcast_to(np.array([-dx, -dy], np.float32), (*first.shape[:2], 2))
    return Motion(first, second, flow)


def test_noise_has_no_grid() -> None:
    assert all(value == pytest.approx(1.4, abs=0.5) for value in grid(texture(200, 264)).values())


@pytest.mark.parametrize("period", GRID_PERIODS)
def test_a_grid_is_found_at_its_own_period(period: int) -> None:
    picture = texture(200, 264) // 8
    picture[::period, ::period] += 100
    figures = grid(picture)
    assert figures[period] > 20
    assert all(figures[p] < 5 for p in GRID_PERIODS if p > period)  # shorter ones are its overtones


def test_what_does_not_see_where_it_is_tints_no_edge() -> None:
    photo = texture(120, 160)
    photo[:, -EDGE_PX:] = (200, 0, 0)
    photo[:40] //= 2
    photos = [photo, texture(96, 97)]
    assert tint(lambda frame: 255 - frame, photos, [255 - photo for photo in photos]) == 0


@pytest.mark.parametrize("edge", [np.s_[:EDGE_PX], np.s_[-EDGE_PX:], np.s_[:, :EDGE_PX], np.s_[:, -EDGE_PX:]])
def test_a_tinted_edge_is_found_at_any_side_in_any_channel(edge: tuple[slice, ...] | slice) -> None:
    def tinted(frame: Frame) -> Frame:
        painting = frame.copy()
        painting[edge][..., 2] -= 40
        return painting

    photos = [texture(120, 160), texture(96, 200, 1)]
    assert tint(tinted, photos, map(tinted, photos)) == pytest.approx(40)


def test_a_filter_that_does_not_see_where_it_is_moves_with_the_scene() -> None:
    motions = [pan(4, -3), pan(1, 2)]
    noisy = [Motion(m.first, (m.second + texture(100, 130) // 40).astype(np.uint8), m.flow) for m in motions]
    assert motion_error(lambda frame: frame, noisy) == pytest.approx(1)
    assert motion_error(lambda frame: 255 - frame, noisy) == pytest.approx(1)
    assert motion_error(lambda frame: frame // 2, noisy) == pytest.approx(0.5, abs=0.1)


def test_frames_are_painted_in_their_order() -> None:
    seen: list[Frame] = []

    def watched(frame: Frame) -> Frame:
        seen.append(frame)
        return frame

    motion = pan(4, -3)
    motion_error(watched, [motion])
    assert len(seen) == 2
    assert seen[0] is motion.first
    assert seen[1] is motion.second


def test_a_pattern_that_stays_where_it_is_does_not() -> None:
    fixed = texture(100, 130) // 4
    noisy = [Motion(m.first, (m.second + texture(100, 130) // 40).astype(np.uint8), m.flow) for m in [pan(4, -3)]]
    assert motion_error(lambda frame: frame // 2 + fixed, noisy) > 2


def test_what_leaves_the_frame_or_is_unknown_does_not_count() -> None:
    flow = np.zeros((20, 30, 2), np.float32)
    flow[:, 25:, 0], flow[:5] = 5, np.nan
    inside = Warp(flow).inside
    assert not inside[:5].any()
    assert not inside[:, 25:].any()
    assert inside[5:, :25].all()
    picture = texture(20, 30)
    assert np.allclose(Warp(flow)(picture)[inside], luma(picture)[inside])


def test_flicker_is_relative_to_the_photos() -> None:
    frames = [texture(30, 40, seed) for seed in range(4)]
    assert flicker(lambda frame: frame, frames) == pytest.approx(1)
    assert flicker(lambda frame: np.zeros_like(frame), frames) == 0
    assert flicker(lambda frame: 255 - frame, frames) == pytest.approx(1)


def test_what_never_changes_does_not_flicker() -> None:
    """A still clip without noise, and the pure shift of a filter that does not see where it is."""
    assert flicker(lambda frame: 255 - frame, [texture(30, 40)] * 3) == 0
    assert motion_error(blurred, [inner(pan(4, -3))]) == 0
    assert motion_error(lambda frame: frame // 2 + texture(100, 130) // 4, [pan(4, -3)]) == math.inf


def blurred(frame: Frame) -> Frame:
    """A filter that does not see where it is."""
    return cv2.blur(frame, (3, 3)).astype(np.uint8)


def inner(motion: Motion) -> Motion:
    """Known only where a blur reaches nothing beyond the border of either frame."""
    flow = np.full_like(motion.flow, np.nan)
    flow[8:-8, 8:-8] = motion.flow[8:-8, 8:-8]
    return Motion(motion.first, motion.second, flow)


def test_strokes_fade_where_the_photo_is_plain() -> None:
    """Half the photo is a texture; what happens to the painting there does not count."""
    photo, painting = grey(120, 120), texture(100, 200)
    photo[:, :60] = texture(100, 60, 1)
    half = (64 + painting // 2).astype(np.uint8)
    assert fading([(photo, painting, painting)] * 2) == 1
    assert fading([(photo, painting, half)]) == pytest.approx(0.5, abs=0.02)
    half[:, 100:] = painting[:, 100:]
    touched = fading([(photo, painting, half)])
    half[:, :40] = 0
    assert fading([(photo, painting, half)]) == pytest.approx(touched)
    assert 0.6 < touched < 0.9


# Changes of a clip, where it moves and where it is still.


def grey(left: int, right: int, noise: int = 0) -> Frame:
    """100x200, of one grey on each side; `noise` lightens every other column, which is no motion on average."""
    frame = np.full((100, 200, 3), right, np.uint8)
    frame[:, :100] = left
    frame[:, ::2] += np.uint8(noise)
    return frame


def test_changes_by_hand() -> None:
    """The left half becomes lighter by 40, its painting by 20; of the right half, which is still, the painting by 6."""
    seen = Changes()
    seen.add(grey(100, 50), grey(30, 10))
    seen.add(grey(140, 50), grey(50, 16))
    assert seen.photo == pytest.approx([20])
    assert seen.painting == pytest.approx([13])
    moving = 100 + STILL_PX // 2  # columns: a mean over so many px sees the edge from there
    assert seen.moving.pixels == 100 * moving
    assert seen.still.pixels == 100 * (200 - moving - NEAR_PX)
    assert seen.still.mean == pytest.approx((0, 6))
    assert seen.spill == pytest.approx(6 / 20)
    assert seen.flicker == math.inf
    assert seen.liveliness == pytest.approx((100 * 20 + 4 * 6) / (100 * 40))
    assert seen.figures() == {"flicker": None, "liveliness": seen.liveliness, "spill": seen.spill}


def test_noise_is_no_motion() -> None:
    seen = Changes()
    for noise in (0, 2, 0):
        seen.add(grey(100, 50, noise), grey(100, 50, 2 * noise))
    assert seen.photo == pytest.approx([1, 1])
    assert (seen.moving.pixels, seen.still.pixels) == (0, 2 * 100 * 200)
    assert seen.flicker == pytest.approx(2)
    assert seen.spill == pytest.approx(2)
    assert seen.figures()["liveliness"] is None


def test_the_photo_itself_is_as_lively_as_it_is() -> None:
    assert liveliness(lambda frame: frame, [pan(4, -3)]) == 1
    assert liveliness(lambda frame: np.zeros_like(frame), [pan(4, -3)]) == 0
    assert liveliness(lambda frame: frame // 2, [pan(4, -3)]) == pytest.approx(0.5, abs=0.02)


# Clips made up from a photo.


def photo() -> Frame:
    """Blobs, darker on the left, 200x264."""
    blobs = np.asarray(cv2.resize(texture(25, 33), (264, 200), interpolation=cv2.INTER_CUBIC), np.float64)
    return np.array(blobs * np.linspace(0.4, 1, 264)[None, :, None], np.uint8)


def follows_the_mean(frame: Frame) -> Frame:
    """As instance norm does: what changes in one corner changes all of it."""
    return np.array(np.clip(frame + 3 * (100 - frame.mean()), 0, 255), np.uint8)


def test_noise_has_its_strength_and_the_same_one_each_time() -> None:
    frames = noisy(photo(), deviation=6)
    assert np.std(frames[0].astype(float) - photo()) == pytest.approx(6, rel=0.03)
    assert flicker(lambda frame: frame, frames) == pytest.approx(1)
    assert all(np.array_equal(a, b) for a, b in zip(frames, noisy(photo(), deviation=6), strict=True))
    assert not np.array_equal(frames[0], frames[1])
    assert np.array_equal(noisy(photo(), deviation=0)[0], photo())


def test_pans_move_as_they_say() -> None:
    for motion, step in zip(pans(photo(), deviation=0), PANS_PX, strict=True):
        assert np.allclose(motion.flow[5, 7], step)
        back = Warp(motion.flow)
        miss = abs(back(motion.second) - luma(motion.first))[back.inside]
        unmoved = abs(luma(motion.second) - luma(motion.first))
        assert miss.mean() < 1.0 < 5 < unmoved.mean()
    assert motion_error(lambda frame: frame, pans(photo())) == pytest.approx(1)
    assert motion_error(lambda frame: frame // 2 + texture(*frame.shape[:2]) // 4, pans(photo())) > 3


@pytest.mark.parametrize("scene", [lamp, entering])
def test_what_does_not_change_is_all_still(scene: Callable[[Frame], list[Frame]]) -> None:
    frames = scene(photo())
    assert len(frames) == len(LEVELS)
    assert np.array_equal(frames[0], photo())
    seen = changes(lambda frame: frame, frames)
    assert seen.spill == 0
    assert seen.liveliness == pytest.approx(1)
    total = (len(frames) - 1) * 200 * 264
    assert 0.1 < seen.still.pixels / total < 0.9
    assert 0.02 < seen.moving.pixels / total < 0.5
    assert changes(follows_the_mean, frames).spill > 0.3
