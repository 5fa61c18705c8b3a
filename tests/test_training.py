"""Real trainings on real photos with real VGG-19 features, each a process of its own, miniature in steps and pixels."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from clips import distance, make_clip, read_clip
from conftest import ROOT, RunCli
from mjpeg import MjpegCamera
from PIL import Image
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from allaprima.cli import main
from allaprima.contract import CONTRACT, StyleCard
from allaprima.errors import InputError
from allaprima.infer.stylefile import read_card
from allaprima.infer.stylizer import Stylizer
from allaprima.models.transformer import build
from allaprima.pictures import read_picture, write_picture
from allaprima.train import optimality
from allaprima.train.checkpoint import load_checkpoint
from allaprima.train.int8 import MAX_J_RATIO, MIN_PSNR_DB, export_int8

SMALL = (
    "--size",
    96,
    "--stroke-size",
    0.333,
    "--from",
    "scratch",
    "--checkpoint-every",
    10,
    "--preview-every",
    20,
    "--workers",
    0,
    "--no-int8",
    "--proof",
    0,
)
Refused = Callable[[dict[str, str]], str]


@pytest.fixture(scope="session")
def photos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small collection: links to sixty of the photos, in a tree, with two that cannot be used."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    for number, photo in enumerate(sorted((shared / "photos" / "train").glob("*.jpg"))[:60]):
        (folder / ("more" if number % 3 else ".") / photo.name).symlink_to(photo)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "tiny.png")
    return folder


@pytest.fixture(scope="session")
def words(shared: Path, weights: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A training of forty steps, but for where it goes; judged on two squares of photos, which is most of its time."""
    unseen = tmp_path_factory.mktemp("unseen")
    for photo in sorted((shared / "photos" / "val").glob("*.jpg"))[:2]:
        write_picture(unseen / f"{photo.stem}.png", read_picture(photo)[:288, :288])
    painting, places = shared / "paintings" / "starry_night.jpg", ["--photos", photos, "--val-photos", unseen]
    return ["train", painting, *places, "--vgg-weights", weights, "--steps", 40, *SMALL]


@pytest.fixture(scope="session")
def unbroken(words: list[object], run_cli: RunCli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    card = ["--title", "The Starry Night", "--artist", "Vincent van Gogh"]
    done = run_cli(*words, "--int8", "--out", run, *card)
    assert done.returncode == 0, done.stderr
    assert "style file:" in done.stdout
    return run


@pytest.fixture
def started(words: list[object]) -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    """Start a training and wait for its first checkpoint."""
    processes: list[subprocess.Popen[str]] = []

    def start(run: Path, *more: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "allaprima", *map(str, words), "--out", str(run), *map(str, more)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        processes.append(process)
        while process.poll() is None and not list(run.glob("checkpoints/step-*")):
            time.sleep(0.02)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def refused(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Train with some words changed; expect exit code 2 and nothing written, and return the one line on stderr."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(change: dict[str, str]) -> str:
        given = list(map(str, words))
        for flag, value in ({"--out": "run"} | change).items():
            if flag == "painting":
                given[1] = value
            elif flag in given:
                given[given.index(flag) + 1] = value
            else:
                given += [flag, value]
        assert main(given) == 2
        assert list(folder.iterdir()) == []
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1
        return errors

    return run


def losses(run: Path, name: str = "loss/total") -> dict[int, float]:
    """Step -> loss, as TensorBoard shows it."""
    events = EventAccumulator(str(run / "events"), size_guidance={"scalars": 0})
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def test_losses_fall(unbroken: Path) -> None:
    for name in ("loss/total", "loss/style"):
        curve = losses(unbroken, name)
        assert list(curve) == list(range(1, 41))
        values = list(curve.values())
        assert max(values[-10:]) < min(values[:10]), name  # no early step was as good as the worst of the last ones


def test_a_run_folder_holds_what_a_user_looks_for(unbroken: Path) -> None:
    assert {p.name for p in unbroken.iterdir()} - {".lock"} == {
        "checkpoints",
        "events",
        "preview.jpg",
        "report.json",
        "starry_night.onnx",
        "starry_night-int8.onnx",
    }
    kept = sorted(p.name for p in (unbroken / "checkpoints").iterdir())
    assert kept == [f"step-00000{n}.safetensors" for n in (20, 30, 40)]
    assert read_picture(unbroken / "preview.jpg").std() > 20
    report = json.loads((unbroken / "report.json").read_text())
    assert report["configuration"]["steps"] == 40
    assert {Path(p).name for p in report["photos"]["skipped"]} == {"broken.jpg", "tiny.png"}
    assert report["photos"]["used"] == 60
    assert report["figures"]["photos"] == 2
    assert len(report["loss_network"]["sha256"]) == 64
    k = report["configuration"]["style_weight"]
    assert 1 < k < 30  # what --strength 1 means for this painting
    assert report["figures"]["j"] == pytest.approx(report["figures"]["content"] + k * report["figures"]["style"])
    assert 0.01 < report["figures"]["flicker"] < 20
    assert 0.5 < report["figures"]["motion"] < 50


def test_tensorboard_shows_losses_pictures_and_hparams(unbroken: Path) -> None:
    events = EventAccumulator(str(unbroken / "events"))
    events.Reload()
    tags = events.Tags()
    scalars = {"loss/content", "loss/style", "loss/style/relu3_1", "loss/tv", "learning_rate", "images_per_second"}
    assert scalars <= set(tags["scalars"])
    assert {"preview", "painting"} <= set(tags["images"])
    assert [event.step for event in events.Images("preview")] == [20, 40]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_the_style_file_says_what_it_is(unbroken: Path) -> None:
    session = onnxruntime.InferenceSession(unbroken / "starry_night.onnx", providers=["CPUExecutionProvider"])
    card = StyleCard.from_metadata(session.get_modelmeta().custom_metadata_map)
    assert card is not None
    assert (card.contract, card.name, card.title) == (CONTRACT, "starry_night", "The Starry Night")
    assert card.network["build"] == "realtime"
    assert card.training["steps"] == 40
    assert min(card.figures[name] for name in ("J", "flicker", "motion")) > 0
    assert str(ROOT) not in str(card)


def test_no_path_of_this_machine_is_in_the_style_file(unbroken: Path) -> None:
    data = (unbroken / "starry_night.onnx").read_bytes()
    for trace in (str(ROOT), str(Path.home()), ".py", "site-packages"):
        assert trace.encode() not in data, trace


def test_the_trained_style_paints_a_photo(unbroken: Path, shared: Path, run_cli: RunCli, tmp_path: Path) -> None:
    photo = sorted((shared / "photos" / "val").glob("*.jpg"))[0]
    painted = tmp_path / "painted.png"
    done = run_cli("image", photo, "--style", unbroken / "starry_night.onnx", "-o", painted)
    assert done.returncode == 0, done.stderr
    before, after = read_picture(photo), read_picture(painted)
    assert before.shape == after.shape
    assert np.abs(before.astype(int) - after).mean() > 10


def test_the_trained_style_paints_a_clip_with_sound(unbroken: Path, run_cli: RunCli, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ticks=range(0, 12_000, 1000), sound=["aac"])
    done = run_cli("video", clip, "--style", unbroken / "starry_night.onnx", "-o", tmp_path / "painted.mp4")
    assert done.returncode == 0, done.stderr
    before, after = read_clip(clip), read_clip(tmp_path / "painted.mp4")
    assert after.codec == "h264"
    assert after.times == before.times
    assert after.sound == before.sound
    assert distance(before.pictures[5], after.pictures[5]) > 10


def test_the_trained_style_paints_a_network_camera(
    unbroken: Path, shared: Path, run_cli: RunCli, tmp_path: Path
) -> None:
    with av.open(str(shared / "clips" / "webcam_face_400x300.mp4")) as container:
        pictures = [f.to_ndarray(format="rgb24").astype(np.uint8) for f in islice(container.decode(video=0), 20)]
    record = tmp_path / "painted.mkv"
    words = ["--style", unbroken / "starry_night.onnx", "--record", record, "--no-window", "--seconds", 1]
    with MjpegCamera(pictures) as camera:
        done = run_cli("cam", camera.url, *words)
    assert done.returncode == 0, done.stderr
    painted = read_clip(record)
    assert painted.size == (400, 300)
    assert min(distance(painted.pictures[-1], picture) for picture in pictures) > 10


def test_strength_0_has_no_proof_and_a_style_file(words: list[object], run_cli: RunCli, tmp_path: Path) -> None:
    """The photo itself is the best possible then, with a loss of 0: there is no ratio to it."""
    done = run_cli(*words, "--strength", 0, "--proof", 1, "--steps", 2, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "starry_night.onnx").is_file()
    assert json.loads((tmp_path / "run" / "report.json").read_text())["figures"]["optimality_ratio"] is None


def test_a_killed_training_resumes_to_the_same_curve(
    unbroken: Path, started: Callable[[Path], "subprocess.Popen[str]"], run_cli: RunCli, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    process = started(run)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "report.json").exists()
    with safe_open(sorted((run / "checkpoints").glob("*"))[-1], framework="pt") as checkpoint:
        step = json.loads(checkpoint.metadata()["step"])
    assert step <= 20
    before_s = load_checkpoint(run).so_far["seconds"]
    done = run_cli("train", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "report.json").read_text())["seconds"] > before_s > 0
    expected, got = losses(unbroken), losses(run)
    for number in range(step + 1, step + 21):
        assert got[number] == expected[number], number
    assert (run / "starry_night.onnx").exists()


def test_a_run_keeps_its_painting(unbroken: Path, shared: Path, run_here: RunCli) -> None:
    other = shared / "paintings" / "great_wave.jpg"
    done = run_here("train", other, "--resume", unbroken)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"'{other}' is not the painting of this run: give the same" in done.stderr


def test_a_grey_transparent_painting_and_few_photos(
    words: list[object], shared: Path, run_here: RunCli, tmp_path: Path
) -> None:
    """Transparency is laid on white; where photos are few, those trained on have to judge, and that is said."""
    painting, few = tmp_path / "ink.png", words[5]
    ink = Image.open(shared / "paintings" / "starry_night.jpg").convert("L").crop((0, 0, 200, 300))
    ink.putalpha(ink.point(lambda level: 255 - level))
    ink.save(painting)
    places = ["--photos", few, "--out", tmp_path / "run", "--steps", 2]
    done = run_here("train", painting, "--vgg-weights", words[7], *SMALL, *places)
    assert done.returncode == 0, done.stderr
    assert "on 2 of the photos trained on, too few to spare any: content " in done.stdout
    assert "(measured with strokes of size 1, as for every style, and not 0.333)" in done.stdout
    assert json.loads((tmp_path / "run" / "report.json").read_text())["photos"]["judged_on_unseen"] is False
    assert (tmp_path / "run" / "ink.onnx").is_file()


def test_a_training_from_another_begins_where_that_one_ended(
    unbroken: Path, words: list[object], run_here: RunCli, tmp_path: Path
) -> None:
    done = run_here(*words, "--from", unbroken, "--steps", 10, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    before, after = losses(unbroken, "loss/style"), losses(tmp_path / "run", "loss/style")
    assert after[1] < min(list(before.values())[:5])


def test_a_training_ends_with_how_near_it_comes_to_the_best_possible(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The slow method is given three steps in place of two hundred."""
    monkeypatch.setattr(optimality, "REFERENCE_STEPS", 3)
    monkeypatch.setattr(optimality, "RATIO_PX", 64)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = tmp_path / "run"
    assert main([*map(str, words), "--proof", "1", "--steps", "2", "--from", "base", "--out", str(run)]) == 0
    figures = json.loads((run / "report.json").read_text())["figures"]
    card = read_card(run / "starry_night.onnx")
    assert card is not None
    assert figures["ratio_photos"] == 1
    assert 0.2 < figures["optimality_ratio"] == card.figures["optimality_ratio"]
    assert f"J is {figures['optimality_ratio']:.2f} times the least possible" in capsys.readouterr().out
    assert main(["styles", str(run / "starry_night.onnx")]) == 0
    assert "optimality_ratio" in capsys.readouterr().out


def test_ctrl_c_saves_and_tells_how_to_go_on(started: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    run = tmp_path / "stopped"
    process = started(run, "--steps", 4000, "--workers", 1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the worker as well
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"allaprima train --resume {run}" in output
    assert "Traceback" not in errors
    newest = sorted((run / "checkpoints").glob("*"))[-1]
    with safe_open(newest, framework="pt") as checkpoint:
        assert json.loads(checkpoint.metadata()["step"]) >= 10


def test_two_runs_in_one_folder(
    started: Callable[..., "subprocess.Popen[str]"], words: list[object], run_here: RunCli, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = started(run, "--steps", 4000)
    for more in (["--out", run], ["--resume", run]):
        done = run_here(*words, *more)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "in use by another training" in done.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    done = run_here(*words, "--out", run)
    assert done.returncode == 2
    assert f"--resume {run}" in done.stderr


SHOW_THREADS = """
import atexit, pathlib, sys
from allaprima.cli import main

@atexit.register
def show():
    names = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
    print(f"threads at the end: {names}", flush=True)

raise SystemExit(main(sys.argv[1:]))
"""


def test_two_processes_train_as_one(words: list[object], tmp_path: Path, run_cli: RunCli) -> None:
    """The same photos in every step, the same losses but for rounding, one writer of files, and no thread at the end.

    A thread of the group that is still at work while Python exits aborts the process, once in many times.
    """
    short = [*words, "--steps", 6, "--precision", "fp32", "--learning-rate", 1e-4]
    assert run_cli(*short, "--out", tmp_path / "one").returncode == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    program = tmp_path / "program.py"
    program.write_text(SHOW_THREADS)
    done = subprocess.run(
        [*launch, "--standalone", str(program), *map(str, short), "--out", str(tmp_path / "two")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("threads at the end: ") == 2
    assert "gloo" not in done.stdout
    assert len(list((tmp_path / "two" / "events").iterdir())) == 1
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert list(two) == list(one)
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=2e-3)


def test_a_training_that_diverges_gives_up_with_a_message(
    words: list[object], run_here: RunCli, tmp_path: Path
) -> None:
    done = run_here(*words, "--out", tmp_path / "run", "--learning-rate", 1e30, "--warmup", 0, "--clip", 1e30)
    assert done.returncode == 2
    assert done.stderr.count("back to the last good step") == 3
    assert "gave up" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_export_of_a_run_and_of_a_checkpoint(unbroken: Path, run_here: RunCli, tmp_path: Path) -> None:
    checkpoint = unbroken / "checkpoints" / "step-0000020.safetensors"
    for source, io, more in ((unbroken, "frame", []), (checkpoint, "tensor", ["--half"])):
        path = tmp_path / f"{io}.onnx"
        done = run_here("export", source, "-o", path, "--io", io, *more)
        assert done.returncode == 0, done.stderr
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        assert given.type == {"frame": "tensor(uint8)", "tensor": "tensor(float)"}[io]
    assert (tmp_path / "tensor.onnx").stat().st_size < 0.7 * (tmp_path / "frame.onnx").stat().st_size


def test_export_in_int8(unbroken: Path, photos: Path, weights: Path, run_here: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "fast.onnx"
    words = ["--int8", "--photos", photos, "--vgg-weights", weights]
    done = run_here("export", unbroken, "-o", path, *words)
    assert done.returncode == 0, done.stderr
    card = read_card(path)
    assert card is not None
    assert card.network["precision"] == "int8"
    assert card.figures["int8_psnr_db"] >= MIN_PSNR_DB
    assert card.figures["int8_J_ratio"] <= MAX_J_RATIO
    assert path.stat().st_size < 0.4 * (unbroken / "starry_night.onnx").stat().st_size
    assert Stylizer(path)(np.zeros((48, 64, 3), np.uint8)).shape == (48, 64, 3)


def test_int8_that_is_not_good_enough_is_refused(
    unbroken: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(unbroken)
    network = build("realtime")
    network.load_state_dict(checkpoint.network)
    layer = network.get_submodule("core.up")
    with torch.no_grad():  # one weight so large that the steps of its channel are too coarse for the others
        next(layer.parameters())[:, 0, 0, 0] = 60
    with pytest.raises(InputError, match=r"fast\.onnx' not written: int8 is .* dB from fp32 .* layer \w+ hurts most"):
        export_int8(network, tmp_path / "fast.onnx", StyleCard(), config=checkpoint.config, photos=str(photos))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--int8", "--half"], "--int8 is for pixels in and out: leave out --half and --io tensor"),
        (["--int8", "--io", "tensor"], "--int8 is for pixels in and out: leave out --half and --io tensor"),
        (["--photos", "."], "--photos and --vgg-weights are for --int8: add it, or leave them out"),
        (["--int8", "--photos", "."], "photo folder '.' has no JPEG, PNG or WebP"),
    ],
)
def test_int8_asked_for_in_a_wrong_way(
    more: list[str], message: str, unbroken: Path, run_here: RunCli, tmp_path: Path
) -> None:
    done = run_here("export", unbroken, "-o", "s.onnx", *more, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def truncated(photo: Path) -> bytes:
    return photo.read_bytes()[:-4000]


def huge(photo: Path) -> bytes:
    """A PNG of a few bytes that claims 12000x9000 pixels."""
    size = struct.pack(">IIBBBBB", 12000, 9000, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + b"IHDR" + size + struct.pack(">I", zlib.crc32(b"IHDR" + size))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 64) + b"IDAT" + bytes(68)


def dot(photo: Path) -> bytes:
    return bytes(cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1])


def flat(photo: Path) -> bytes:
    return bytes(cv2.imencode(".png", np.full((90, 120, 3), 77, np.uint8))[1])


def invisible(photo: Path) -> bytes:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 4), np.uint8)
    picture[..., 3] = 0
    return bytes(cv2.imencode(".png", picture)[1])


def text(photo: Path) -> bytes:
    return b"not a picture"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (truncated, "cannot be read"),
        (huge, "claims more than"),
        (dot, "is 1x1 px: expected at least 16x16"),
        (flat, "is one flat colour: there is nothing to learn from it"),
        (invisible, "is one flat colour: there is nothing to learn from it"),
        (text, "is not a JPEG, PNG or WebP picture"),
    ],
)
def test_a_painting_that_cannot_be_used(
    refused: Refused, photos: Path, tmp_path: Path, content: Callable[[Path], bytes], message: str
) -> None:
    painting = tmp_path / "painting.png"
    painting.write_bytes(content(next(photos.glob("t*.jpg"))))
    line = refused({"painting": str(painting)})
    assert line.startswith(f"allaprima: painting '{painting}' ")
    assert message in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"painting": "missing.jpg"}, "painting 'missing.jpg' does not exist: check the path"),
        ({"--photos": "nowhere"}, "photo folder 'nowhere' does not exist"),
        ({"--photos": "."}, "no JPEG, PNG or WebP"),
        ({"--vgg-weights": "none.pth"}, "VGG weights 'none.pth' (--vgg-weights) do not exist"),
        ({"--size": "8"}, "--size: got 8, expected at least 64"),
        ({"--strength": "-1"}, "--strength: got -1.0, expected 0 to 2"),
        ({"--style-layers": '{"relu9_9": 1.0}'}, "got 'relu9_9', expected one of"),
        ({"--out": "/proc/run"}, "cannot write '/proc/run'"),
        ({"--resume": "nowhere"}, "run or checkpoint 'nowhere' does not exist"),
    ],
)
def test_settings_that_cannot_be_used(refused: Refused, change: dict[str, str], message: str) -> None:
    assert message in refused(change)


def test_a_full_disk_in_mid_training_keeps_the_older_checkpoint(
    words: list[object], run_here: RunCli, tmp_path: Path
) -> None:
    """On a real file system of a few megabytes, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a small file system here")
    try:
        done = run_here(*words, "--out", disk / "run", "--keep-checkpoints", 9)
        assert done.returncode == 2, done.stderr
        assert "no space left to write" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        kept = sorted((disk / "run" / "checkpoints").iterdir())
        assert kept
        assert not [p for p in kept if "partial" in p.name]
        with safe_open(kept[-1], framework="pt") as checkpoint:
            assert json.loads(checkpoint.metadata()["step"]) % 10 == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)
