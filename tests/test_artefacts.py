"""Grids, errors along motion, flicker: cases whose answer is known."""

import numpy as np
import pytest

from allaprima.pictures import Frame
from allaprima.train.artefacts import GRID_PERIODS, Motion, Warp, flicker, grid, luma, motion_error


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


def test_a_filter_that_does_not_see_where_it_is_moves_with_the_scene() -> None:
    motions = [pan(4, -3), pan(1, 2)]
    noisy = [Motion(m.first, (m.second + texture(100, 130) // 40).astype(np.uint8), m.flow) for m in motions]
    assert motion_error(lambda frame: frame, noisy) == pytest.approx(1)
    assert motion_error(lambda frame: 255 - frame, noisy) == pytest.approx(1)
    assert motion_error(lambda frame: frame // 2, noisy) == pytest.approx(0.5, abs=0.1)


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
