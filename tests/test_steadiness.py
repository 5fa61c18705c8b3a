"""Pairs of frames made from photos, and the loss between their paintings: cases whose answer is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from allaprima.models.vgg import VGGFeatures
from allaprima.train.config import TrainConfig
from allaprima.train.losses import MotionLoss
from allaprima.train.objective import Objective
from allaprima.train.steadiness import BORDER_PX, Amplitudes, Disturbance, Pair, luma, pixel_grid, sample

SIDE = 64
NOTHING = {"far": 0.0, "noisy": 0.0, "lit": 0.0, "entered": 0.0}
STILL = Amplitudes(still=1, **NOTHING)
WHOLE = Amplitudes(still=0, whole=1, **NOTHING)
MOVING = Amplitudes(still=0, whole=0, **NOTHING)
FAR = Amplitudes(still=0, whole=0, **{**NOTHING, "far": 1.0})


def photos(batch: int = 6) -> Tensor:
    """Noise of a few pixels' grain: (B, 3, S, S) in 0..1."""
    random = torch.Generator().manual_seed(1)
    return F.interpolate(torch.rand(batch, 3, SIDE // 4, SIDE // 4, generator=random), SIDE, mode="bilinear")


def pair_of(amplitudes: Amplitudes, photo: Tensor | None = None, step: int = 0) -> Pair:
    return Disturbance(amplitudes)(photos() if photo is None else photo, seed=0, step=step)


def blurred_negative(picture: Tensor) -> Tensor:
    """A painter that does not see where it is, and reaches two pixels far."""
    return 1 - F.avg_pool2d(picture, 5, 1, 2)


def motion_loss(pair: Pair, paint: Callable[[Tensor], Tensor] = blurred_negative) -> float:
    return float(MotionLoss()(pair.expected(paint(pair.first)), paint(pair.second), pair.known).mean())


def ramp() -> Tensor:
    """Red is x, green is y, each in px over SIDE: (1, 3, S, S)."""
    axis = (torch.arange(SIDE) + 0.5) / SIDE
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, 0.5)])[None]


def test_a_still_scene_costs_nothing() -> None:
    pair = pair_of(STILL)
    torch.testing.assert_close(pair.second, pair.first, atol=1e-4, rtol=0)
    assert motion_loss(pair) == pytest.approx(0, abs=1e-8)
    inside = pair.known[0, 0, BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    assert inside.all()
    assert pair.known.sum() == inside.numel() * 6  # and nothing of the border


@pytest.mark.parametrize("step", range(3))
def test_a_painter_that_does_not_see_where_it_is_pays_nothing_for_whole_pixels(step: int) -> None:
    pair = pair_of(WHOLE, step=step)
    px = (pair.grid - pixel_grid(pair.first)) * SIDE / 2
    torch.testing.assert_close(px, px.round(), atol=1e-4, rtol=0)
    assert 2 < px.abs().max() <= 8.001
    assert motion_loss(pair) == pytest.approx(0, abs=1e-8)


def test_far_moves_are_whole_pixels_to_three_eighths_of_the_frame() -> None:
    pair = pair_of(replace(FAR, far_depth_px=SIDE), photos(24))
    px = (pair.grid - pixel_grid(pair.first)) * SIDE / 2
    torch.testing.assert_close(px, px.round(), atol=1e-4, rtol=0)
    assert 16 < px.abs().max() < 24.001
    assert pair.known.mean(dim=(1, 2, 3)).min() > 0.1  # enough is in both frames to compare
    assert motion_loss(pair) == pytest.approx(0, abs=1e-8)


def test_one_that_tints_an_edge_pays_where_the_scene_moves_far() -> None:
    """What near moves hardly see: nearly all of the strip lies on itself again."""

    def tint(picture: Tensor) -> Tensor:
        tinted = picture.clone()
        tinted[..., -SIDE // 4 :] = 0.5
        return tinted

    far, near = (motion_loss(pair_of(amplitudes, photos(24)), tint) for amplitudes in (FAR, WHOLE))
    assert far > 2 * near


@pytest.mark.parametrize("deep", [12, 20])
def test_where_the_scene_moves_far_only_what_is_or_was_near_an_edge_is_compared(deep: int) -> None:
    pair = pair_of(replace(FAR, far_depth_px=deep), photos(24))
    here = (pixel_grid(pair.first).expand_as(pair.grid) + 1) * SIDE / 2  # px from the upper left
    there = (pair.grid + 1) * SIDE / 2
    to_edge = [torch.minimum(place, SIDE - place).amin(-1) for place in (here, there)]
    expected = (torch.minimum(*to_edge) >= BORDER_PX) & (torch.minimum(*to_edge) < deep)
    disagree = (pair.known[:, 0] > 0) != expected
    assert disagree.float().mean() < 0.01  # rounding
    assert expected.any(dim=(1, 2)).all()


def test_where_the_scene_moves_far_nothing_else_happens_and_it_counts_more() -> None:
    pair = pair_of(Amplitudes(entered=0), photos(24))
    px = ((pair.grid - pixel_grid(pair.first)) * SIDE / 2).flatten(1).abs().amax(1)
    far = pair.weight > 1
    assert 4 < far.sum() < 20
    assert (px[far] == px[far].round()).all()
    assert torch.equal(pair.first[far], photos(24)[far])  # no noise
    assert pair.brighter[far].abs().max() == 0
    assert set(pair.weight.tolist()) == {1, Amplitudes().far_weight}
    assert (pair.weight[px > 12] > 1).all()


def test_one_that_paints_in_fixed_places_pays() -> None:
    fixed = photos(1).flip(-1)
    assert motion_loss(pair_of(WHOLE), lambda picture: (picture + fixed) / 2) > 0.2


@pytest.mark.parametrize("step", range(3))
def test_the_motion_is_known_to_a_fraction_of_a_pixel(step: int) -> None:
    """Of a ramp, each pixel's colour says where in the first frame it was."""
    pair = pair_of(MOVING, ramp(), step=step)
    seen = pair.known[0, 0] > 0
    place = (pair.second[0, :2].permute(1, 2, 0) * 2 - 1)[seen]
    error_px = (place - pair.grid[0][seen]).norm(dim=-1) * SIDE / 2
    assert error_px.max() < 0.08  # what bicubic sampling itself is off, on a ramp
    moved_px = (pair.grid - pixel_grid(pair.first))[0][seen].norm(dim=-1) * SIDE / 2
    assert moved_px.std() > 0.01  # not one shift for all


def test_motions_stay_within_their_amplitudes() -> None:
    moved = [
        pair_of(Amplitudes(still=0, whole=0, affine=0, perspective=0, local_px=0, **NOTHING), step=s).grid
        for s in range(8)
    ]
    px = (torch.cat(moved) - pixel_grid(photos())) * SIDE / 2
    assert px.std(dim=(1, 2)).max() < 1e-4  # a shift alone
    assert 2 < px.abs().max() < 8
    local = Amplitudes(still=0, whole=0, shift_px=0, affine=0, perspective=0, **NOTHING)
    px = (pair_of(local).grid - pixel_grid(photos())) * SIDE / 2
    assert 0.5 < px.abs().max() < 3


def test_what_was_beyond_the_border_is_not_compared() -> None:
    """A painter that turns white what it sees within a border of the first frame."""
    for amplitudes in (WHOLE, MOVING):
        pair = pair_of(amplitudes, torch.zeros(6, 3, SIDE, SIDE))
        edge = torch.ones(6, 3, SIDE, SIDE)
        edge[..., 5:-5, 5:-5] = 0
        for frame in (edge, pair.expected(edge)):
            assert (frame * pair.known).max() == 0


def test_what_enters_has_another_colour_and_is_not_compared() -> None:
    colours = torch.tensor([0.2, 0.4, 0.6, 0.8]).reshape(4, 1, 1, 1).expand(4, 3, SIDE, SIDE)
    shares = []
    for step in range(10):
        pair = pair_of(Amplitudes(still=1, noisy=0, lit=0, entered=1), colours, step)
        entered = (pair.second - colours).abs().amax(1, keepdim=True) > 1e-3
        assert entered.any(dim=3).any(dim=2).all()
        assert not (entered & (pair.known > 0)).any()
        near = F.max_pool2d(entered.float(), 9, 1, 4)  # a margin, so that a brush of its size may touch it
        assert not ((near > 0) & (pair.known > 0)).any()
        for photo, frame, inside in zip(colours, pair.second, entered, strict=True):
            thing = frame[:, inside[0]]
            assert thing.std(dim=1).max() < 1e-4  # of a grey photo, one colour
            assert (thing[:, :1] - photo[:, :1, 0]).abs().max() > 0.01
        at_edge = torch.cat([entered[..., [0, -1], :].flatten(1), entered[..., [0, -1]].flatten(1)], 1)
        assert at_edge.any(1).all()
        shares += entered.float().mean((1, 2, 3)).tolist()
    assert max(shares) <= 0.27
    assert min(shares) > 0.01


def test_light_is_followed_in_luma() -> None:
    """The photo itself, as a painting, follows it but for its colours; where no light falls, nothing changes."""
    pair = pair_of(Amplitudes(still=1, noisy=0, lit=1, white_balance=0, entered=0), step=1)
    change = luma(pair.second) - luma(pair.first)
    torch.testing.assert_close(pair.brighter, change, atol=1e-4, rtol=0)
    assert pair.brighter.abs().amax((1, 2, 3)).min() > 0.002
    partly = [(b.abs() < 1e-6).float().mean().item() for b in pair.brighter]
    assert any(share > 0.1 for share in partly)
    assert any(share == 0 for share in partly)
    grey = torch.full((6, 3, SIDE, SIDE), 0.5)
    lit = pair_of(Amplitudes(still=1, noisy=0, lit=1, white_balance=0, entered=0), grey, step=1)
    assert motion_loss(lit, lambda picture: picture) == pytest.approx(0, abs=1e-8)


def test_noise_is_as_strong_as_said_and_of_its_own_in_each_frame() -> None:
    level = 4 / 255
    amplitudes = Amplitudes(still=1, noisy=1, least_noise=level, most_noise=level, lit=0, entered=0)
    grey = torch.full((6, 3, SIDE, SIDE), 0.5)
    pair = pair_of(amplitudes, grey)
    first, second = pair.first - grey, pair.second - grey
    for noise in (first, second):
        assert noise.std(dim=(1, 2, 3)).tolist() == pytest.approx([level] * 6, rel=0.15)
        assert noise.mean().item() == pytest.approx(0, abs=level / 20)
    assert (first * second).mean().item() == pytest.approx(0, abs=level**2 / 20)
    bright = pair_of(amplitudes, 0.9 * torch.ones_like(grey)).first.std()
    assert bright > 1.1 * pair_of(amplitudes, 0.1 * torch.ones_like(grey)).first.std()


def test_same_seed_and_step_same_pair() -> None:
    a, b, c, d = (Disturbance()(photos(), seed=seed, step=step) for seed, step in ((3, 5), (3, 5), (3, 6), (4, 5)))
    for name in ("first", "second", "grid", "brighter", "known", "weight"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert not torch.equal(a.first, c.first)
    assert not torch.equal(a.first, d.first)
    for pair in (a, c, d):
        assert pair.first.min() >= 0
        assert pair.second.max() <= 1
        assert set(pair.known.flatten().tolist()) == {0, 1}


def test_a_split_batch_gets_the_same_pairs() -> None:
    whole = Disturbance()(photos(), seed=0, step=2)
    halves = [Disturbance()(half, seed=0, step=2) for half in photos().chunk(2)]
    for name in ("first", "second", "grid", "brighter", "known", "weight"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(half, name) for half in halves]))


def test_every_disturbance_is_drawn_as_often_as_said() -> None:
    greys = torch.linspace(0.2, 0.8, 200).reshape(200, 1, 1, 1).expand(200, 3, 24, 24)
    pair = Disturbance()(greys, seed=0, step=0)
    moved = (pair.grid - pixel_grid(greys)).flatten(1).abs().amax(1) > 0
    assert moved.float().mean().item() == pytest.approx(0.85, abs=0.1)
    assert (pair.first.std(dim=(1, 2, 3)) > 1e-3).float().mean().item() == pytest.approx(0.8 / 2, abs=0.1)
    assert (pair.brighter.abs().amax((1, 2, 3)) > 0).float().mean().item() == pytest.approx(0.3 / 2, abs=0.1)
    assert (pair.weight > 1).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_sampling_lets_the_gradient_back() -> None:
    pair = pair_of(MOVING)
    picture = photos().requires_grad_()
    weights = torch.rand(6, 3, SIDE, SIDE)
    (got,) = torch.autograd.grad((sample(picture, pair.grid) * weights).sum(), picture)
    (true,) = torch.autograd.grad(
        (
            F.grid_sample(picture, pair.grid, mode="bicubic", padding_mode="reflection", align_corners=False) * weights
        ).sum(),
        picture,
    )
    assert F.cosine_similarity(got.flatten(), true.flatten(), dim=0) > 0.98
    assert got.sum().item() == pytest.approx(true.sum().item(), rel=1e-3)


def test_blur_does_not_win() -> None:
    """Two paintings half of whose detail differs: to soften both, or the second one alone, costs as much or more."""
    torch.manual_seed(0)
    shared, own, other = (torch.rand(1, 3, SIDE, SIDE) for _ in range(3))
    large = torch.zeros(1, 3, SIDE, SIDE)
    known = torch.ones(1, 1, SIDE, SIDE)

    def cost(strength: float, of_second: float) -> float:
        first, second = large + strength * (shared + own) / 2, large + of_second * (shared + other) / 2
        return float(MotionLoss()(first, second, known))

    assert cost(1, 1) < cost(1, 0.7)
    assert cost(0.7, 0.7) == pytest.approx(cost(1, 1), rel=0.15)


@pytest.mark.parametrize(("weight", "batch", "painted"), [(0.0, 2, 2), (2.0, 1, 2), (2.0, 3, 5), (2.0, 4, 6)])
def test_a_step_paints_half_twice_and_is_the_same_each_time(weight: float, batch: int, painted: int) -> None:
    torch.manual_seed(0)
    config = TrainConfig(painting=Path("p"), photos="p", style_weight=5.0, motion_weight=weight)
    painting = (255 * ramp()[0].permute(1, 2, 0)).to(torch.uint8).numpy()
    objective = Objective(config, VGGFeatures(config.layers), painting, lambda: torch.empty(0))
    shades, seen = torch.tensor([0.5, 1.0, 0.7]).reshape(1, 3, 1, 1).requires_grad_(), 0

    def network(frame: Tensor) -> Tensor:
        nonlocal seen
        seen += len(frame)
        return shades * frame

    photo = (255 * photos(batch)).to(torch.uint8)
    parts = objective.losses(network, photo, 7)
    assert seen == painted
    assert (parts["motion"] > 0) == (weight > 0)
    rest = parts["content"] + 5 * parts["style"] + config.tv_weight * parts["tv"] + config.grid_weight * parts["grid"]
    torch.testing.assert_close(parts["total"], rest + weight * parts["motion"])
    assert torch.equal(objective.losses(network, photo, 7)["total"], parts["total"])
    (gradient,) = torch.autograd.grad(parts["total"], shades)
    assert torch.isfinite(gradient).all()
