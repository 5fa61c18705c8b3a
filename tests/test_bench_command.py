"""`allaprima bench`: what it measures, how it shows it, and what it says where it cannot."""

import json
import signal
import weakref
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny
from conftest import RunCli
from onnx import TensorProto, helper

from allaprima import gallery
from allaprima.cli import main
from allaprima.contract import INPUT_NAME, OUTPUT_NAME, StyleCard
from allaprima.infer import timing
from allaprima.infer.providers import available_providers
from allaprima.infer.stylizer import Stylizer
from allaprima.infer.timing import (
    BLOCKS,
    RATES_FPS,
    Entrant,
    Timing,
    holds,
    measure,
    moving_frames,
)

QUICK = ("--seconds", "0.05", "--size", "48x32")


@pytest.fixture
def negative(tmp_path: Path) -> Path:
    return tiny.frame_style(tmp_path / "negative.onnx", name="another name", network={"precision": "int8"})


@pytest.fixture
def only_48x32(tmp_path: Path) -> Path:
    """A style that fails at every size but one."""
    return tiny.save(
        tmp_path / "only.onnx",
        [helper.make_node("BitwiseXor", [INPUT_NAME, "mask"], [OUTPUT_NAME])],
        inputs={INPUT_NAME: tiny.FRAME_SHAPE},
        outputs={OUTPUT_NAME: tiny.FRAME_SHAPE},
        kind=TensorProto.UINT8,
        constants={"mask": np.full((1, 32, 48, 3), 255, np.uint8)},
        metadata=StyleCard(name="only").to_metadata(),
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """A clock of which every look takes 5 ms; returns a function that has something done at the n-th look."""
    appointments: dict[int, Callable[[], None]] = {}
    looks = count()

    def look() -> float:
        number = next(looks)
        appointments.get(number, lambda: None)()
        return number * 0.005

    monkeypatch.setattr(timing, "perf_counter", look)
    return appointments.__setitem__


# Rates and pictures.


@pytest.mark.parametrize(
    ("p95_ms", "fps"),
    [
        (1, 120),
        (7.5, 120),  # 0.9 of 1000 / 120 ms
        (7.51, 60),
        (15, 60),
        (15.01, 50),
        (18, 50),
        (18.01, 30),
        (30, 30),
        (30.01, 25),
        (36, 25),
        (36.01, 24),
        (37.5, 24),
        (37.51, 15),
        (60, 15),
        (90, 10),
        (1800, 0.5),
    ],
)
def test_a_rate_holds_with_a_tenth_to_spare(p95_ms: float, fps: float) -> None:
    assert holds(p95_ms) == fps


@pytest.mark.parametrize("size", [(16, 16), (37, 211), (160, 90)])
def test_the_pictures_move_and_are_the_same_in_every_run(size: tuple[int, int]) -> None:
    width, height = size
    frames = moving_frames(width, height)
    for frame, again in zip(frames, moving_frames(width, height), strict=True):
        assert frame.shape == (height, width, 3)
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, again)
    for before, after in pairwise([*frames, frames[0]]):
        assert np.abs(after.astype(int) - before).mean() > 5  # more than the noise's 4.3


# Measuring.


def entrant(path: Path, opened: Callable[[], Stylizer] | None = None) -> Entrant:
    return Entrant(style=path.stem, path=path, provider="cpu", open=opened or (lambda: Stylizer(path, provider="cpu")))


def test_entrants_take_turns_with_one_session_alive(negative: Path, only_48x32: Path) -> None:
    opened: list[str] = []
    alive: set[int] = set()

    def opener(path: Path) -> Callable[[], Stylizer]:
        def open_style() -> Stylizer:
            assert not alive
            stylizer = Stylizer(path, provider="cpu")
            alive.add(len(opened))
            weakref.finalize(stylizer, alive.remove, len(opened))
            opened.append(path.stem)
            return stylizer

        return open_style

    entrants = [entrant(path, opener(path)) for path in (negative, only_48x32)]
    timings = [Timing(e, width, 32) for e in entrants for width in (48, 64)]
    steps: list[tuple[int, int]] = []
    measure(timings, seconds=0.01, on_block=lambda _, done, total: steps.append((done, total)))
    assert not alive
    assert opened == ["negative", "only"] * BLOCKS
    assert steps == [(n, 4 * BLOCKS) for n in range(1, 4 * BLOCKS + 1)]
    assert [t.error is None for t in timings] == [True, True, True, False]
    assert [len(t.times_ms) >= 2 * BLOCKS for t in timings] == [True, True, True, False]


def test_one_entrant_needs_no_turns(negative: Path) -> None:
    one = Timing(entrant(negative), 48, 32)
    done: list[Timing] = []
    measure([one], seconds=0.01, on_block=lambda timing, *_: done.append(timing))
    assert done == [one]


def test_figures_by_hand(clock: object, negative: Path) -> None:
    one = Timing(entrant(negative), 48, 32)
    measure([one], seconds=1)
    assert one.times_ms == pytest.approx([5.0] * 100)  # a call is two looks at the clock
    one.times_ms = [float(n) for n in range(1, 22)]
    assert (one.median_ms, one.p95_ms) == (11, 20)
    assert one.fps == pytest.approx(90.909, abs=0.001)


def test_a_provider_that_is_lost_on_the_way_is_not_mixed_in(negative: Path) -> None:
    lost = Entrant(style="x", path=negative, provider="cuda", open=lambda: Stylizer(negative, provider="cpu"))
    one = Timing(lost, 48, 32)
    measure([one], seconds=0.01)
    assert one.error == "provider 'cuda' loaded at first and then no more"
    assert one.times_ms == []


def test_pictures_too_large_for_the_memory(monkeypatch: pytest.MonkeyPatch, negative: Path) -> None:
    def full(width: int, height: int) -> list[object]:
        raise MemoryError

    monkeypatch.setattr(timing, "moving_frames", full)
    one = Timing(entrant(negative), 48, 32)
    measure([one], seconds=0.01)
    assert one.error == "not enough memory for pictures of 48x32 px"


# The command.


def test_json_on_a_pipe(negative: Path, run_cli: RunCli) -> None:
    words = "bench", negative, "--seconds", "0.05", "--size", "48x32, 64x48", "--threads", "1", "--provider", "cpu"
    done = run_cli(*words, "--json", cwd=negative.parent)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert set(report) == {"machine", "rows"}
    assert set(report["machine"]) == {"machine", "cpus", "os", "onnxruntime"}
    assert str(negative.parent) not in done.stdout
    for row, size in zip(report["rows"], ((48, 32), (64, 48)), strict=True):
        assert list(row.values())[:6] == ["negative.onnx", "cpu", "int8", *size, 1]
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert row["fps"] == pytest.approx(1000 / row["median_ms"], rel=0.5)  # rounded, and a call takes microseconds
        assert row["holds_fps"] in RATES_FPS or row["holds_fps"] < 15
        assert row["frames"] >= 2
        assert row["error"] is None


def test_the_table(clock: object, negative: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tiny.foreign(tmp_path / "another project with a long name, as a pipe has no width to cut it at.onnx")
    assert main(["bench", str(negative), str(other), "--seconds", "1", "--size", "48x32,640x480"]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    first, heading, *rows, explanation = output.splitlines()
    assert "ONNX Runtime" in first
    assert heading.split() == ["style", "provider", "precision", "size", "ms", "p95", "fps", "holds"]
    figures = "5.0 5.0 200.0 120 fps"
    assert [" ".join(row.split()) for row in rows] == [
        *(f"negative.onnx cpu int8 {size} {figures}" for size in ("48x32", "640x480")),
        *(f"{other.name} cpu {size} {figures}" for size in ("48x32", "640x480")),
    ]
    assert explanation.startswith("ms: median")


def test_one_that_ships_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gallery, "STYLES_FOLDER", tmp_path)
    assert main(["bench", *QUICK]) == 2
    assert capsys.readouterr().err == "allaprima: no styles ship with this copy: give a .onnx file\n"
    for name in ("wave", "night"):
        tiny.frame_style(tmp_path / f"{name}.onnx", name=name)
    (tmp_path / "mine").mkdir()
    mine = tiny.frame_style(tmp_path / "mine" / "wave.onnx")
    assert styles_of(capsys, "bench", *QUICK) == ["night"]
    words = ["wave", str(tmp_path / "wave.onnx"), str(mine), str(tmp_path / "night.onnx"), str(mine)]
    assert styles_of(capsys, "bench", *words, *QUICK) == ["wave", "wave.onnx", "night.onnx"]  # each file once


def styles_of(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main([*words, "--json"]) == 0
    return [row["style"] for row in json.loads(capsys.readouterr().out)["rows"]]


def test_files_of_the_same_name_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for folder in ("old", "new", "newer"):
        (tmp_path / folder).mkdir()
        files.append(str(tiny.frame_style(tmp_path / folder / "night.onnx")))
    assert styles_of(capsys, "bench", *files, *QUICK) == ["night.onnx", "night.onnx (2)", "night.onnx (3)"]


def test_what_fails_says_so_in_its_row(only_48x32: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", str(only_48x32), "--seconds", "0.05", "--size", "64x48,48x32"]
    assert main([*words, "--json"]) == 0
    output = capsys.readouterr().out
    failed, fine = json.loads(output)["rows"]
    assert failed["error"].startswith("style file 'only.onnx' fails on 64x48 px (")
    assert str(only_48x32.parent) not in output
    assert [failed[key] for key in ("median_ms", "p95_ms", "fps", "holds_fps", "frames")] == [None] * 4 + [0]
    assert fine["error"] is None
    assert fine["median_ms"] > 0
    assert main(words) == 0
    assert "64x48" in (row := capsys.readouterr().out.splitlines()[2])
    assert "failed: style file 'only.onnx' fails on 64x48 px (" in row


def test_a_provider_that_does_not_load_is_measured_once_as_what_it_is(
    negative: Path, only_48x32: Path, run_cli: RunCli
) -> None:
    missing = next(name for name in ("coreml", "directml") if name not in available_providers())
    done = run_cli("bench", negative, only_48x32, *QUICK, "--provider", f"{missing},cpu", "--json")
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert line.startswith(f"allaprima: warning: provider '{missing}' did not load, running on 'cpu' instead: ")
    rows = [(row["style"], row["provider"]) for row in json.loads(done.stdout)["rows"]]
    assert rows == [("negative.onnx", "cpu"), ("only.onnx", "cpu")]


@pytest.mark.filterwarnings("ignore:provider")  # one that this ONNX Runtime has, on a machine without the hardware
def test_all_providers(negative: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(negative), *QUICK, "--provider", "all", "--json"]) == 0
    providers = [row["provider"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert "cpu" in providers
    assert set(providers) <= set(available_providers())
    assert len(set(providers)) == len(providers)


def test_ctrl_c_prints_what_was_measured(
    clock: Callable[[int, Callable[[], None]], None], negative: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", str(negative), "--seconds", "1", "--size", "48x32,64x48,80x64", "--json"]
    clock(400, lambda: signal.raise_signal(signal.SIGINT))  # during the second size
    assert main(words) == 130
    output, errors = capsys.readouterr()
    assert errors == "allaprima: stopped\n"
    whole, part = json.loads(output)["rows"]
    assert whole["frames"] == 100
    assert 0 < part["frames"] < 100
    assert part["median_ms"] == 5


def test_ctrl_c_before_the_first_figure(
    clock: Callable[[int, Callable[[], None]], None], negative: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock(5, lambda: signal.raise_signal(signal.SIGINT))
    assert main(["bench", str(negative), *QUICK, "--seconds", "1"]) == 130
    assert capsys.readouterr() == ("", "allaprima: stopped\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.onnx"], "style file 'nowhere.onnx' does not exist: check the path"),
        (["empty.onnx"], "style file 'empty.onnx' is empty: copy or export it again"),
        (["negative.onnx", "empty.onnx"], "style file 'empty.onnx' is empty: copy or export it again"),
        (["negative.onnx", "--size", "640"], "--size: got '640', expected a width and height such as 640x480"),
        (["negative.onnx", "--size", "640x480,"], "--size: got '', expected a width and height such as 640x480"),
        (["negative.onnx", "--size", "8x8"], "--size: got '8x8', expected a width and height such as 640x480"),
        (["negative.onnx", "--seconds", "0"], "--seconds: got 0.0, expected more than 0"),
        (["negative.onnx", "--threads", "0"], "threads: got 0, expected 1 or more"),
        (["negative.onnx", "--provider", "cpu,gpu"], "provider 'gpu' is unknown: choose one of auto, cuda, "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_words(
    words: list[str],
    message: str,
    negative: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.onnx").touch()
    assert main(["bench", *words]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"allaprima: {message}")
    assert errors.count("\n") == 1
