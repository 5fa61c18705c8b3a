"""The slow method: sizes and memory by hand, the descent on an untrained VGG, and the command on real pictures."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, RunCli
from PIL import Image
from torch import Tensor

from allaprima.cli import main
from allaprima.errors import InputError
from allaprima.models.vgg import VGGFeatures
from allaprima.pictures import read_picture
from allaprima.train import optimize
from allaprima.train.config import OptimizeConfig
from allaprima.train.losses import PerceptualLoss
from allaprima.train.optimize import (
    FORMAT,
    HISTORY,
    Descent,
    OptimizerName,
    PictureLoss,
    full_size,
    memory_bytes,
    scale_sizes,
    white_noise,
)
from allaprima.train.photos import resize, to_frame
from allaprima.train.tensor_files import read_tensors, write_tensors

LAYERS = ("relu1_1", "relu2_1")
Words = list[object]


@pytest.fixture
def objective() -> PictureLoss:
    """Of an untrained VGG-19: random features are features too."""
    torch.manual_seed(0)
    vgg = VGGFeatures(LAYERS)
    loss = PerceptualLoss(
        vgg(torch.rand(1, 3, 24, 24)),
        content_layer="relu2_1",
        style_layers=dict.fromkeys(LAYERS, 1.0),
        style_weight=10,
        tv_weight=0,
        grid_weight=0,
    )
    return PictureLoss(vgg, loss, torch.rand(1, 3, 20, 28))


@pytest.fixture(scope="session")
def words(shared: Path, weights: Path) -> Words:
    """A miniature, but for where it goes: two sizes, 40x60 and 64x96 px."""
    photo = sorted((shared / "photos" / "val").glob("*.jpg"))[0]
    painting = shared / "paintings" / "starry_night.jpg"
    return ["optimize", photo, painting, "--vgg-weights", weights, "--size", 96, "--scales", 2, "--steps", 6]


@pytest.fixture(scope="session")
def unbroken(words: Words, run_cli: RunCli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes out when nothing disturbs it."""
    output = tmp_path_factory.mktemp("optimize") / "painted.png"
    done = run_cli(*words, "-o", output)
    assert done.returncode == 0, done.stderr
    return output


def call(*words: object) -> int:
    return main([str(word) for word in words])


# Sizes and memory.


@pytest.mark.parametrize(
    ("photo", "size", "painted"),
    [
        ((500, 1000), None, (256, 512)),
        ((300, 200), None, (300, 200)),  # never larger unless asked for
        ((300, 200), 600, (600, 400)),
        ((333, 999), 100, (33, 100)),
    ],
)
def test_the_longer_side_is_the_size(photo: tuple[int, int], size: int | None, painted: tuple[int, int]) -> None:
    assert full_size(*photo, size) == painted


def test_a_picture_too_thin() -> None:
    with pytest.raises(InputError, match="would be 100x10 px, expected at least 16 px: give a larger --size"):
        full_size(200, 2000, 100)


@pytest.mark.parametrize(
    ("size", "scales", "sizes"),
    [
        ((256, 341), None, [(256, 341)]),
        ((100, 100), None, [(100, 100)]),
        ((384, 512), None, [(240, 320), (384, 512)]),
        ((1024, 1024), None, [(250, 250), (400, 400), (640, 640), (1024, 1024)]),
        ((64, 160), 2, [(40, 100), (64, 160)]),
        ((2000, 3000), 1, [(2000, 3000)]),
    ],
)
def test_from_coarse_to_fine(size: tuple[int, int], scales: int | None, sizes: list[tuple[int, int]]) -> None:
    assert scale_sizes(*size, scales) == sizes


@pytest.mark.parametrize("shorter", range(64, 4000, 37))
def test_the_first_size_is_near_256_px(shorter: int) -> None:
    sizes = scale_sizes(shorter, 2 * shorter, None)
    assert sizes[-1] == (shorter, 2 * shorter)
    assert shorter <= 330 if len(sizes) == 1 else 195 < sizes[0][0] < 330


def test_more_scales_than_pixels() -> None:
    with pytest.raises(InputError, match=r"--scales: got 9, .* shorter side of 1 px, expected at least 16"):
        scale_sizes(64, 64, 9)


def test_the_memory_grows_with_pixels_history_and_depth() -> None:
    shallow, deep = VGGFeatures(["relu1_1"]), VGGFeatures(["relu4_2"])
    sides = (64, 100, 256, 500, 2000)
    estimates = [memory_bytes(deep, side, side, "lbfgs") for side in sides]
    assert estimates == sorted(estimates)
    for side, estimate in zip(sides, estimates, strict=True):
        adam = memory_bytes(deep, side, side, "adam")
        assert estimate - adam == 4 * 3 * side**2 * (2 * HISTORY + 4)
        assert memory_bytes(shallow, side, side, "adam") < adam


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak of the memory")
def test_the_memory_is_what_was_said(tmp_path: Path) -> None:
    """Peak of a real step at 384x384 px, of a process of its own, without the program itself."""
    code = """
import re, torch
from pathlib import Path
from allaprima.models.vgg import VGGFeatures
from allaprima.train.evaluate import YARDSTICK_LAYERS
from allaprima.train.config import CONTENT_LAYER, STYLE_LAYERS
from allaprima.train.losses import PerceptualLoss
from allaprima.train.optimize import Descent, PictureLoss, memory_bytes
def now(kind):
    return 1024 * int(re.search(kind + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
vgg = VGGFeatures(YARDSTICK_LAYERS).to(memory_format=torch.channels_last)
before = now("VmRSS")
with torch.no_grad():
    painting = vgg(torch.rand(1, 3, 64, 64))
loss = PerceptualLoss(painting, content_layer=CONTENT_LAYER, style_layers=STYLE_LAYERS,
                      style_weight=10, tv_weight=0.05, grid_weight=0)
x = torch.rand(1, 3, 384, 384)
Descent(PictureLoss(vgg, loss, x), x, "adam").step()
print(now("VmHWM") - before, memory_bytes(vgg, 384, 384, "adam"))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    taken, estimate = map(int, done.stdout.split())
    assert 0.6 < taken / estimate < 1.3


# The descent.


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_loss_falls(objective: PictureLoss, optimizer: OptimizerName) -> None:
    descent = Descent(objective, torch.full((1, 3, 20, 28), 0.5), optimizer)
    curve = [descent.losses()["total"]] + [descent.step()["total"] for _ in range(12)]
    assert curve[-1] < 0.8 * curve[0]
    if optimizer == "lbfgs":
        assert curve == sorted(curve, reverse=True)


def test_the_photo_itself_has_no_content_loss(objective: PictureLoss) -> None:
    torch.manual_seed(0)
    photo = torch.rand(1, 3, 20, 28)
    losses = Descent(PictureLoss(objective.vgg, objective.loss, photo), photo, "adam").losses()
    assert losses["content"] == 0
    assert losses["total"] == pytest.approx(10 * losses["style"])


def test_what_is_optimised_is_what_a_screen_shows(objective: PictureLoss) -> None:
    bright = torch.full((1, 3, 20, 28), 3.0)
    assert objective(bright)["total"] == objective(bright.clamp(0, 1))["total"]


def test_no_look_is_taken_twice(objective: PictureLoss, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Tensor] = []
    forward = objective.forward

    def look(picture: Tensor) -> dict[str, Tensor]:
        looks.append(picture.detach().clone())
        return forward(picture)

    monkeypatch.setattr(objective, "forward", look)
    descent = Descent(objective, torch.full((1, 3, 20, 28), 0.5), "adam")
    for _ in range(5):
        descent.step()
        descent.losses()
    assert len(looks) == 6


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("stop", [0, 1, 2, 6])
def test_a_stopped_descent_goes_on_as_if_it_had_not(
    objective: PictureLoss, optimizer: OptimizerName, stop: int, tmp_path: Path
) -> None:
    start = white_noise(torch.empty(1, 3, 20, 28), 3)
    whole, first = Descent(objective, start, optimizer), Descent(objective, start, optimizer)
    expected = [whole.step()["total"] for _ in range(10)]
    for _ in range(stop):
        first.step()
    write_tensors(tmp_path / "s.safetensors", first.pack(), {})
    second = Descent(objective, torch.zeros_like(start), optimizer)
    second.unpack(read_tensors(tmp_path / "s.safetensors")[1])
    assert [second.step()["total"] for _ in range(10 - stop)] == expected[stop:]
    assert torch.equal(second.x, whole.x)


def test_the_history_has_an_end(objective: PictureLoss) -> None:
    descent = Descent(objective, torch.full((1, 3, 20, 28), 0.5), "lbfgs")
    for _ in range(HISTORY + 5):
        descent.step()
    assert sum(key.startswith("optimizer.0.old_dirs.") for key in descent.pack()) == HISTORY


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_loss_that_is_no_number_leaves_the_picture(objective: PictureLoss, optimizer: OptimizerName) -> None:
    descent = Descent(objective, torch.full((1, 3, 20, 28), 0.5), optimizer)
    descent.step()
    good = descent.x.detach().clone()
    objective.loss.style_weight = 1e39  # infinite in float32
    descent._at = None
    with pytest.raises(FloatingPointError, match="not a number"):
        descent.step()
    assert torch.equal(descent.x, good)


def test_noise_is_that_of_its_seed() -> None:
    like = torch.empty(1, 3, 40, 50)
    assert torch.equal(white_noise(like, 1), white_noise(like, 1))
    assert not torch.equal(white_noise(like, 1), white_noise(like, 2))
    assert white_noise(like, 1).mean().item() == pytest.approx(0.5, abs=0.02)


# Settings.


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"photo": None}, "PHOTO is missing"),
        ({"painting": None}, "PAINTING is missing"),
        ({"output": None}, "--output is missing"),
        ({"size": 15}, "--size: got 15, expected at least 16"),
        ({"scales": 0}, "--scales: got 0, expected at least 1"),
        ({"steps": 0}, "--steps: got 0, expected at least 1"),
        ({"show_every": -1}, "--show-every: got -1, expected at least 0"),
        ({"style_weight": -1.0}, "--style-weight: got -1.0"),
        ({"style_weight": float("nan")}, "--style-weight: got nan"),
        ({"style_layers": {}}, "--style-layers: got none"),
    ],
)
def test_settings_that_cannot_be_used(values: dict[str, Any], message: str) -> None:
    given = {"photo": Path("p.jpg"), "painting": Path("q.jpg"), "output": Path("o.png")} | values
    with pytest.raises(InputError, match=re.escape(message)):
        OptimizeConfig(**given)


def test_settings_survive_a_file() -> None:
    config = OptimizeConfig(photo=Path("p.jpg"), painting=Path("q.jpg"), output=Path("o.png"), scales=3)
    assert OptimizeConfig.from_json(config.to_json()) == config


# The command.


def test_a_photo_is_painted(unbroken: Path, words: Words) -> None:
    painted, photo = read_picture(unbroken), Image.open(str(words[1])).convert("RGB")
    assert max(painted.shape) == 96
    assert painted.shape[1] / painted.shape[0] == pytest.approx(photo.width / photo.height, rel=0.02)
    small = np.asarray(photo.resize((painted.shape[1], painted.shape[0])))
    assert np.abs(painted.astype(int) - small).mean() > 10
    assert list(unbroken.parent.iterdir()) == [unbroken]


def test_the_photo_s_colours_are_kept(words: Words, tmp_path: Path) -> None:
    output = tmp_path / "painted.png"
    assert call(*words, "--scales", 1, "--size", 64, "--steps", 4, "--keep-colours", "-o", output) == 0
    painted, photo = read_picture(output), read_picture(Path(str(words[1])))
    photo = resize(photo, *painted.shape[:2])
    both = [cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).astype(int) for picture in (painted, photo)]
    luma, *chroma = (abs(both[0] - both[1])[..., channel] for channel in range(3))
    assert luma.mean() > 3
    for difference in chroma:
        assert np.median(difference) <= 1  # where nothing is clipped


def test_the_same_seed_gives_the_same_picture(words: Words, tmp_path: Path) -> None:
    pictures = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        more = ["--init", "noise", "--seed", seed, "--steps", 2, "--scales", 1, "--size", 64]
        assert call(*words, *more, "-o", tmp_path / f"{name}.png") == 0
        pictures.append(read_picture(tmp_path / f"{name}.png"))
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()


def test_ctrl_c_keeps_what_is_done_and_resume_ends_as_if_unbroken(
    words: Words, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "painted.png"
    command = [sys.executable, "-m", "allaprima", *map(str, words), "-o", str(output), "--show-every", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not output.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=120)
    state = tmp_path / "painted.png.safetensors"
    assert process.returncode == 130, errors
    assert f"go on with: allaprima optimize --resume {state}" in said
    assert "Traceback" not in errors
    assert {p.name for p in tmp_path.iterdir()} == {output.name, state.name}
    assert read_picture(output).shape != read_picture(unbroken).shape  # it stopped at the smaller size
    assert call("optimize", "--resume", state, "--steps", 9) == 0
    assert "--steps: ignored, a resumed picture keeps its settings" in capsys.readouterr().err
    np.testing.assert_array_equal(read_picture(output), read_picture(unbroken))
    assert list(tmp_path.iterdir()) == [output]


def test_a_loss_that_is_no_number_ends_with_a_line_and_the_last_good_picture(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step, output = Descent.step, tmp_path / "painted.png"
    good: list[np.ndarray[Any, Any]] = []

    def fails_in_the_third(self: Descent) -> dict[str, float]:
        if len(good) == 2:
            self.objective.loss.style_weight = float("inf")
            self._at = None
        losses = step(self)
        good.append(to_frame(self.x))
        return losses

    monkeypatch.setattr(Descent, "step", fails_in_the_third)
    assert call(*words, "-o", output) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert re.search(r"stopped after step 2 of 6 at \d+x\d+ px: the loss is not a number any more", errors)
    np.testing.assert_array_equal(read_picture(output), good[1])


def test_a_loss_that_was_never_a_number_writes_nothing(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words, "-o", tmp_path / "painted.png", "--style-weight", "1e39") == 2
    assert "not a number" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("colour", ["black", "white", "teal"])
def test_a_flat_painting(words: Words, tmp_path: Path, colour: str) -> None:
    painting, output = tmp_path / "flat.png", tmp_path / "painted.png"
    Image.new("RGB", (64, 64), colour).save(painting)
    flat = [word if word != words[2] else painting for word in words]
    assert call(*flat, "--scales", 1, "--size", 64, "--steps", 3, "-o", output) == 0
    assert read_picture(output).std() > 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--size", 1_000_000],
            r"1000000x\d+ px would take about [\d.]+ GB of memory, [\d.]+ are free: give a smaller",
        ),
        (["--size", 16], "expected at least 16 px: give a larger --size"),
        (["--scales", 7], "--scales: got 7"),
        (["--vgg-weights", "none.pth"], "VGG weights 'none.pth' (--vgg-weights) do not exist"),
        (["--content-layer", "relu9_9"], "got 'relu9_9', expected one of"),
        (["-o", "painted.gif"], "output 'painted.gif' ends in '.gif'"),
        (["-o", "nowhere/painted.png"], "output folder 'nowhere' does not exist"),
        (["--resume", "nowhere.safetensors"], "--resume: 'nowhere.safetensors' does not exist"),
    ],
)
def test_what_cannot_be_painted(
    words: Words, more: Words, message: str, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*words, "-o", "painted.png", *more) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    pattern = message if "\\d" in message else re.escape(message)
    assert re.search(pattern, errors), errors
    assert list(tmp_path.iterdir()) == []


def test_without_meminfo_nothing_is_refused(words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize, "free_bytes", lambda device: None)
    config = OptimizeConfig(
        photo=Path(str(words[1])),
        painting=Path(str(words[2])),
        output=tmp_path / "o.png",
        size=64,
        vgg_weights=words[4],  # type: ignore[arg-type]
    )
    assert optimize.Optimization(config).memory_bytes > 0


def test_a_painting_too_large_for_the_memory_is_refused(words: Words, tmp_path: Path) -> None:
    config = OptimizeConfig(
        photo=Path(str(words[1])),
        painting=Path(str(words[2])),
        output=tmp_path / "o.png",
        size=64,
        style_size=100_000,
        vgg_weights=words[4],  # type: ignore[arg-type]
    )
    with pytest.raises(InputError, match=r"GB of memory, .* are free: give a smaller --size or --style-size"):
        optimize.Optimization(config)


def cut_short(state: Path) -> None:
    state.write_bytes(state.read_bytes()[:2000])


def of_something_else(state: Path) -> None:
    write_tensors(state, {"picture": torch.zeros(1)}, {"format": "another"})


def without_words(state: Path) -> None:
    write_tensors(state, {"picture": torch.zeros(1)}, {"format": FORMAT})


def of_another_size(state: Path) -> None:
    metadata, tensors = read_tensors(state)
    write_tensors(state, tensors | {"picture": torch.zeros(1, 3, 7, 7)}, metadata)


def of_a_further_scale(state: Path) -> None:
    metadata, tensors = read_tensors(state)
    write_tensors(state, tensors, metadata | {"state": metadata["state"].replace('"scale": 0', '"scale": 5')})


def of_another_photo(state: Path) -> None:
    metadata, tensors = read_tensors(state)
    write_tensors(state, tensors, metadata | {"inputs": "0"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_short, "is damaged: start anew"),
        (of_something_else, "is not what Ctrl-C leaves of"),
        (without_words, "is damaged: start anew"),
        (of_another_size, "is damaged: start anew"),
        (of_a_further_scale, "is damaged: start anew"),
        (of_another_photo, "was of another photo, painting or --vgg-weights"),
    ],
)
def test_a_state_that_cannot_be_gone_on_from(
    words: Words,
    spoil: Callable[[Path], None],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo, painting, weights = (Path(str(words[n])) for n in (1, 2, 4))
    config = OptimizeConfig(photo=photo, painting=painting, output=tmp_path / "o.png", size=64, vgg_weights=weights)
    state = optimize.Optimization(config).save_state()
    spoil(state)
    assert call("optimize", "--resume", state) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert message in errors
    assert list(tmp_path.iterdir()) == [state]
