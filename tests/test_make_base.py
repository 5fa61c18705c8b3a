"""scripts/make_base.py: a few steps over two paintings, and what folding and taking turns must hold."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import ROOT

from allaprima.models.transformer import build
from allaprima.train import start
from allaprima.train.checkpoint import load_checkpoint


@pytest.fixture
def make_base(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return import_module("make_base")


def test_the_mean_of_all_paintings_stands_in_the_filters(make_base: ModuleType) -> None:
    torch.manual_seed(0)
    network, plain = build("realtime"), build("realtime")
    modulation = make_base.Modulation(network, 3)
    for table in modulation.tables:
        torch.nn.init.uniform_(table, -1, 2)
    plain.load_state_dict(make_base.folded(network))
    frame = torch.rand(2, 3, 40, 56)
    torch.testing.assert_close(plain(frame), network(frame), atol=1e-4, rtol=1e-4)
    modulation.chosen = torch.tensor([2, 0])
    assert not torch.allclose(plain(frame), network(frame), atol=0.1)


def test_a_painting_of_the_batch_is_its_own(make_base: ModuleType) -> None:
    network = build("realtime")
    modulation = make_base.Modulation(network, 3)
    for table in modulation.tables:
        torch.nn.init.uniform_(table, -1, 2)
    frame, alone = torch.rand(2, 3, 40, 56), []
    for i, painting in enumerate((2, 0)):
        modulation.chosen = torch.tensor([painting])
        alone.append(network(frame[i : i + 1]))
    modulation.chosen = torch.tensor([2, 0])
    torch.testing.assert_close(network(frame), torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_a_base_is_trained_resumed_and_shipped(
    make_base: ModuleType,
    few_paintings: Path,
    shared: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Small crops, then large ones; every painting once before any comes again; a mean of all in the file."""
    base = tmp_path / "base.safetensors"
    for module in (make_base, start):
        monkeypatch.setattr(module, "BASE_FILE", base)
    sizes, turns, losses = list[int](), list[list[int]](), make_base.ManyPaintings.losses

    def watched(self: object, network: object, photo: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        sizes.append(photo.shape[-1])
        turns.append(self.order(step, len(photo)))  # type: ignore[attr-defined]
        parts: dict[str, torch.Tensor] = losses(self, network, photo, step)
        return parts

    monkeypatch.setattr(make_base.ManyPaintings, "losses", watched)
    monkeypatch.setattr(make_base, "SMALL_PX", 64)
    monkeypatch.setattr(make_base, "LARGE_PX", 96)
    words = [few_paintings, "--photos", shared / "photos" / "val", "--vgg-weights", weights, "--out", tmp_path / "run"]

    def run(*more: object) -> None:
        monkeypatch.setattr(sys, "argv", ["make_base", *map(str, words), *map(str, more)])
        make_base.main()

    run("--steps", 4)
    assert sizes == [64, 64, 64, 96]
    assert sorted(turns[0] + turns[1]) == sorted(turns[2] + turns[3]) == list(range(8))
    run("--steps", 4, "--ship")  # nothing is left to do but to ship
    assert len(sizes) == 4
    checkpoint = load_checkpoint(tmp_path / "run")
    shipped, plain = build("realtime"), build("realtime")
    start.start_from("base", shipped, build="realtime")
    make_base.Modulation(plain, 8)
    checkpoint.fill(plain)
    frame = torch.rand(1, 3, 40, 56)
    torch.testing.assert_close(shipped(frame), plain(frame), atol=5e-3, rtol=0)
