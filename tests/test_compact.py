"""The compact loss network: its layers and file, trainings with it and without any VGG, and how it is made."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, RunCli
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from allaprima.errors import InputError
from allaprima.infer.stylefile import read_card
from allaprima.models.compact import CompactFeatures, Widths, layer_names, multiply_adds
from allaprima.models.features import weights_hash
from allaprima.models.transformer import build
from allaprima.models.vgg import ENVIRONMENT_VARIABLE, VGGFeatures, load_vgg, weights_at_hand
from allaprima.pictures import read_picture, write_picture
from allaprima.train import loss_network
from allaprima.train.checkpoint import load_checkpoint
from allaprima.train.config import TrainConfig
from allaprima.train.evaluate import YARDSTICK_LAYERS, YARDSTICK_PX, distances
from allaprima.train.loss_network import NO_YARDSTICK, load_loss_network, read_compact, write_compact

WIDTHS: Widths = ((4,), (6, 6), (8, 8), (10, 10))
SMALL = ("--size", 64, "--stroke-size", 0.25, "--from", "scratch", "--workers", 0, "--steps", 3, "--proof", 0)


@pytest.fixture
def untrained() -> CompactFeatures:
    torch.manual_seed(0)
    return CompactFeatures(YARDSTICK_LAYERS, WIDTHS)


@pytest.fixture
def shipped(untrained: CompactFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An untrained network in the place of the one that ships: random features are features too."""
    file = tmp_path / "compact.safetensors"
    monkeypatch.setattr(loss_network, "COMPACT_FILE", file)
    write_compact(untrained)
    return file


@pytest.fixture
def no_vgg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has never seen VGG's weights, and on which it shows when they are asked for."""
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a download was begun")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """A training of three steps on pictures that this test makes; but for the loss network and where it goes."""
    random = np.random.default_rng(0)
    places = [tmp_path / name for name in ("photos", "unseen")]
    for folder, count in zip(places, (6, 1), strict=True):
        folder.mkdir()
        for number in range(count):
            rough = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            picture = np.asarray(Image.fromarray(rough).resize((128, 128), Image.Resampling.BICUBIC))
            write_picture(folder / f"{number}.png", picture)
    painting = tmp_path / "painting.png"
    write_picture(painting, random.integers(0, 256, (96, 128, 3), dtype=np.uint8))
    return ["train", painting, "--photos", places[0], "--val-photos", places[1], *SMALL]


def test_layers_stand_where_those_of_vgg_do(untrained: CompactFeatures) -> None:
    vgg, random = VGGFeatures(YARDSTICK_LAYERS), np.random.default_rng(0)
    for height, width in random.integers(16, 90, (8, 2)).tolist():
        picture = torch.rand(2, 3, height, width)
        sizes = [{name: a.shape[2:] for name, a in network(picture).items()} for network in (untrained, vgg)]
        assert sizes[0] == sizes[1]
    channels = {name: a.shape[1] for name, a in untrained(torch.rand(1, 3, 16, 16)).items()}
    assert channels == {"relu1_1": 4, "relu2_1": 6, "relu3_1": 8, "relu4_1": 10, "relu4_2": 10}


def test_what_no_layer_needs_is_left_out() -> None:
    names = [name for name, _ in CompactFeatures(["relu2_1", "relu1_1"], WIDTHS).features.named_children()]
    assert names == ["conv1_1", "relu1_1", "conv2_1", "relu2_1"]
    assert layer_names(WIDTHS)[-1] == "relu4_2"
    with pytest.raises(InputError, match="compact layer: got 'relu1_2', expected one of relu1_1, relu2_1"):
        CompactFeatures(["relu1_2"], WIDTHS)


@pytest.mark.parametrize(
    "widths", [((4,), (6,), (8,)), ((4,), (), (8,), (9,)), ((4,) * 5, (6,), (8,), (9,)), ((4,), (6,), (8,), (10**6,))]
)
def test_widths_that_no_such_network_has(widths: Widths) -> None:
    with pytest.raises(ValueError, match="widths: got"):
        CompactFeatures(["relu1_1"], widths)


def test_multiply_adds_by_hand() -> None:
    first, second = 3 * 2 * 9 * 16 * 24, 2 * 5 * 16 * 8 * 12
    third, last = 5 * 1 * 16 * 4 * 6 + 1 * 1 * 9 * 4 * 6, 1 * 1 * 16 * 2 * 3
    assert multiply_adds(((2,), (5,), (1, 1), (1,)), 16, 24) == first + second + third + last


def test_a_file_gives_back_its_network(untrained: CompactFeatures, shipped: Path) -> None:
    read, picture = read_compact(YARDSTICK_LAYERS), torch.rand(1, 3, 40, 56)
    assert read.widths == WIDTHS
    for layer, activation in untrained(picture).items():
        torch.testing.assert_close(read(picture)[layer], activation, atol=1e-2, rtol=1e-2)
    features, identity = load_loss_network("compact", ["relu2_1"])
    assert identity == {"architecture": "compact", "sha256": weights_hash(features)}
    with safe_open(shipped, framework="pt") as opened:
        assert opened.get_tensor("features.conv1_1.weight").dtype == torch.float16
    with pytest.raises(InputError, match="compact layer: got 'relu9_9'"):
        read_compact(["relu9_9"])


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


def rewritten(file: Path, metadata: dict[str, str], **changed: Tensor) -> None:
    with safe_open(file, framework="pt") as opened:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        known = opened.metadata()
    save_file({name: value for name, value in (tensors | changed).items() if value.numel()}, file, known | metadata)


@pytest.mark.parametrize(
    "spoil",
    [
        Path.unlink,
        cut_off,
        lambda file: file.write_bytes(b""),
        lambda file: rewritten(file, {"format": "another/1"}),
        lambda file: rewritten(file, {"widths": "[["}),
        lambda file: rewritten(file, {"widths": "7"}),
        lambda file: rewritten(file, {"widths": "[[4], [6, 6], [8, 8], [10, 1000000000]]"}),
        lambda file: rewritten(file, {"widths": "[[4], [6, 6], [8, 8], [10, 11]]"}),
        lambda file: rewritten(file, {"widths": '[[4], [6, 6], [8, 8], [10, "x"]]'}),
        lambda file: rewritten(file, {}, **{"features.conv3_1.bias": torch.zeros(0)}),
    ],
)
def test_a_file_that_cannot_be_used(shipped: Path, spoil: Callable[[Path], object]) -> None:
    spoil(shipped)
    with pytest.raises(InputError, match="missing or damaged: make it with scripts/make_compact") as caught:
        read_compact(YARDSTICK_LAYERS)
    assert "\n" not in str(caught.value)


def test_vgg_is_at_hand_where_it_can_be_had_without_a_download(
    no_vgg: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not weights_at_hand("vgg19")
    assert weights_at_hand("vgg19", Path("given.pth"))
    downloads = tmp_path / "torch" / "hub" / "checkpoints"
    downloads.mkdir(parents=True)
    (downloads / "vgg16-397923af.pth").touch()
    assert [weights_at_hand("vgg16"), weights_at_hand("vgg19")] == [True, False]
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "named.pth")
    assert weights_at_hand("vgg19")


def test_a_training_without_any_vgg(
    words: list[object], shipped: Path, no_vgg: None, tmp_path: Path, run_here: RunCli
) -> None:
    run = tmp_path / "run"
    done = run_here(*words, "--out", run, "--proof", 2)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"allaprima: {NO_YARDSTICK}\n") == 1
    report = json.loads((run / "report.json").read_text())
    assert report["figures"] is None
    assert report["notes"] == [NO_YARDSTICK]
    assert report["loss_network"] == {"architecture": "compact", "sha256": weights_hash(read_compact(YARDSTICK_LAYERS))}
    cards = [read_card(run / name) for name in ("painting.onnx", "painting-int8.onnx")]
    for card in cards:
        assert card is not None
        assert card.loss_network == report["loss_network"]
        assert "J" not in card.figures
    assert cards[1] is not None
    assert 0.9 < cards[1].figures["int8_J_ratio"] < 1.1  # by the loss network


def test_nothing_is_sent_or_fetched_for_a_training(words: list[object], shipped: Path, tmp_path: Path) -> None:
    """By default, in a process that is killed at its first network socket."""
    code = (
        "from pathlib import Path; from allaprima.train import loss_network; from allaprima.cli import main\n"
        f"loss_network.COMPACT_FILE = Path({str(shipped)!r})\n"
        f"raise SystemExit(main({[*map(str, words), '--no-int8', '--out', 'run']!r}))"
    )
    environment = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "isolated.py"), code]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != -signal.SIGSYS
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "painting.onnx").is_file()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--vgg-weights", "none.pth"], "VGG weights 'none.pth' (--vgg-weights) do not exist: check the path"),
        (
            ["--average-pooling"],
            "--average-pooling: 'compact' does not pool: leave it out, or give --loss-network vgg19",
        ),
        (["--content-layer", "relu5_1"], "compact layer: got 'relu5_1', expected one of relu1_1"),
    ],
)
def test_settings_that_do_not_go_with_it(
    words: list[object], shipped: Path, no_vgg: None, run_here: RunCli, tmp_path: Path, more: list[str], message: str
) -> None:
    done = run_here(*words, "--out", tmp_path / "run", "--loss-network", "compact", *more)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_knows_its_loss_network(
    words: list[object], shipped: Path, no_vgg: None, run_here: RunCli, tmp_path: Path
) -> None:
    """It is not resumed with another one."""
    run = tmp_path / "run"
    assert run_here(*words, "--out", run, "--loss-network", "compact", "--no-int8").returncode == 0
    assert load_checkpoint(run).config.loss_network == "compact"
    write_compact(CompactFeatures(YARDSTICK_LAYERS, WIDTHS))
    done = run_here("train", "--resume", run)
    assert done.returncode == 2
    assert "the compact weights are not those of this run: train anew" in done.stderr


def test_a_search_needs_the_yardstick(
    words: list[object], shipped: Path, no_vgg: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = import_module("allaprima.train.trials")
    painting, photos = words[1], words[3]
    config = TrainConfig(
        painting=painting,  # type: ignore[arg-type]
        photos=str(photos),
        val_photos=words[5],  # type: ignore[arg-type]
        out=tmp_path / "run",
        size=64,
        stroke_size=0.25,
        loss_network="compact",
    )
    with pytest.raises(InputError, match="a search is judged by VGG-19, which is not here: give --vgg-weights"):
        trials.measure_goal({"painting": config})


@pytest.fixture
def make_compact(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with sessions and pictures as small as can be."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script, examples = import_module("make_compact"), import_module("compact_examples")
    settings: dict[str, object] = {"CROP_PX": 64, "STEPS": 10, "STEPS_MISLED": 10, "PAINTED": 2, "OTHERS": 1}
    settings |= {"STROKE_SIZES": (0.25,), "ADAM_STEPS": 1}
    for name, value in settings.items():
        monkeypatch.setattr(examples, name, value)
    for name, value in {"SHAPES": {"usual": WIDTHS}, "GROUPS": 1, "BATCH": 2, "SAVE_EVERY": 2, "LINE_EVERY": 2}.items():
        monkeypatch.setattr(script, name, value)
    return script


def test_gradients_reach_all_pixels_evenly(make_compact: ModuleType) -> None:
    """As from VGG-19; a strided network whose kernels overlap unevenly draws a grid."""
    examples = import_module("compact_examples")
    torch.manual_seed(0)
    features = CompactFeatures(YARDSTICK_LAYERS, ((16,), (48, 48), (96, 96), (160, 160)))
    photo, picture = torch.rand(2, 4, 3, 96, 96)
    with torch.no_grad():
        grams = examples.grams_of(features, torch.rand(1, 3, 96, 96))
    for pull in examples.pulls(examples.judge(features, grams, photo, picture.requires_grad_()), picture):
        assert (pull != 0).all()
        assert make_compact.unevenness(pull) < 0.12
    stripes = torch.zeros(1, 3, 32, 32)
    stripes[..., ::2] = 1
    assert make_compact.unevenness(torch.ones(1, 3, 32, 32)) == 0
    assert make_compact.unevenness(stripes) > 0.9


def test_a_direction_can_be_learnt(make_compact: ModuleType, untrained: CompactFeatures) -> None:
    """The slope of 1 - cosine along a weight, through both backward passes, is what two nearby values say."""
    examples = import_module("compact_examples")
    photo, picture, wanted = torch.rand(3, 2, 3, 32, 32)
    weight = untrained.requires_grad_(True).features.get_submodule("conv3_1").get_parameter("weight")

    def off() -> Tensor:
        values = examples.judge(untrained, examples.grams_of(untrained, photo[:1]), photo, picture.requires_grad_())
        _, style = examples.pulls(values, picture, create_graph=True)
        cosines: Tensor = make_compact.cosine(style, wanted - 0.5, 2)
        return 1 - cosines.mean()

    (slope,) = torch.autograd.grad(off(), weight)
    towards, step = slope / slope.norm(), 1e-3
    with torch.no_grad():
        weight.add_(step * towards)
    above = off().item()
    with torch.no_grad():
        weight.sub_(2 * step * towards)
    below = off().item()
    assert (above - below) / (2 * step) == pytest.approx(slope.norm().item(), rel=0.1)


def test_figures_by_hand(make_compact: ModuleType) -> None:
    first = torch.tensor([1.0, 2, 3, 4])
    assert make_compact.rank_correlation(first, first.exp()) == pytest.approx(1)
    assert make_compact.rank_correlation(first, -first) == pytest.approx(-1)
    pull = torch.rand(2, 3, 8, 8) - 0.5
    assert make_compact.cosine(pull, 3 * pull, 1).tolist() == pytest.approx([1, 1])
    assert make_compact.cosine(pull, -pull, 4).tolist() == pytest.approx([-1, -1])


def test_sessions_take_turns_and_kept_out_paintings_none(make_compact: ModuleType, tmp_path: Path) -> None:
    examples = import_module("compact_examples")
    planned = examples.sessions([tmp_path / name for name in "abc"], 6 * 7)
    assert [session.painting.name for session in planned] == ["a", "b", "c"] * 2
    starts = {(session.painting.name, session.start) for session in planned}
    assert len(starts) == 6
    assert planned == examples.sessions([tmp_path / name for name in "abc"], 6 * 7)


def test_a_network_is_taught_resumed_measured_and_shipped(
    make_compact: ModuleType,
    few_paintings: Path,
    shared: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "shipped.safetensors"
    for module in (make_compact, loss_network):
        monkeypatch.setattr(module, "COMPACT_FILE", file)
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted((shared / "photos" / "val").glob("*.jpg"))[:3]:
        (photos / photo.name).symlink_to(photo)

    def run(out: Path, *more: object) -> None:
        words = [few_paintings, "--photos", photos, "--vgg-weights", weights, "--out", out, "--examples", 14, *more]
        monkeypatch.setattr(sys, "argv", ["make_compact", *map(str, words)])
        make_compact.main()

    run(tmp_path / "whole", "--steps", 4)
    found = sorted((tmp_path / "whole" / "examples").iterdir())
    assert [path.name for path in found] == ["session-0000.safetensors", "session-0001.safetensors"]
    with safe_open(found[0], framework="pt") as opened:
        assert opened.metadata()["painting"] == "the_kiss.jpg"
        shapes = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
        assert opened.get_tensor("content_pull").float().square().mean().item() == pytest.approx(1, rel=0.01)
        assert all(opened.get_tensor(name).isfinite().all() for name in shapes)
    assert shapes["picture"] == shapes["style_pull"] == [7, 3, 64, 64]
    assert (shapes["values"], shapes["sizes"]) == ([7, 5], [7, 2])
    figures = json.loads((tmp_path / "whole" / "students" / "usual" / "figures.json").read_text())
    assert -1 <= figures["cosine total 4"] <= 1
    assert figures["kB"] == pytest.approx(
        2e-3 * sum(p.numel() for p in CompactFeatures(YARDSTICK_LAYERS, WIDTHS).parameters())
    )
    assert "│ usual " in capsys.readouterr().out

    shutil.copytree(tmp_path / "whole" / "examples", tmp_path / "cut" / "examples")
    step = make_compact.Lesson.train_step

    def stopped(lesson: Any) -> dict[str, float]:
        if lesson.step == 3:
            raise KeyboardInterrupt
        parts: dict[str, float] = step(lesson)
        return parts

    monkeypatch.setattr(make_compact.Lesson, "train_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", "--steps", 4)
    monkeypatch.setattr(make_compact.Lesson, "train_step", step)
    with pytest.raises(InputError, match=r"was begun with .*: give the same flags, or another --label"):
        run(tmp_path / "cut", "--steps", 5)
    run(tmp_path / "cut", "--steps", 4, "--ship")
    learnt = [tmp_path / name / "students" / "usual" / "state.safetensors" for name in ("whole", "cut")]
    with safe_open(learnt[0], framework="pt") as whole, safe_open(learnt[1], framework="pt") as cut:
        for name in whole.keys():  # noqa: SIM118
            assert torch.equal(whole.get_tensor(name), cut.get_tensor(name)), name
        weight = cut.get_tensor("student.features.conv4_2.weight")
    kept = read_compact(YARDSTICK_LAYERS).features.get_submodule("conv4_2").get_parameter("weight")
    torch.testing.assert_close(kept.detach(), weight, atol=1e-3, rtol=1e-3)

    shipped = read_compact(YARDSTICK_LAYERS).state_dict()
    run(tmp_path / "cut", "--steps", 1, "--rate", 0, "--refine", 14, "--label", "second")
    its_own = {path.name[:12] for path in (tmp_path / "cut" / "examples").glob("*-*-*")}
    assert its_own == {"session-0000", "session-0001"}
    with safe_open(tmp_path / "cut" / "students" / "usual-second" / "state.safetensors", framework="pt") as second:
        for name, tensor in shipped.items():
            assert torch.equal(second.get_tensor(f"student.{name}"), tensor), name
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", "--refine", 14)


def test_trainings_with_either_network_are_judged_by_vgg(
    words: list[object],
    shipped: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    places = ["--vgg-weights", weights, "--out", tmp_path / "runs", "--steps", 2, "--last", 1, "--size", 64]
    monkeypatch.setattr(sys, "argv", ["loss_networks", *map(str, [*words[1:6], *places])])
    import_module("loss_networks").main()
    (row,) = (line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│ painting "))
    k, which = float(row[1]), f"compact-{weights_hash(read_compact(YARDSTICK_LAYERS))[:8]}"
    runs = [tmp_path / "runs" / f"painting-{name}" for name in ("vgg19", which, f"{which}-1-vgg19-1", f"{which}-1")]
    *reports, begun = (json.loads((run / "report.json").read_text()) for run in runs)
    assert [report["notes"] for report in reports] == [[], [], []]
    assert [report["loss_network"]["architecture"] for report in reports] == ["vgg19", "compact", "vgg19"]
    assert begun["loss_network"]["architecture"] == "compact"
    assert reports[2]["configuration"]["from_"] == str(runs[3])
    j = [report["figures"]["content"] + k * report["figures"]["style"] for report in reports]
    found = [[float(part.strip(") ")) for part in cell.split("(")] for cell in row[3:]]
    assert found == [pytest.approx([value, value / j[0]], rel=1e-2) for value in j]
    checkpoint, network = load_checkpoint(runs[1]), build("realtime")
    checkpoint.fill(network)
    vgg, _ = load_vgg(YARDSTICK_LAYERS, weights=weights)
    painting, photo = read_picture(words[1]), read_picture(words[5] / "0.png")  # type: ignore[arg-type, operator]
    (expected,) = distances(network.eval(), vgg, painting, [photo], shorter_px=YARDSTICK_PX)
    assert reports[1]["figures"]["content"] == pytest.approx(expected.content, rel=1e-3)
    assert reports[1]["figures"]["style"] == pytest.approx(expected.style, rel=1e-3)


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that paints it, for a small one."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = import_module("make_demo_painting")
    monkeypatch.setattr(script, "WIDTH_PX", 160)
    monkeypatch.setattr(script, "HEIGHT_PX", 128)
    return script


def test_the_lake_is_always_the_same_and_full_of_strokes(lake: ModuleType) -> None:
    first = lake.demo_painting()
    assert (first.shape, first.dtype) == ((128, 160, 3), np.uint8)
    assert (first == lake.demo_painting()).all()
    assert first.std() > 40
    assert np.abs(np.diff(first.astype(int), axis=0)).mean() > 8


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return import_module("demo")


def test_the_demo_trains_without_a_download(
    demo: ModuleType,
    lake: ModuleType,
    words: list[object],
    shipped: Path,
    no_vgg: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A miniature of it, with painting the clip left out: that stands in test_scripts.py."""
    painted = list[argparse.Namespace]()
    monkeypatch.setattr(demo, "demo", lambda style, out: painted.append(argparse.Namespace(style=style, out=out)))
    out, small = tmp_path / "out", [*map(str, [*words[4:], "--no-int8"])]
    monkeypatch.setattr(sys, "argv", ["demo.py", "--train", "--out", str(out), *small])
    assert demo.main() == 0
    assert read_picture(out / "demo_painting.png").shape == (128, 160, 3)
    report = json.loads((out / "demo_training" / "report.json").read_text())
    assert report["photos"]["are"]["photos"] == "synthetic"
    assert report["loss_network"]["architecture"] == "compact"
    assert Path(painted[0].style).is_file()
    assert demo.main() == 0  # it is trained, and painted with again
    assert len(painted) == 2
