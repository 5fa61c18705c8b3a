"""scripts/: the demo in a small copy, and when the shell scripts install what."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import tiny
import torch
from clips import make_clip
from tables import rows_of

from allaprima.pictures import read_picture, write_picture

ROOT = Path(__file__).parent.parent
KINDS = ("real", "synthetic")
SCRIPTS = ("demo", "test", "check", "build", "bench")
SHELL_SCRIPTS = [*(ROOT / "scripts" / name for name in SCRIPTS), ROOT / ".ci" / "run"]


def demo(out: Path, style: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--style", str(style), "--out", str(out)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(words, env=settings, capture_output=True, text=True, check=False)


def decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_demo_paints_its_clip(tmp_path: Path) -> None:
    done = demo(tmp_path / "out", tiny.frame_style(tmp_path / "negative.onnx", name="negative"))
    assert done.returncode == 0, done.stderr
    assert "frames per second" in done.stdout
    assert "allaprima cam --style" in done.stdout
    clip, painted = decode(tmp_path / "out" / "demo_clip.mp4"), decode(tmp_path / "out" / "demo.mp4")
    assert len(clip) == len(painted) >= 8 * 24
    for before, after in zip(clip[::40], painted[::40], strict=True):
        assert before.shape == (480, 640, 3)
        assert np.abs(255 - before.astype(int) - after).mean() < 4  # the negative, but for H.264
    picture = read_picture(tmp_path / "out" / "demo.png")
    left, right = picture[48:520, :640].astype(int), picture[48:520, 648:].astype(int)
    assert (left + right == 255).all()


def script(name: str, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "scripts" / name), *map(str, words)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)


def test_the_yardstick_measures_style_files(shared: Path, tmp_path: Path) -> None:
    style = tiny.frame_style(tmp_path / "negative.onnx")
    material = ["--yardstick-photos", shared / "photos" / "val", "--yardstick-count", 2]
    motions = [
        "--motion",
        shared / "clips" / "flow" / "RubberWhale",
        "--motion",
        shared / "clips" / "knownflow_pan.mp4",
    ]
    words = [style, *material, *motions, "--still", shared / "clips" / "static_noise_sim.mp4"]
    done = script("yardstick.py", *words)
    assert done.returncode == 0, done.stderr
    negative, photos = rows_of(done.stdout)
    assert (negative[0], photos[0]) == ("negative.onnx", "the photos themselves")
    assert negative[4] == photos[4] == "0.00"  # tint
    # The negative flickers, spills, moves as the photos do: noise, lamp, enters, motion, alive, flicker.
    assert negative[-6:] == photos[-6:] == ["1.00", "0.00", "0.00", "1.00", "1.00", "1.00"]
    done = script("yardstick.py", *words, "--smooth", "0.5")
    assert done.returncode == 0, done.stderr
    smoothed, _ = rows_of(done.stdout)
    assert smoothed[:5] == negative[:5]  # photos are single
    noise, _, _, _, alive, flicker = map(float, smoothed[-6:])
    assert max(noise, flicker) < 0.75
    assert 0.7 < alive <= 1
    assert "expected 0 to 1" in script("yardstick.py", *words, "--smooth", "2").stderr


@pytest.fixture
def photos(shared: Path, tmp_path: Path) -> Path:
    """Three of them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in sorted((shared / "photos" / "val").glob("*.jpg"))[:3]:
        (folder / photo.name).symlink_to(photo)
    return folder


@pytest.fixture
def unseen(shared: Path, tmp_path: Path) -> Path:
    """A corner of one: VGG-19 on it is most of a small training's time."""
    folder = tmp_path / "unseen"
    folder.mkdir()
    photo = read_picture(min((shared / "photos" / "val").glob("*.jpg")))
    write_picture(folder / "photo.png", photo[:256, :256])
    return folder


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a script's `main` in this process: to import torch takes longer than its few steps."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))

    def run(name: str, *words: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        assert not import_module(name).main()

    return run


def test_the_ablation_trains_measures_and_draws(
    shared: Path, weights: Path, photos: Path, unseen: Path, tmp_path: Path, run_script: Callable[..., None]
) -> None:
    """Two steps of one variant: that the script runs; what it finds takes hours."""
    painting = shared / "paintings" / "starry_night.jpg"
    words = ["--photos", photos, "--val-photos", unseen, "--vgg-weights", weights, "--steps", 2, "--size", 64]
    runs = tmp_path / "runs"
    run_script("ablate", "train", painting, *words, "--out", runs, "--variant", "realtime")
    material = ["--yardstick-photos", photos, "--yardstick-count", 1, "--blocks", 1]
    motion = ["--motion", shared / "clips" / "flow" / "RubberWhale"]
    run_script("ablate", "table", runs, tmp_path / "page.md", *material, *motion)
    assert "| realtime: what ships |" in (tmp_path / "page.md").read_text()
    assert read_picture(tmp_path / "page.jpg").shape[0] > 2 * 280
    assert (tmp_path / "page.svg").read_text().startswith("<?xml")


def test_the_steadiness_of_two_trainings_stands_side_by_side(
    shared: Path, weights: Path, photos: Path, unseen: Path, tmp_path: Path, run_script: Callable[..., None]
) -> None:
    painting = shared / "paintings" / "starry_night.jpg"
    words = ["--photos", photos, "--val-photos", unseen, "--vgg-weights", weights, "--steps", 1, "--size", 64]
    page, material = tmp_path / "page.md", ["--yardstick-photos", photos, "--yardstick-count", 1]
    places = ["--out", tmp_path / "runs", "--page", page]
    clip = make_clip(tmp_path / "clip.mp4", ticks=[0, 1000, 2000])
    clips = ["--clips", tmp_path / "clips", "--clip", clip, "--clip-height", 64]
    variants = ["--variant", "frozen", "slow", "smoothed"]
    run_script("ablate_steadiness", painting, *words, *material, *places, *clips, *variants)
    first, *others = ([cell.strip() for cell in line.split("|")[1:-1]] for line in page.read_text().splitlines()[-4:])
    assert first[:3] == ["without: no training for steadiness", "0", "1.000"]
    for name, row in zip(("frozen", "slow", "smoothed"), others, strict=True):
        assert row[0].startswith(f"{name}:")
        noise, share = map(float, re.fullmatch(r"([\d.]+) \(([\d.]+)\)", row[3]).groups())  # type: ignore[union-attr]
        assert 0 < noise < 10
        assert share == pytest.approx(noise / float(first[3]), abs=0.05)
    frames = decode(tmp_path / "clips" / "starry_night.mp4")
    assert [frame.shape for frame in frames] == 3 * [(64, 5 * 85 + 1, 3)]  # 4:2:0 wants even sides


@pytest.mark.parametrize("rate", [0, 0.25, 1])
def test_norms_follow_as_fast_as_they_are_told(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    first, second = (torch.rand(1, 2, 6, 8) * spread for spread in (1, 5))
    norm, own = (torch.nn.InstanceNorm2d(2, affine=True) for _ in range(2))
    norms = import_module("norms").SteadyNorms(torch.nn.Sequential(norm), rate)
    torch.testing.assert_close(norm(first), own(first))
    was, now = (torch.var_mean(x, (2, 3), correction=0, keepdim=True) for x in (first, second))
    variance, mean = ((1 - rate) * before + rate * after for before, after in zip(was, now, strict=True))
    torch.testing.assert_close(norm(second), (second - mean) / (variance + own.eps).sqrt())
    norms.forget()
    torch.testing.assert_close(norm(second), own(second))


def test_trainings_on_real_and_on_synthetic_photos_stand_side_by_side(
    shared: Path,
    weights: Path,
    photos: Path,
    unseen: Path,
    tmp_path: Path,
    run_script: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    painting = shared / "paintings" / "starry_night.jpg"
    words = ["--photos", photos, "--val-photos", unseen, "--vgg-weights", weights, "--steps", 1, "--size", 64]
    run_script("without_photos", painting, *words, "--out", tmp_path / "runs")
    (row,) = (line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "starry_night │" in line)
    _, k, real, synthetic, ratio = map(str.strip, row)
    reports = [json.loads((tmp_path / "runs" / f"starry_night-{on}" / "report.json").read_text()) for on in KINDS]
    assert [report["photos"]["are"]["photos"] for report in reports] == ["folder", "synthetic"]
    assert [f"{report['configuration']['style_weight']:g}" for report in reports] == [k, k]
    assert [f"{report['figures']['j']:.3f}" for report in reports] == [real, synthetic]
    assert float(ratio) == pytest.approx(float(synthetic) / float(real), abs=1e-3)


def test_the_clip_moves_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import make_demo_clip

    frames = [make_demo_clip.frame_at(index).astype(int) for index in range(18, 40)]  # of the first shot
    changes = [np.abs(after - before).mean() for before, after in pairwise(frames)]
    assert min(changes) > 0.5  # never stands still, as a camera that moves by whole pixels does
    assert max(np.abs(np.diff(changes))) < 1.5


def test_the_demo_says_what_is_wrong(tmp_path: Path) -> None:
    done = demo(tmp_path / "out", tmp_path / "missing.onnx")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "missing.onnx" in done.stderr


def test_the_demo_names_the_packages_that_opencv_links_to(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = demo(tmp_path / "out", tiny.frame_style(tmp_path / "negative.onnx"), PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "apt-get install libgl1" in done.stderr


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_are_short_and_sound(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/bin/sh"
    assert "set -eu" in lines
    assert len(lines) <= 20
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", script], check=True)


FAKE_PYTHON = """#!/bin/sh
case "$*" in
"-m venv .venv")
    [ ! -e broken ] || exit 1
    mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$0" .venv/bin/pip; echo fake >.venv/pyvenv.cfg ;;
*find_spec*) [ -e runtime ] ;;
*version_info*) [ ! -e old ] ;;
*) echo "$*" >>log ;;
esac
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy with the shell scripts only, and a Python that does nothing but note what it is told."""
    (tmp_path / "scripts").mkdir()
    for path in [*SHELL_SCRIPTS[:2], ROOT / "scripts" / "_venv.sh"]:
        shutil.copy(path, tmp_path / "scripts")
    for name in ("setup.cfg", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    (tmp_path / "python").write_text(FAKE_PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def run(copy: Path, script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHON": str(copy / "python")}
    command = [str(copy / "scripts" / script), *words]
    return subprocess.run(command, env=environment, cwd=copy.parent, capture_output=True, text=True, check=False)


def steps(copy: Path, script: str, *words: str) -> list[str]:
    """What Python was told by a script that went well."""
    done = run(copy, script, *words)
    assert done.returncode == 0, done.stderr
    log = (copy / "log").read_text().splitlines()
    (copy / "log").unlink()
    return [line for line in log if "--upgrade pip" not in line]


PHOTOGRAPHS = "-m pip install --quiet --no-deps --upgrade --target .venv/photographs scikit-image"
LIGHT = ["-m pip install --quiet -e .[cpu]", PHOTOGRAPHS]
DEV = ["-m pip install -e .[dev]"]
PAINT = ["scripts/demo.py"]
PYTEST = "-m pytest --numprocesses 2 --dist loadfile"


def test_the_demo_installs_the_light_runner_once(copy: Path) -> None:
    assert steps(copy, "demo") == LIGHT + PAINT
    assert steps(copy, "demo", "--out", "a b") == ["scripts/demo.py --out a b"]


def test_the_demo_installs_what_training_needs_once_it_is_asked_to_train(copy: Path) -> None:
    training = ["-m pip install --quiet -e .[train]"]
    assert steps(copy, "demo", "--train", "--steps", "9") == [*LIGHT, *training, "scripts/demo.py --train --steps 9"]
    assert steps(copy, "demo", "--train") == ["scripts/demo.py --train"]
    steps(copy, "test")
    (copy / ".venv" / "train.stamp").unlink()  # as if test had been first
    assert steps(copy, "demo", "--train") == ["scripts/demo.py --train"]


def test_demo_and_test_run_in_any_order(copy: Path) -> None:
    assert steps(copy, "demo") == LIGHT + PAINT
    assert steps(copy, "test", "-x") == [*DEV, f"{PYTEST} -x"]
    assert steps(copy, "test") == [PYTEST]
    (copy / ".venv" / "light.stamp").unlink()  # as if test had been first
    assert steps(copy, "demo") == PAINT


def test_changed_requirements_are_installed(copy: Path) -> None:
    steps(copy, "test")
    (copy / "setup.cfg").write_text("more")
    assert steps(copy, "test") == [*DEV, PYTEST]


def test_the_demo_leaves_another_onnxruntime_alone(copy: Path) -> None:
    (copy / "runtime").touch()
    assert steps(copy, "demo")[0] == "-m pip install --quiet -e ."


@pytest.mark.parametrize(("trouble", "remedy"), [("broken", "apt-get install python3-venv"), ("old", "Python 3.11")])
def test_without_a_venv_it_says_what_to_do(copy: Path, trouble: str, remedy: str) -> None:
    (copy / trouble).touch()
    done = run(copy, "demo")
    assert done.returncode != 0
    assert remedy in done.stderr
    assert not (copy / "log").exists()
