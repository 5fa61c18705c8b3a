"""`scripts/bench` on the live app: short runs of each verb, and its figures by hand."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from clips import make_clip
from conftest import ROOT
from tables import rows_of
from tiny import frame_style

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")


def bench(*words: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "scripts/bench.py"), *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def style(tmp_path: Path) -> Path:
    return frame_style(tmp_path / "negative.onnx", name="negative")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """One of scripts/, imported."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return __import__


@linux
@pytest.mark.parametrize(("words", "expected"), [
    (["live", "--fps", "50", "0", "--seconds", "0.5"], ["50 fps", "unbounded", "dropped", "latency p50, p95, ms"]),
    (["smooth", "--frames", "5"], ["still, with noise", "moving", "smoothing, ms"]),
    (["overhead", "--seconds", "0.5"], ["camera", "painter", "sink", "call", "sum"]),
    (["memory", "--frames", "2000"], ["frame 1000: ", "frame 2000: ", "growth since frame 1000: "]),
    (["live", "--fps", "30", "--seconds", "0.5", "--sinks", "record", "virtual-camera", "serve"],
     ["record, virtual-camera, serve", "at the virtual camera"]),
    (["sinks", "--seconds", "0.3", "--blocks", "1"],
     ["without the window, there is no display: ", "none", "record", "virtual-camera", "serve", "CPU, % of a core"]),
])  # fmt: skip
def test_the_benchmarks_run(style: Path, words: list[str], expected: list[str]) -> None:
    if "virtual-camera" in expected:
        pytest.importorskip("pyvirtualcam", reason="needs the extra [vcam]")
    done = bench(words[0], style, *words[1:], "--size", "64x48")
    assert (done.returncode, done.stderr) == (0, "")
    assert [text for text in expected if text not in done.stdout] == []


def test_smoothing_from_file_to_file(style: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    words = ["smooth", style, "--clip", clip, "--rounds"]
    done = bench(*words, 2)
    assert (done.returncode, done.stderr) == (0, "")
    [[name, *times, more]] = rows_of(done.stdout)
    assert name == "clip.mp4"
    assert all(float(time) > 0 for time in times)
    assert more.endswith("%")
    assert "--rounds: got 0, expected 1 or more" in bench(*words, 0).stderr


@linux
def test_the_soak_leaves_every_reading(style: Path, tmp_path: Path) -> None:
    words = ["--minutes", 0.04, "--every", 0.6, "--sinks", "serve", "--json", tmp_path / "soak.json"]
    done = bench("soak", style, "--size", "64x48", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(" MB\n") == 4  # a line for each reading
    assert "drift, last against first: " in done.stdout
    written = json.loads((tmp_path / "soak.json").read_text())
    minutes = written["minutes"]
    assert [minute["end_s"] for minute in minutes] == pytest.approx([0.6, 1.2, 1.8, 2.4], abs=0.5)
    assert written["memory_growth_mb"] == minutes[-1]["memory_mb"] - minutes[0]["memory_mb"]
    assert written["drift_ms"] == minutes[-1]["p50_ms"] - minutes[0]["p50_ms"]
    assert all(0 < minute["p50_ms"] <= minute["p95_ms"] <= minute["worst_ms"] for minute in minutes)


@linux
def test_a_soak_that_is_interrupted_tells_what_it_has(style: Path) -> None:
    words = [sys.executable, str(ROOT / "scripts/bench.py"), "soak", str(style), "--size", "64x48", "--every", "0.3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*words, "--sinks", "serve"], env=environment, start_new_session=True, **pipes) as process:
        assert process.stdout is not None
        seen = next(line for line in process.stdout if " MB" in line)
        process.send_signal(signal.SIGINT)
        try:
            rest, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:  # once seen, and not explained: whoever hangs shows where
            os.killpg(process.pid, signal.SIGABRT)
            rest, errors = process.communicate()
    assert (process.returncode, errors) == (0, ""), f"{rest}\n{errors}"  # whole: pytest shortens what it compares
    assert "% dropped" in seen
    assert "memory growth since the first: " in rest


def test_changes_of_style(style: Path, tmp_path: Path) -> None:
    other = frame_style(tmp_path / "same.onnx", "Identity", name="same")
    done = bench("switch", style, other, "--size", "64x48", "--changes", 2, "--every", 0.4)
    assert (done.returncode, done.stderr) == (0, "")
    rows = rows_of(done.stdout)
    assert [row[0] for row in rows] == ["no key pressed", "loaded", "not loaded"]
    assert rows[0][3] == "0"
    assert {rows[1][3], rows[2][3]} <= {"1", "2"}  # on a busy machine one may come too late
    assert all(float(row[1]) >= float(row[2]) > 0 for row in rows)


def test_quality_under_load(style: Path) -> None:
    done = bench("quality", style, "--size", "64x48", "--seconds", 0.5, 0.7, 0.7, "--burners", 1)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "│" in line]
    assert [row.split("│")[1].strip() for row in rows] == ["idle", "load", "idle again"]
    assert "sizes: 0.0 s 100%" in done.stdout
    assert "full size is " in done.stdout


@pytest.mark.parametrize(("words", "message"), [
    (["live", "{}", "--sinks", "window"], "no window: neither DISPLAY nor WAYLAND_DISPLAY is set; start a virtual"),
    (["soak", "{}", "--minutes", "1"], "--every: got 60, expected at most half of the session's time, in seconds"),
    (["switch", "{}", "{}"], "is the style that paints: give another one to change to"),
    (["quality", "{}", "--seconds", "1", "2"], "--seconds: got [1.0, 2.0], expected those of the 3 phases"),
    (["memory", "{}", "--frames", "1000"], "--frames: got 1000, expected 2000 or more"),
])  # fmt: skip
def test_one_line_about_what_cannot_be(
    style: Path,
    module: Callable[[str], ModuleType],
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *(word.format(style) for word in words)])
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert module("bench").main() == 2
    errors = capsys.readouterr().err
    assert errors.startswith("bench: ")
    assert errors.count("\n") == 1
    assert message in errors


# The figures.


def frames(module: ModuleType, times_ms: Sequence[tuple[float, float]], **more: list[object]) -> list[object]:
    """Frames that were due and in the sinks at these times; the rest of them by name, or 0."""
    values = {name: len(times_ms) * [0] for name in module.Passed._fields} | more
    values["due_s"], values["sunk_s"] = ([ms / 1000 for ms in column] for column in zip(*times_ms, strict=True))
    return [module.Passed(*row) for row in zip(*values.values(), strict=True)]


def test_figures_of_frames(module: Callable[[str], ModuleType]) -> None:
    bench_cam = module("bench_cam")
    passed = frames(
        bench_cam, [(0, 10), (100, 120), (200, 230), (400, 510)],
        captured=[1, 2, 3, 6], dropped=[0, 0, 0, 2], cpu_s=[1.0, 1.0, 1.1, 1.35],
    )  # fmt: skip
    whole = bench_cam.figures(passed)
    assert (whole.frames, whole.captured, whole.dropped) == (4, 6, 2)
    assert whole.fps == pytest.approx(3 / 0.5)
    assert (whole.p50_ms, whole.p95_ms) == pytest.approx((25, 98))  # of 10, 20, 30, 110
    assert (whole.cpu_percent, whole.cpu_ms) == pytest.approx((70, 350 / 3))
    later = bench_cam.figures(passed[2:], passed[1])
    assert (later.frames, later.captured, later.dropped) == (2, 4, 2)
    assert later.dropped_percent == 50
    assert later.fps == pytest.approx(2 / 0.39)


def test_gaps_at_changes(module: Callable[[str], ModuleType]) -> None:
    painted_s: list[object] = [0.0, 0.1, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    style: list[object] = [*"aaaabbbbb"]
    passed = frames(module("bench_cam"), 9 * [(0, 0)], painted_s=painted_s, style=style)
    first, second = module("bench_switch").changes_at([0.25, 0.65, 1.05], passed, fps=10)
    assert first == pytest.approx((3, 350))  # from 0.2 to 0.5; b paints at 0.6
    assert second.gap_frames == pytest.approx(1)
    assert math.isnan(second.wait_ms)


def test_sizes_and_the_way_back(module: Callable[[str], ModuleType]) -> None:
    quality = module("bench_quality")
    scale: list[object] = [1.0, 1.0, 0.6, 0.6, 0.72, 1.0, 1.0]
    passed = frames(module("bench_cam"), 7 * [(0, 0)], painted_s=[*range(7)], scale=scale)
    assert quality.sizes(passed) == [(0, 1.0), (2, 0.6), (4, 0.72), (5, 1.0)]
    assert quality.seconds_until_full(passed, load_end_s=3) == 1
    assert quality.seconds_until_full(passed[:2], load_end_s=0) == 0
    assert quality.seconds_until_full(passed[:5], load_end_s=3) is None


def test_a_frame_keeps_the_time_when_it_was_due(module: Callable[[str], ModuleType]) -> None:
    """Whichever of them are dropped, and however late the pipeline has them."""
    devices = module("bench_devices")
    device = devices.SyntheticDevice([np.zeros((16, 16, 3), np.uint8)], fps=100)
    device.read()  # to see what it gives
    device.start()
    for number in range(5):
        device.read()
        device.note(float(number))
    dues_s = [device.due_s(captured_s) for captured_s in (0.0, 2.0, 4.0)]
    assert [b - a for a, b in pairwise(dues_s)] == pytest.approx([0.02, 0.02])
