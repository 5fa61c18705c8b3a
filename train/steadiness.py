"""What happens between two frames of a film, made up from a photo: what a training compares its paintings over.

    pair = Disturbance()(photo, seed=0, step=7)
    loss = pair.weight * MotionLoss()(pair.expected(network(pair.first)), network(pair.second), pair.known)

The camera moves, its sensor rustles, the light changes, something enters at the edge; as all of it is made up, the true
motion is known to a fraction of a pixel, and no film is needed. Light is followed in luminance, as in
ReCoNet (Gao et al. 2018, arXiv:1807.01197); noise as training data for steadiness: Zheng et al. 2016, arXiv:1604.04326.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BORDER_PX = 8
"""Nearer to the frame's edge, or to what has entered, strokes may differ: a network's cell is as large."""
LOCAL_NODES = 5
"""Of the local warp, along each side."""
READ_NOISE = 0.2
"""Part of a sensor's noise that is there in the dark, over that which light brings at full white, as variances."""


@dataclass(frozen=True, kw_only=True)
class Amplitudes:
    """How strong the disturbances are at most, and how often they come; a share or a strength of 0 leaves one out."""

    still: float = 0.15
    """Share of the pairs in which nothing moves."""
    whole: float = 0.15
    """Share that moves by whole pixels alone: nothing is interpolated, and cells fall elsewhere."""
    far: float = 0.5
    """Share that moves far, by whole pixels, and nothing but that and what enters: what was at the edge is in the
    middle, and has to look the same there. Without them networks tell by their zero padding where they are, and paint
    a strip of another colour at one edge."""
    far_depth_px: float = 32
    """From the edge, how far such a pair looks: held to the rest as well, strokes are fewer (a higher J)."""
    far_weight: float = 2.0
    """How much such a pair counts, over another."""
    far_reach: float = 0.375
    """Of the frame's side, the farthest along each axis."""
    shift_px: float = 8.0
    affine: float = 0.05
    """Turn, zoom and shear: of the 2x2 matrix's entries."""
    perspective: float = 0.03
    """How much nearer one border comes."""
    local_px: float = 2.0
    """Of the smooth local warp."""

    noisy: float = 0.8
    """Share of the other pairs with noise, in both frames, of its own in each."""
    least_noise: float = 1 / 255
    most_noise: float = 8 / 255
    """Standard deviations at middle grey, drawn evenly on a logarithmic scale."""

    lit: float = 0.3
    """Share of the other pairs between which the light changes, in half of them in one part of the scene only."""
    gain: float = 0.25
    gamma: float = 0.2
    white_balance: float = 0.06
    """Logarithms, all three; white balance by channel."""

    entered: float = 0.25
    """Share of the pairs where something is in the second frame that was not in the first."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two frames of one scene, (B, 3, S, S) in 0..1, and what is known of the way from one to the other."""

    first: Tensor
    second: Tensor
    grid: Tensor
    """(B, S, S, 2), as `F.grid_sample` has it (without align_corners): where the second frame's pixels are in the
    first."""
    brighter: Tensor
    """(B, 1, S, S): change of luma by the light."""
    known: Tensor
    """(B, 1, S, S), 1 or 0: what to compare; both frames show the same thing there, and not at their edge."""
    weight: Tensor
    """(B,): how much each pair counts."""

    def expected(self, picture: Tensor) -> Tensor:
        """The first frame's painting (B, 3, S, S) -> what the second one's should be, where `known`."""
        return (sample(picture, self.grid) + self.brighter).clamp(0, 1)


class Disturbance:
    """Makes pairs of frames from photos, by seed, step and the photo alone: however a batch is split over processes."""

    def __init__(self, amplitudes: Amplitudes | None = None) -> None:
        self.amplitudes = amplitudes or Amplitudes()

    @torch.no_grad()
    def __call__(self, photo: Tensor, *, seed: int, step: int) -> Pair:
        """(B, 3, S, S) float in 0..1 -> as many pairs."""
        dice = _Dice(photo, seed, step)
        here = pixel_grid(photo)
        grid, far = self._move(dice, here)
        second, covered = self._enter(dice, here, photo, sample(photo, grid).clamp(0, 1))
        lit = self._light(dice, here, second, ~far)
        first, second_seen = self._expose(dice, ~far, photo, lit)
        known = _inside(here, BORDER_PX) & _inside(grid, BORDER_PX) & ~covered
        deep = self.amplitudes.far_depth_px
        known &= ~(far[..., 0] & _inside(here, deep) & _inside(grid, deep))
        brighter = luma(lit) - luma(second)
        weight = torch.where(far[:, 0, 0, 0], self.amplitudes.far_weight, 1.0)
        return Pair(first, second_seen, grid, brighter, known[:, None].to(photo.dtype), weight)

    def _move(self, dice: "_Dice", here: Tensor) -> tuple[Tensor, Tensor]:
        """Where the second frame's pixels are in the first, (B, S, S, 2); which pairs move far, bool (B, 1, 1, 1)."""
        a, pixel, kind = self.amplitudes, 2 / dice.side, dice.uniform(1, 1, 1, low=0)
        shift = a.shift_px * dice.uniform(1, 1, 2)
        pace = dice.uniform(1, 1, 1, low=0)  # small motions are frequent
        matrix = a.affine * pace[..., 0] * dice.uniform(2, 2) + torch.eye(2, device=dice.device)
        depth = 1 + a.perspective * pace * (here @ dice.uniform(1, 2, 1))
        nodes = a.local_px * pixel * pace * dice.uniform(2, LOCAL_NODES, LOCAL_NODES)
        curve = _cubic(dice)
        local = (curve @ nodes @ curve.T).permute(0, 2, 3, 1)
        moved = here @ matrix[:, None] / depth + local + pace * pixel * shift
        away = (a.far_reach * dice.side * dice.uniform(1, 1, 2)).round()
        still, near = kind < a.still, kind < a.still + a.whole
        far = (kind < a.still + a.whole + a.far) & ~near
        moved = torch.where(far, here + pixel * away, moved)
        moved = torch.where(near, here + pixel * shift.round(), moved)
        return torch.where(still, here.expand_as(moved), moved), far

    def _enter(self, dice: "_Dice", here: Tensor, photo: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Put something at an edge, the photo upside down and half in another colour: the frame, and (B, S, S) where
        not to look."""
        edge, along = dice.uniform(1, 1, 1).sign(), 0.8 * dice.uniform(1, 1, 1)
        upright = dice.chance(0.5)
        centre = torch.cat([torch.where(upright, along, edge), torch.where(upright, edge, along)], -1)
        radius = dice.uniform(1, 1, 2, low=0.2, high=0.8)  # half of the largest ellipse is a quarter of the frame
        away, margin = (here - centre).abs(), 2 * BORDER_PX / dice.side
        comes = dice.chance(self.amplitudes.entered)[..., 0]
        inside, near = (((away / size).square().sum(-1) < 1) & comes for size in (radius, radius + margin))
        thing = photo.rot90(2, (2, 3)).lerp(dice.uniform(3, 1, 1, low=0), 0.5)
        return torch.where(inside[:, None], thing, frame), near

    def _light(self, dice: "_Dice", here: Tensor, frame: Tensor, may: Tensor) -> Tensor:
        """Another light on the whole frame, or on one side of a soft line through it, in some of those that `may`."""
        a = self.amplitudes
        gain, gamma = (strength * dice.uniform(1, 1, 1) for strength in (a.gain, a.gamma))
        colour = a.white_balance * dice.uniform(3, 1, 1)
        lit = (frame + 1e-4).pow(gamma.exp()) * (gain + colour).exp()
        angle = np.pi * dice.uniform(1, 1, 1)
        across = here @ torch.cat([angle.cos(), angle.sin()], 2)  # (B, S, S, 1)
        side = (4 * (across - 0.5 * dice.uniform(1, 1, 1))).clamp(0, 1).permute(0, 3, 1, 2)
        share = torch.where(dice.chance(0.5), side, torch.ones_like(side)) * (may & dice.chance(a.lit))
        return (frame + share * (lit - frame)).clamp(0, 1)

    def _expose(self, dice: "_Dice", may: Tensor, *frames: Tensor) -> list[Tensor]:
        """What one sensor makes of two frames: in some of those that `may`, noise of one kind, of its own in each."""
        a = self.amplitudes
        low, high = np.log(a.least_noise), np.log(a.most_noise)
        deviation = dice.uniform(1, 1, 1, low=low, high=high).exp() * (may & dice.chance(a.noisy))
        coloured, soft = dice.uniform(1, 1, 1, low=0), dice.chance(0.5)
        drawn = dice.normal(4, dice.side + 1, dice.side + 1)
        softened = 2 * F.avg_pool2d(drawn, 2, 1)  # of variance 1, as before
        noise = torch.where(soft, softened, drawn[..., 1:, 1:])
        noise = deviation * ((1 - coloured).sqrt() * noise[:, :1] + coloured.sqrt() * noise[:, 1:])
        seen = []
        for frame, fresh in zip(frames, (noise, noise.rot90(2, (2, 3))), strict=True):  # turned, it is as good as new
            level = ((READ_NOISE + frame) / (READ_NOISE + 0.5)).sqrt()
            seen.append((frame + level * fresh).clamp(0, 1))
        return seen


class _Dice:
    """Random numbers for (B, C, S, S) photos, one set for each."""

    def __init__(self, photo: Tensor, seed: int, step: int) -> None:
        self.side, self.device = photo.shape[-1], photo.device
        pixels = (255 * photo[..., ::16, ::16]).round().long()  # some; as integers, whose sum is the same everywhere
        self._generators = [
            torch.Generator(self.device).manual_seed(int(np.random.SeedSequence((seed, step, n)).generate_state(1)[0]))
            for n in pixels.sum((1, 2, 3)).tolist()
        ]

    def uniform(self, *shape: int, low: float = -1, high: float = 1) -> Tensor:
        """(B, *shape), evenly spread."""
        drawn = [torch.rand(shape, generator=generator, device=self.device) for generator in self._generators]
        return low + (high - low) * torch.stack(drawn)

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape), of variance 1."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self._generators])

    def chance(self, share: float) -> Tensor:
        """Bool (B, 1, 1, 1): true for this share."""
        return self.uniform(1, 1, 1, low=0) < share


def _cubic(dice: _Dice) -> Tensor:
    """(S, nodes): weights that lay a smooth curve through so many nodes."""
    eye = torch.eye(LOCAL_NODES, device=dice.device)[None, None]
    size = (dice.side, LOCAL_NODES)
    return F.interpolate(eye, size, mode="bicubic", align_corners=True)[0, 0]


def pixel_grid(picture: Tensor) -> Tensor:
    """Where the pixels of (B, C, S, S) are, as `F.grid_sample` has it: (1, S, S, 2), (x, y) in -1..1."""
    side = picture.shape[-1]
    axis = (2 * torch.arange(side, device=picture.device, dtype=torch.float32) + 1) / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1)[None]


def sample(picture: Tensor, grid: Tensor) -> Tensor:
    """(B, C, S, S) as seen at (B, S, S, 2); bicubic, which takes less of the detail than bilinear does."""
    sampled: Tensor = _Sample.apply(picture, grid)
    return sampled


class _Sample(torch.autograd.Function):
    """Bicubic there, bilinear back: as a gradient that is near enough, and ten times as quick."""

    @staticmethod
    def forward(ctx: Any, picture: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(picture, grid)
        return F.grid_sample(picture, grid, mode="bicubic", padding_mode="reflection", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        picture, grid = (saved.detach() for saved in ctx.saved_tensors)
        with torch.enable_grad():
            picture.requires_grad_()
            sampled = F.grid_sample(picture, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        return *torch.autograd.grad(sampled, picture, gradient), None


def luma(picture: Tensor) -> Tensor:
    """RGB (B, 3, H, W) -> BT.601 (B, 1, H, W)."""
    return 0.299 * picture[:, :1] + 0.587 * picture[:, 1:2] + 0.114 * picture[:, 2:]


def _inside(grid: Tensor, px: float) -> Tensor:
    """Bool (B, S, S): at least so far from the frame's edge."""
    return (grid.abs() <= 1 - 2 * px / grid.shape[1]).all(-1)
