"""The losses: values by hand, zero where it must be zero, and how they behave over random shapes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from allaprima.train.losses import (
    ContentLoss,
    GridLoss,
    MotionLoss,
    PerceptualLoss,
    StyleLoss,
    TotalVariationLoss,
    gram_matrix,
    relative_distance,
)


def test_gram_matrix_by_hand() -> None:
    activation = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # two channels, 1x2 pixels
    expected = torch.tensor([[[5.0, 1.0], [1.0, 10.0]]]) / 2
    torch.testing.assert_close(gram_matrix(activation), expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gram_matrix_gradient_is_the_true_one(memory_format: torch.memory_format) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    weights = torch.randn(2, 3, 3)  # not symmetric, as a general gradient is not

    def loss(activation: Tensor) -> Tensor:
        return (gram_matrix(activation) * weights).sum()

    (got,) = torch.autograd.grad(loss(x), x)
    flat = x.flatten(2)
    (expected,) = torch.autograd.grad(((flat @ flat.mT) / 20 * weights).sum(), x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_relative_distance_by_hand() -> None:
    value, target = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]])
    torch.testing.assert_close(relative_distance(value, target), torch.tensor([16 / 25, 0.0]))


@pytest.mark.parametrize("seed", range(4))
def test_distances_do_not_depend_on_the_scale_of_the_features(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 4)), int(random.integers(1, 9)), *map(int, random.integers(2, 20, 2)))
    activation, other = torch.rand(shape), torch.rand(shape)
    scale = float(random.uniform(0.1, 50))
    content, style = ContentLoss(), StyleLoss(other[:1])
    torch.testing.assert_close(content(activation, other), content(activation * scale, other * scale))
    torch.testing.assert_close(style(activation), StyleLoss(other[:1] * scale)(activation * scale))


def test_same_picture_costs_nothing_and_black_costs_one() -> None:
    activation = torch.rand(2, 4, 6, 7)
    torch.testing.assert_close(ContentLoss()(activation, activation), torch.zeros(2))
    torch.testing.assert_close(ContentLoss()(torch.zeros_like(activation), activation), torch.ones(2))
    assert StyleLoss(activation[:1])(activation[:1]).item() == pytest.approx(0, abs=1e-12)


def test_total_variation_by_hand() -> None:
    tv = TotalVariationLoss()
    assert tv(torch.full((1, 3, 5, 5), 0.7)).item() == 0
    stripes = torch.tensor([0.0, 1.0]).repeat(1, 3, 4, 2)  # columns 0 1 0 1: every horizontal neighbour differs by 1
    assert tv(stripes).item() == pytest.approx(1)


def test_grid_is_seen_and_texture_is_not() -> None:
    torch.manual_seed(0)
    noise = torch.rand(1, 3, 160, 160)
    y, x = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    grid = GridLoss()
    assert grid(noise).item() == pytest.approx(1 / 64, rel=0.2)
    for period in (2, 4, 8):
        dots = ((x % period == 0) & (y % period == 0)).float().expand(1, 3, -1, -1)
        assert grid(dots).item() > 0.9, period
    assert grid(torch.full((1, 3, 160, 160), 0.3)).item() < 1e-5
    assert grid(torch.rand(1, 3, 40, 40)).item() == 0  # smaller than a window


def test_motion_loss_is_the_change_over_the_contrast() -> None:
    x = torch.zeros(1, 3, 48, 48)
    x[..., ::2] = 0.4  # 0.2 on either side of the mean, of the whole picture and of each 8x8 cell
    known = torch.ones(1, 1, 48, 48)
    motion = MotionLoss()
    assert motion(x, x, known).item() == pytest.approx(0, abs=1e-9)
    lighter = 0.1**2 / (0.2**2 + 0.1**2)  # and its detail is the same
    assert motion(x, x + 0.1, known).item() == pytest.approx(lighter / 2, rel=1e-4)
    moved = x.roll(1, -1)  # differs by 0.4 everywhere, and all of that is detail
    whole, detail = 0.4**2 / (0.2**2 + 0.1**2), 0.4**2 / (0.2**2 + 0.03**2)
    assert motion(x, moved, known).item() == pytest.approx((whole + detail) / 2, rel=1e-4)


def test_motion_loss_does_not_look_where_nothing_is_known() -> None:
    x = torch.zeros(2, 3, 40, 44)  # no multiple of a cell
    x[..., ::2] = 0.4
    elsewhere, known = x.clone(), torch.ones(2, 1, 40, 44)
    elsewhere[..., 3:17, 5:30] = 1
    known[..., 3:17, 5:30] = 0
    assert MotionLoss()(x, elsewhere, known).tolist() == pytest.approx([0, 0], abs=1e-9)
    elsewhere[1, :, :, 30:] = 0.2  # of the second pair alone, where both are seen
    first, second = MotionLoss()(x, elsewhere, known).tolist()
    assert first == pytest.approx(0, abs=1e-9)
    assert second > 0.1
    assert MotionLoss()(x, elsewhere, torch.zeros_like(known)).tolist() == [0, 0]


def some_loss(layers: dict[str, Tensor], style_weight: float) -> PerceptualLoss:
    """Of a painting with these activations; content at relu2_1, three times as much style at relu1_1 as there."""
    return PerceptualLoss(
        layers,
        content_layer="relu2_1",
        style_layers={"relu1_1": 3.0, "relu2_1": 1.0},
        style_weight=style_weight,
        tv_weight=0.5,
        grid_weight=2.0,
    )


def some_layers(count: int) -> dict[str, Tensor]:
    """Activations of as many pictures."""
    return {"relu1_1": torch.rand(count, 4, 9, 9), "relu2_1": torch.rand(count, 6, 5, 5)}


def test_total_is_the_weighted_sum() -> None:
    loss = some_loss(some_layers(1), 7)
    p = loss(torch.rand(2, 3, 96, 96), some_layers(2), some_layers(2))
    torch.testing.assert_close(p["style"], 0.75 * p["style/relu1_1"] + 0.25 * p["style/relu2_1"])
    torch.testing.assert_close(p["total"], p["content"] + 7 * p["style"] + 0.5 * p["tv"] + 2 * p["grid"])


def test_a_batch_costs_the_mean_of_its_pictures() -> None:
    """What makes several processes see the loss of one; and each picture can be for a painting of its own."""
    losses = [some_loss(some_layers(1), k) for k in (7, 3)]
    picture, got, photo = torch.rand(2, 3, 96, 96), some_layers(2), some_layers(2)

    def one(loss: PerceptualLoss, i: int) -> Tensor:
        part = slice(i, i + 1)
        parts = loss(picture[part], {k: v[part] for k, v in got.items()}, {k: v[part] for k, v in photo.items()})
        total: Tensor = parts["total"]
        return total

    alone = [[one(loss, i) for i in range(2)] for loss in losses]
    torch.testing.assert_close(losses[0](picture, got, photo)["total"], (alone[0][0] + alone[0][1]) / 2)
    for layer, style in losses[0].styles.items():
        style.target = torch.cat([loss.styles[layer].get_buffer("target") for loss in losses])
    losses[0].style_weight = torch.tensor([7.0, 3.0])
    torch.testing.assert_close(losses[0](picture, got, photo)["total"], (alone[0][0] + alone[1][1]) / 2)
