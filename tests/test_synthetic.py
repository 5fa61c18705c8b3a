"""Photos from nothing: always the same ones, like photos, and trained on where none are given."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from test_training import losses

from allaprima.cli import main
from allaprima.commands import tune
from allaprima.infer.stylefile import read_card
from allaprima.pictures import Frame, read_picture
from allaprima.train import int8, photos
from allaprima.train.config import SYNTHETIC, TrainConfig
from allaprima.train.evaluate import synthetic_photos
from allaprima.train.photos import Stream, SyntheticPhotos
from allaprima.train.shapes import SHAPES
from allaprima.train.surfaces import PATTERNS, noise, surface
from allaprima.train.synthetic import synthetic_photo, what_they_are_worth


def test_a_photo_depends_on_its_seed_and_number_alone() -> None:
    threads = cv2.getNumThreads()
    first = synthetic_photo(seed=3, number=7, size_px=96)
    for number in (6, 8):
        assert (synthetic_photo(seed=3, number=number, size_px=96) != first).mean() > 0.5
    assert (synthetic_photo(seed=4, number=7, size_px=96) != first).mean() > 0.5
    cv2.setNumThreads(0)  # as in a process that reads photos
    try:
        assert np.array_equal(synthetic_photo(seed=3, number=7, size_px=96), first)
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize("size_px", [64, 101, 384])
def test_photos_of_any_size(size_px: int) -> None:
    for number in range(12):  # warnings are errors: nothing overflows or is divided by nothing
        frame = synthetic_photo(seed=1, number=number, size_px=size_px)
        assert frame.shape == (size_px, size_px, 3)
        assert frame.dtype == np.uint8
        assert frame.std() > 8


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_things_keep_to_their_place(shape: Callable[[np.random.Generator], list[np.ndarray]]) -> None:
    """About a radius around their middle."""
    for seed in range(20):
        for part in shape(np.random.default_rng(seed)):
            assert part.shape[1] == 2
            assert len(part) >= 3
            assert np.abs(part).max() < 4


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_surfaces_vary_and_have_a_grain(
    pattern: Callable[[np.random.Generator, int], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allaprima.train.surfaces.PATTERNS", {pattern: 1.0})
    for seed in range(5):
        mix, relief = np.moveaxis(surface(np.random.default_rng(seed), 80, rough=1.0), -1, 0)
        assert mix.dtype == relief.dtype == np.float32
        assert 0 <= mix.min() <= mix.max() <= 1
        assert (mix.std() > 0.02) == (pattern.__name__ != "plain")
        assert 0.05 < relief.std() < 1.1


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_noise_is_as_smooth_as_asked_for(smooth: float) -> None:
    """Every octave of differences has 2 ** smooth times the contrast of the next finer one."""
    field = noise(np.random.default_rng(0), 512, 512, smooth=smooth)
    assert (field.mean(), field.std()) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-3))
    near, far = (float((field[:, step:] - field[:, :-step]).std()) for step in (8, 16))
    assert far / near == pytest.approx({0.0: 1.15, 1.0: 1.85}[smooth], abs=0.15)


# Like photos.


@pytest.fixture
def realism(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that measures."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return import_module("realism")


BOUNDS = {
    "luma": (95, 135),
    "contrast": (42, 65),
    "saturation": (55, 105),
    "spectrum": (-3.0, -2.2),
    "edges": (8, 40),
}
"""Of the medians over many photos."""


def out_of_bounds(realism: ModuleType, frames: Sequence[Frame]) -> set[str]:
    medians = {name: np.median([measure(frame) for frame in frames]) for name, measure in realism.PIXELS.items()}
    return {name for name, (low, high) in BOUNDS.items() if not low < medians[name] < high}


def test_synthetic_photos_look_like_photos_in_figures(realism: ModuleType) -> None:
    assert not out_of_bounds(realism, [synthetic_photo(seed=0, number=i, size_px=192) for i in range(64)])


def test_photos_look_like_photos_in_figures(realism: ModuleType, shared: Path) -> None:
    assert not out_of_bounds(realism, realism.photo_squares(shared / "photos" / "train", 64, 192))


def test_noise_does_not(realism: ModuleType) -> None:
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (192, 192, 3), dtype=np.uint8) for _ in range(3)]
    assert {"spectrum", "edges"} <= out_of_bounds(realism, frames)


def test_the_loss_network_finds_them_near(
    realism: ModuleType,
    shared: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """About as near as other photos, by the script's own table; and pictures of noise with their spectrum are not."""
    words = ["--photos", shared / "photos" / "train", "--vgg-weights", weights, "--count", 12, "--size", 96]

    def ratios() -> dict[str, float]:
        monkeypatch.setattr(sys, "argv", ["realism", *map(str, words)])
        realism.main()
        rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "relu" in line]
        return {name.strip(): float(made_up) / float(photos) for name, _, photos, made_up in rows}

    near = ratios()
    monkeypatch.setattr(realism, "synthetic_photo", clouds)
    far = ratios()
    assert list(near) == ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2"]
    assert max(near.values()) < 2
    assert min(far.values()) > 2.5


def clouds(*, seed: int, number: int, size_px: int) -> Frame:
    random = np.random.default_rng((seed, number))
    planes = [noise(random, size_px, size_px, smooth=0.3) for _ in range(3)]
    picture: Frame = np.clip(120 + 50 * np.dstack(planes), 0, 255).astype(np.uint8)
    return picture


# In trainings.


def test_the_stream_never_repeats_a_photo_and_needs_no_list() -> None:
    collection = SyntheticPhotos()
    crops = collection.crops(size_px=64, flip=True, seed=5)
    (batch,) = Stream(len(collection), batch=4, start=3, stop=4, seed=5)
    drawn = [crops[key]["photo"] for key in batch]
    assert drawn[0].shape == (3, 64, 64)
    assert torch.equal(drawn[1], crops[0, 13]["photo"])
    assert len({photo.numpy().tobytes() for photo in drawn}) == 4


def test_a_run_notices_when_its_photos_are_made_up_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SyntheticPhotos().fingerprint
    assert before == SyntheticPhotos().fingerprint
    monkeypatch.setattr(photos, "synthetic_photo", clouds)
    assert SyntheticPhotos().fingerprint != before


def test_photos_to_judge_by_are_in_no_training() -> None:
    unseen = synthetic_photos(2, shorter_px=64)
    seen = [synthetic_photo(seed=seed, number=number, size_px=64) for seed in (0, 1) for number in range(3)]
    assert not any(np.array_equal(a, b) for a in unseen for b in seen)


def test_int8_is_calibrated_and_judged_on_different_ones() -> None:
    calibration, unseen = int8._divide(SYNTHETIC)
    assert (len(calibration), len(unseen)) == (int8.CALIBRATION_PHOTOS, int8.UNSEEN_PHOTOS)
    assert len({frame.tobytes() for frame in [*calibration, *unseen]}) == len(calibration) + len(unseen)


@pytest.mark.parametrize(
    ("given", "trained_on", "judged_on"),
    [
        ({}, SYNTHETIC, SYNTHETIC),
        ({"photos": "synthetic"}, SYNTHETIC, SYNTHETIC),
        ({"val_photos": Path("v")}, SYNTHETIC, "folder"),
        ({"photos": "./synthetic"}, "folder", "folder"),
        ({"photos": "p", "val_photos": Path("synthetic")}, "folder", "folder"),
    ],
)
def test_a_configuration_tells_what_photos_are(given: dict[str, str], trained_on: str, judged_on: str) -> None:
    config = TrainConfig(painting=Path("p.jpg"), **given)  # type: ignore[arg-type]
    assert config.kinds_of_photos == {"photos": trained_on, "val_photos": judged_on}
    assert TrainConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("now", [None, "synthetic", "./synthetic"])
def test_a_resumed_run_keeps_its_photos_unless_others_are_given(now: str | None) -> None:
    for then in ("synthetic", "./synthetic"):
        stored = TrainConfig(painting=Path("p.jpg"), photos=then)
        assert TrainConfig(resume=Path("run"), photos=now).resumed(stored).photos == (now or then)


def test_a_search_without_photos_makes_them_up(tmp_path: Path) -> None:
    config = tune.Config(paintings=["p.jpg"], out=tmp_path)
    assert config.training(Path("p.jpg")).made_up


@pytest.fixture(scope="module")
def trained(shared: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of six steps for which no photos were given, judged by one; and what it said."""
    run = tmp_path_factory.mktemp("runs") / "run"
    words = ["--steps", 6, "--checkpoint-every", 3, "--size", 64, "--stroke-size", 0.25, "--proof", 0, "--no-int8"]
    places = ["--vgg-weights", weights, "--out", run, "--no-flip"]
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as output:
        patch.setattr("allaprima.train.trainer.HELD_OUT", 1)
        said: list[str] = []
        output.setattr("allaprima.commands.train.console.print", lambda *texts: said.extend(map(str, texts)))
        painting = shared / "paintings" / "starry_night.jpg"
        assert main(["train", str(painting), *map(str, [*words, *places])]) == 0
    return run, "\n".join(said)


def test_a_training_needs_no_photos_and_says_what_it_was_trained_on(trained: tuple[Path, str]) -> None:
    run, said = trained
    assert "64 px, synthetic photos" in said
    assert what_they_are_worth() in said.splitlines()
    assert "on 1 unseen synthetic photos" in said
    report = json.loads((run / "report.json").read_text())
    assert report["configuration"]["photos"] == SYNTHETIC
    assert report["notes"] == ["--no-flip: ignored, synthetic photos are never mirrored"]
    are = {"photos": SYNTHETIC, "val_photos": SYNTHETIC}
    assert report["photos"] == {"used": 24, "skipped": {}, "are": are, "judged_on_unseen": True}
    card = read_card(run / "starry_night.onnx")
    assert card is not None
    assert (card.training["photos"], card.training["val_photos"]) == (SYNTHETIC, SYNTHETIC)
    assert read_picture(run / "preview.jpg").std() > 20


def test_it_resumes_to_the_same_curve(
    trained: tuple[Path, str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, through another process that makes them up."""
    monkeypatch.setattr("allaprima.train.trainer.HELD_OUT", 1)
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    (run / "checkpoints" / "step-0000006.safetensors").unlink()
    assert main(["train", "--resume", str(run)]) == 0
    assert losses(run) == losses(trained[0])
    before, after = (json.loads((folder / "report.json").read_text())["notes"] for folder in (trained[0], run))
    assert after == before  # no word of other photos


def test_a_folder_of_that_name_is_given_with_its_place(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    painting = str(shared / "paintings" / "starry_night.jpg")
    assert main(["train", painting, "--photos", "./synthetic"]) == 2
    assert "photo folder 'synthetic' does not exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
