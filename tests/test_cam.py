"""`allaprima cam` as a user runs it: a real network camera on loopback, a real window on a virtual screen."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import av
import av.error
import numpy as np
import pytest
from clips import Picture, distance, make_clip, moving_picture, read_clip
from conftest import ROOT, RunCli
from mjpeg import MjpegCamera, number_of, numbered_pictures
from PIL import Image
from tiny import frame_style

from allaprima.pictures import read_picture

SUMMARY = re.compile(r"(\d+) frames painted in [\d.]+ s, [\d.]+ fps, (\d+) dropped, latency p50 \d+ ms, p95 \d+ ms")
WINDOW_TOOLS = ("Xvfb", "xdotool", "import")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def negative(tmp_path: Path) -> Path:
    return frame_style(tmp_path / "negative.onnx")


@contextmanager
def started(*words: object, env: dict[str, str] | None = None) -> Iterator["subprocess.Popen[str]"]:
    """`allaprima cam WORDS...`, killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "allaprima", "cam", *map(str, words)],
        env={**os.environ, **(env or {}), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(happened: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait while the process runs; the test's own timeout is the limit."""
    while not happened():
        assert process.poll() is None, process.communicate()
        threading.Event().wait(0.02)


def frames_in(path: Path) -> int:
    """How many frames a recording that is being written would play now."""
    try:
        return len(read_clip(path).times)
    except (av.FFmpegError, OSError, IndexError):
        return 0


# Recording.


def test_network_camera_to_recording(tmp_path: Path, run_cli: RunCli, negative: Path) -> None:
    pictures = numbered_pictures(300)
    with MjpegCamera(pictures) as camera:
        done = run_cli(
            "cam", camera.url, "--style", negative, "--record", tmp_path / "out.mkv", "--no-window", "--seconds", 3
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"camera '{camera.url}': 256x192, " in done.stdout
    assert (found := SUMMARY.search(done.stdout)) is not None
    recorded = read_clip(tmp_path / "out.mkv")
    assert recorded.codec == "h264"
    assert len(recorded.times) == int(found[1])
    assert recorded.times[0] == 0
    assert recorded.times[-1] > 0
    numbers = [number_of(255 - picture) for picture in recorded.pictures]
    assert all(0 < (b - a) % 300 < 150 for a, b in pairwise(numbers))  # each once, in order, some perhaps left out
    for number, picture in list(zip(numbers, recorded.pictures, strict=True))[::10]:
        assert distance(255 - pictures[number], picture) < 8


def test_real_pictures_with_another_projects_network(tmp_path: Path, shared: Path, run_cli: RunCli) -> None:
    with av.open(str(shared / "clips" / "webcam_asl_book.mp4")) as container:
        pictures = [f.to_ndarray(format="rgb24")[::2, ::2].astype(np.uint8) for f in container.decode(video=0)]
    style = shared / "peers" / "narrow8-mosaic.onnx"
    with MjpegCamera(pictures) as camera:
        done = run_cli(
            "cam", camera.url, "--style", style, "--record", tmp_path / "out.mp4", "--no-window", "--seconds", 1
        )
    assert done.returncode == 0, done.stderr
    recorded = read_clip(tmp_path / "out.mp4")
    assert recorded.size == (320, 240)
    assert min(distance(recorded.pictures[0], picture) for picture in pictures) > 20  # painted


def test_clip_as_a_camera(tmp_path: Path, run_cli: RunCli, negative: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ticks=range(0, 12_000, 1000))
    words = ["cam", clip, "--style", negative, "--record", tmp_path / "out.mp4", "--no-window", "--mirror"]
    done = run_cli(*words, "--size", "640x480")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--size is ignored: it is for cameras of this machine" in done.stdout
    last = read_clip(tmp_path / "out.mp4").pictures[-1]
    assert distance(255 - np.ascontiguousarray(moving_picture(11, 64, 48)[:, ::-1]), last) < 12


def test_the_demo_needs_no_camera(tmp_path: Path, run_cli: RunCli, negative: Path) -> None:
    words = ["--style", negative, "--record", tmp_path / "out.mkv", "--no-window", "--seconds", 1]
    done = run_cli("cam", "demo", *words, "--size", "320x240")
    assert (done.returncode, done.stderr) == (0, "")
    assert "demo: a drawn scene, 320x240 at 30 fps, " in done.stdout
    recorded = read_clip(tmp_path / "out.mkv")
    assert recorded.size == (320, 240)
    assert distance(recorded.pictures[0], recorded.pictures[-1]) > 1


def test_a_session_outlives_its_camera(tmp_path: Path, run_cli: RunCli, negative: Path) -> None:
    words = ["--style", negative, "--record", tmp_path / "out.mp4", "--no-window", "--seconds", 4]
    with MjpegCamera(numbered_pictures(30), end="die") as camera:
        done = run_cli("cam", camera.url, *words)
    assert done.returncode == 0
    assert re.match(rf"allaprima: camera '{camera.url}' stopped sending pictures \(.*\); next attempt", done.stderr)
    assert (found := SUMMARY.search(done.stdout)) is not None
    recorded = read_clip(tmp_path / "out.mp4")
    assert len(recorded.times) == int(found[1])
    numbers = [number_of(255 - picture) for picture in recorded.pictures]
    assert all(0 < b - a < 10 for a, b in pairwise(numbers[: numbers.index(29) + 1]))
    assert numbers[numbers.index(29) + 1] < 10  # it came back, and begins anew


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_recording_plays_after_the_process_was_killed(tmp_path: Path, negative: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with (
        MjpegCamera(numbered_pictures(30)) as camera,
        started(camera.url, "--style", negative, "--record", path, "--no-window") as process,
    ):
        wait_for(lambda: frames_in(path) >= 5, process)
        process.kill()
        process.wait()
    assert frames_in(path) >= 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_well(tmp_path: Path, negative: Path, number: signal.Signals) -> None:
    path = tmp_path / "out.mkv"
    with (
        MjpegCamera(numbered_pictures(30)) as camera,
        started(camera.url, "--style", negative, "--record", path, "--no-window") as process,
    ):
        wait_for(path.exists, process)
        process.send_signal(number)
        stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "")
    assert (found := SUMMARY.search(stdout)) is not None
    assert frames_in(path) == int(found[1])


# What cannot be.


@pytest.mark.parametrize(("words", "message"), [
    (["73"], r"camera 73 cannot be opened \(.*\): plug it in, close other programs that use it, or give another .*"),
    (["http://127.0.0.1:9/x"], r"camera 'http://127.0.0.1:9/x' cannot be opened \(.*\): check the address .*"),
    (["gopher://host/x"], r"camera 'gopher://host/x' is no address of a camera: expected http://, https:// or rtsp://"),
    (["none.mp4"], r"clip 'none.mp4' does not exist: check the path"),
    (["0", "--size", "wide"], r"--size: got 'wide', expected a width and height such as 640x480"),
    (["0", "--seconds", "-1"], r"--seconds: got -1.0, expected more than 0"),
])  # fmt: skip
def test_one_line_and_nothing_left(
    tmp_path: Path, run_cli: RunCli, negative: Path, words: Sequence[str], message: str
) -> None:
    (tmp_path / "out.mp4").write_bytes(b"older recording")
    done = run_cli("cam", *words, "--style", negative, "--record", "out.mp4", "--no-window", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(f"allaprima: {message}\n", done.stderr), done.stderr
    assert (tmp_path / "out.mp4").read_bytes() == b"older recording"
    assert files(tmp_path) == {"negative.onnx", "out.mp4"}


def test_recording_onto_the_camera_itself(tmp_path: Path, run_cli: RunCli, negative: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    before = clip.read_bytes()
    done = run_cli("cam", clip, "--style", negative, "--record", clip, "--no-window")
    assert done.returncode == 2
    assert "is the camera's own file, choose another name" in done.stderr
    assert clip.read_bytes() == before


@pytest.mark.parametrize(("words", "message"), [
    (["--no-window"], "--no-window leaves nothing to do: add --record FILE, --serve PORT or --virtual-camera"),
    (["--no-window", "--record", "a.webm"], "--record: 'a.webm' ends in '.webm', expected .mp4 .m4v .mov .mkv"),
    (["--record", "none/a.mp4"], "output folder 'none' does not exist: create it or choose another place"),
])  # fmt: skip
def test_flags_that_cannot_be(
    tmp_path: Path, run_cli: RunCli, negative: Path, words: Sequence[str], message: str
) -> None:
    done = run_cli("cam", "--style", negative, *words, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"allaprima: {message}\n")


# Windows.


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="there is always a display")
def test_without_a_display(tmp_path: Path, negative: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    nowhere = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}
    with started(clip, "--style", negative, env=nowhere) as process:
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (2, "")
    assert stderr == (
        "allaprima: no display: neither DISPLAY nor WAYLAND_DISPLAY is set; "
        "paint into a file instead: --record FILE --no-window\n"
    )
    with started(clip, "--style", negative, "--record", tmp_path / "out.mp4", env=nowhere) as process:
        stdout, stderr = process.communicate()
    assert process.returncode == 0
    assert stderr.endswith("is set; going on without a window\n")
    assert frames_in(tmp_path / "out.mp4") > 0


@pytest.fixture
def display() -> Iterator[dict[str, str]]:
    """A virtual screen, as environment variables."""
    if missing := [tool for tool in WINDOW_TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)} (packages xvfb, xdotool, imagemagick)")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with server, os.fdopen(reading) as number:
        try:
            yield {"DISPLAY": f":{number.readline().strip()}", "WAYLAND_DISPLAY": ""}
        finally:
            server.terminate()


def on_screen(env: dict[str, str], path: Path) -> Picture:
    """A screenshot, (600, 800, 3) uint8 RGB."""
    subprocess.run(["import", "-window", "root", str(path)], env={**os.environ, **env}, check=True)
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def has(picture: Picture, colour: Sequence[int]) -> bool:
    """Whether a fifth of a picture is, nearly, of this colour."""
    return bool((np.abs(picture.astype(int) - colour).max(axis=2) < 16).mean() > 0.2)


def test_keys_do_what_the_help_says(tmp_path: Path, negative: Path, display: dict[str, str]) -> None:
    """A picture with an orange left half; what is painted is the negative."""
    orange, teal = (230, 120, 20), (20, 140, 150)
    picture = np.full((240, 320, 3), orange, dtype=np.uint8)
    picture[:, 160:] = teal
    env = {**os.environ, **display, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    left, right = (slice(100, 240), slice(0, 150)), (slice(100, 240), slice(170, 320))  # below the figures
    words = ["--style", negative, "--snapshots", tmp_path]
    with MjpegCamera([picture]) as camera, started(camera.url, *words, env=env) as process:
        find = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "Allaprima"]
        window = subprocess.run(find, env=env, capture_output=True, text=True, check=True).stdout.split()[0]

        def shown() -> Picture:
            shot = tmp_path / "window.png"
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(["import", "-window", window, str(shot)], env=env, check=True, timeout=5)
                with Image.open(shot) as image:
                    return np.array(image.convert("RGB"))
            return np.zeros((240, 320, 3), np.uint8)

        def press(key: str, happened: Callable[[], bool]) -> None:
            """Like a hand that presses again where nothing happens: a server under load loses keys."""
            while not happened():
                assert process.poll() is None, process.communicate()
                with suppress(subprocess.TimeoutExpired):
                    words = ["xdotool", "windowfocus", "--sync", window, "key", key]
                    subprocess.run(words, env=env, capture_output=True, timeout=5)
                patience = time.monotonic() + 2
                while time.monotonic() < patience and not happened():
                    threading.Event().wait(0.05)

        def colours(left_is: Sequence[int], right_is: Sequence[int]) -> Callable[[], bool]:
            return lambda: has((now := shown())[left], left_is) and has(now[right], right_is)

        not_orange, not_teal = [255 - c for c in orange], [255 - c for c in teal]
        wait_for(colours(not_orange, not_teal), process)
        press("m", colours(not_teal, not_orange))
        press("m", colours(not_orange, not_teal))
        press("s", colours(orange, not_teal))
        press("s", colours(not_orange, not_teal))
        press("minus", lambda: not colours(not_orange, not_teal)())
        press("plus", colours(not_orange, not_teal))
        press("p", lambda: len(list(tmp_path.glob("allaprima-*.png"))) >= 2)
        press("r", lambda: len(list(tmp_path.glob("allaprima-*.mp4"))) == 1)
        press("r", lambda: len(list(tmp_path.glob("allaprima-*.mp4"))) == 2)  # the first one stopped, a second begun
        press("h", lambda: shown()[left].mean() < 0.7 * np.mean(not_orange))
        press("h", colours(not_orange, not_teal))
        press("b", lambda: not colours(not_orange, not_teal)())  # another style
        press("n", colours(not_orange, not_teal))
        subprocess.run(["xdotool", "key", "--window", window, "Left"], env=env, capture_output=True, timeout=5)
        press("m", colours(not_teal, not_orange))  # still there: an arrow is no letter
        press("q", lambda: process.poll() is not None)
        _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    photo, painting = (read_picture(path) for path in sorted(tmp_path.glob("allaprima-*.png"))[-2:][::-1])
    assert distance(photo, picture) < 3
    assert np.array_equal(painting, 255 - photo)
    assert json.loads((tmp_path / "config" / "allaprima" / "live.json").read_text())["strength"] == 1.0


@pytest.mark.parametrize("key", ["q", "Escape"])
def test_window_shows_the_painting_and_a_key_quits(
    tmp_path: Path, negative: Path, display: dict[str, str], key: str
) -> None:
    orange, teal = (230, 120, 20), (20, 140, 150)
    picture = np.full((240, 320, 3), orange, dtype=np.uint8)
    picture[:, 160:] = teal
    shot, environment = tmp_path / "screen.png", {**os.environ, **display}

    def covers(colour: Sequence[int]) -> int:
        """How many pixels of the screen are, nearly, of this colour."""
        return int((np.abs(on_screen(display, shot).astype(np.int32) - colour).max(axis=2) < 16).sum())

    with (
        MjpegCamera([picture]) as camera,
        started(camera.url, "--style", negative, "--record", tmp_path / "out.mkv", env=display) as process,
    ):
        find = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "Allaprima"]
        window = subprocess.run(find, env=environment, capture_output=True, text=True, check=True).stdout.split()[0]
        wait_for(lambda: covers([255 - c for c in teal]) > 0.95 * 160 * 240, process)
        assert covers([255 - c for c in orange]) > 0.8 * 160 * 240  # its corner shows the figures
        assert covers(orange) + covers(teal) == 0
        press = ["xdotool", "windowfocus", "--sync", window, "key", key]

        def pressed() -> bool:
            """Like a hand that presses again: a server under load loses keys; a closed window takes none."""
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(press, env=environment, capture_output=True, timeout=5)
            return process.poll() is not None

        while not pressed():
            threading.Event().wait(0.2)
        stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "")
    assert SUMMARY.search(stdout) is not None
    recorded = read_clip(tmp_path / "out.mkv").pictures[-1]
    assert distance(np.full_like(recorded[:40, :100], [255 - c for c in orange]), recorded[:40, :100]) < 4  # no figures
