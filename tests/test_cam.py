"""`allaprima cam` as a user runs it: a real network camera on loopback, a real window on a virtual screen."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
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
from conftest import ROOT, RunCli, wait_for
from mjpeg import MjpegCamera, number_of, numbered_pictures
from PIL import Image
from tiny import frame_style
from window_manager import click_the_cross, managing

from allaprima.gallery import shipped_styles
from allaprima.infer.overlay import draw_lines
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


def test_recordings_play_after_their_process_was_killed(tmp_path: Path, negative: Path) -> None:
    paths = [tmp_path / f"out{suffix}" for suffix in (".mp4", ".mkv")]
    words = ["demo", "--size", "320x240", "--style", negative, "--no-window", "--record"]
    with started(*words, paths[0]) as first, started(*words, paths[1]) as second:
        for path, process in zip(paths, (first, second), strict=True):
            wait_for(path.exists, process)
        begun_s = time.monotonic()
        wait_for(lambda: time.monotonic() >= begun_s + 10, first)
        for process in (first, second):
            process.kill()
        lasted_s = time.monotonic() - begun_s
    for path in paths:
        assert read_clip(path).times[-1] > lasted_s - 1


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


@pytest.mark.skipif(sys.platform != "linux", reason="ALSA is of Linux")
def test_the_systems_sound_goes_with_the_recording(tmp_path: Path, negative: Path) -> None:
    (tmp_path / "alsa.conf").write_text("pcm.default { type null }")
    path, env = tmp_path / "out.mp4", {"ALSA_CONFIG_PATH": str(tmp_path / "alsa.conf")}
    words = ["--style", negative, "--record", path, "--record-sound", "--no-window", "--seconds", 1]
    with started("demo", *words, env=env) as process:
        stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "")
    assert f"recording to {path} with the microphone" in stdout
    assert read_clip(path).sound_codecs == ["aac"]
    with av.open(path) as container:  # of a device that would give hours of it at once
        assert container.duration is not None
        assert container.duration < 6 * av.time_base


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


ORANGE, TEAL = (230, 120, 20), (20, 140, 150)
LEFT, RIGHT = (slice(100, 205), slice(0, 150)), (slice(100, 205), slice(170, 320))
"""Below the figures, above the notices."""


class Driver:
    """A hand at the window of a session whose camera shows orange at the left, teal at the right, 320x240."""

    def __init__(self, process: "subprocess.Popen[str]", env: dict[str, str], folder: Path) -> None:
        self.process, self.env, self._shot = process, env, folder / "window.png"
        find = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "Allaprima"]
        found = subprocess.run(find, env=env, capture_output=True, text=True, check=True)
        self.window = found.stdout.split()[0]

    def do(self, *words: object) -> None:
        """Let xdotool do something."""
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(["xdotool", *map(str, words)], env=self.env, capture_output=True, timeout=5)

    def until(self, happened: Callable[[], bool], act: Callable[[], None]) -> None:
        """Do it, once: no key and no click may be lost."""
        act()
        while not happened():
            assert not self.ended() or happened(), self.process.communicate()
            time.sleep(0.005)

    def ended(self) -> bool:
        """Whether the session has."""
        return self.process.poll() is not None

    def press(self, key: str, happened: Callable[[], bool]) -> None:
        self.until(happened, lambda: self.do("windowfocus", "--sync", self.window, "key", key))

    def shown(self) -> Picture:
        """What the window shows, (H, W, 3) uint8 RGB; black where it cannot be seen."""
        with suppress(subprocess.SubprocessError, OSError):
            words = ["import", "-window", self.window, str(self._shot)]
            subprocess.run(words, env=self.env, check=True, capture_output=True, timeout=5)
            with Image.open(self._shot) as image:
                return np.array(image.convert("RGB"))
        return np.zeros((240, 320, 3), np.uint8)

    def colours(self, left: Sequence[int], right: Sequence[int]) -> bool:
        """Whether the halves are, nearly, of these colours."""
        now = self.shown()
        return has(now[LEFT], left) and has(now[RIGHT], right)

    def says(self, *notices: str) -> bool:
        """Whether one of these lines stands at the bottom."""
        now = self.shown()
        if now.shape != (240, 320, 3):
            return False
        for notice in notices:
            expected = np.full((240, 320, 3), 128, np.uint8)
            draw_lines(expected, [notice], bottom=True)
            letters, edges = expected.min(axis=2) > 215, expected.max(axis=2) < 40
            assert letters.any()
            assert edges.any()
            if (now[letters] > 190).mean() > 0.95 and (now[edges] < 90).mean() > 0.95:
                return True
        return False


@contextmanager
def driven(negative: Path, display: dict[str, str], tmp_path: Path, *words: object) -> Iterator[Driver]:
    """A session that paints the negative."""
    picture = np.full((240, 320, 3), ORANGE, dtype=np.uint8)
    picture[:, 160:] = TEAL
    env = {**os.environ, **display, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    words = "--style", negative, "--snapshots", tmp_path, *words
    with MjpegCamera([picture]) as camera, started(camera.url, *words, env=env) as process:
        driver = Driver(process, env, tmp_path)
        wait_for(lambda: driver.colours(NOT_ORANGE, NOT_TEAL), process)
        yield driver


NOT_ORANGE, NOT_TEAL = tuple(255 - c for c in ORANGE), tuple(255 - c for c in TEAL)


def last_settings(tmp_path: Path) -> dict[str, object]:
    settings: dict[str, object] = json.loads((tmp_path / "config" / "allaprima" / "live.json").read_text())
    return settings


def test_keys_do_what_the_help_says(tmp_path: Path, negative: Path, display: dict[str, str]) -> None:
    with driven(negative, display, tmp_path) as hand:
        press, colours = hand.press, hand.colours
        press("m", lambda: colours(NOT_TEAL, NOT_ORANGE))
        press("m", lambda: colours(NOT_ORANGE, NOT_TEAL))
        press("minus", lambda: not colours(NOT_ORANGE, NOT_TEAL))
        press("plus", lambda: colours(NOT_ORANGE, NOT_TEAL))
        press("p", lambda: len(list(tmp_path.glob("allaprima-*.png"))) >= 2)
        press("r", lambda: len(list(tmp_path.glob("allaprima-*.mp4"))) == 1)
        press("r", lambda: hand.says(*(f"recorded {path}" for path in tmp_path.glob("*.mp4"))))
        press("r", lambda: len(list(tmp_path.glob("allaprima-*.mp4"))) == 2)
        press("h", lambda: hand.shown()[LEFT].mean() < 0.7 * np.mean(NOT_ORANGE))
        press("h", lambda: colours(NOT_ORANGE, NOT_TEAL))
        hand.do("key", "--window", hand.window, "Left")
        press("m", lambda: colours(NOT_TEAL, NOT_ORANGE))  # still there: an arrow is no letter
        press("q", lambda: hand.process.poll() is not None)
        _, stderr = hand.process.communicate()
    assert hand.process.returncode == 0, stderr
    photo, painting = (read_picture(path) for path in sorted(tmp_path.glob("allaprima-*.png"))[-2:][::-1])
    assert max(np.abs(photo[:, :150] - np.array(ORANGE)).mean(), np.abs(photo[:, 170:] - np.array(TEAL)).mean()) < 3
    assert np.array_equal(painting, 255 - photo)
    assert last_settings(tmp_path)["strength"] == 1.0


def test_keys_of_styles_do_what_the_help_says(tmp_path: Path, negative: Path, display: dict[str, str]) -> None:
    names = ["the negative", *shipped_styles()]
    with driven(negative, display, tmp_path) as hand:
        for number in range(2, 10):
            hand.press(str(number), lambda: hand.says(names[number - 1]))  # noqa: B023, it is called at once
        hand.press("1", lambda: hand.colours(NOT_ORANGE, NOT_TEAL))
        hand.press("n", lambda: hand.says(names[1]))
        wait_for(lambda: not hand.colours(NOT_ORANGE, NOT_TEAL), hand.process)
        hand.press("b", lambda: hand.colours(NOT_ORANGE, NOT_TEAL))
        hand.press("q", lambda: hand.process.poll() is not None)


def test_keys_of_the_look_do_what_the_help_says(tmp_path: Path, negative: Path, display: dict[str, str]) -> None:
    with driven(negative, display, tmp_path) as hand:
        press, colours, says = hand.press, hand.colours, hand.says
        press("bracketright", lambda: says(*(f"smoothing {share}%" for share in range(10, 101, 10))))
        press("bracketleft", lambda: says("smoothing 0%"))
        press("c", lambda: says("colours of the photo: on") and not colours(NOT_ORANGE, NOT_TEAL))
        press("c", lambda: colours(NOT_ORANGE, NOT_TEAL))
        press("space", lambda: says("frozen: on"))
        press("m", lambda: says("mirror: on"))
        assert colours(NOT_ORANGE, NOT_TEAL)  # as it was
        press("space", lambda: colours(NOT_TEAL, NOT_ORANGE))
        press("m", lambda: colours(NOT_ORANGE, NOT_TEAL))
        press("s", lambda: colours(ORANGE, NOT_TEAL))
        beside = slice(100, 205), slice(147, 157)  # left of the border, which a key moves by 16 px
        press("comma", lambda: has(hand.shown()[beside], NOT_ORANGE))
        press("period", lambda: has(hand.shown()[beside], ORANGE))
        drag = ["mousemove", "--window", hand.window, 130, 120, "mousedown", 1, "mousemove", "--window", hand.window]
        drag += [60, 120, "mouseup", 1]
        hand.until(lambda: has(hand.shown()[100:205, 70:150], NOT_ORANGE), lambda: hand.do(*drag))
        assert has(hand.shown()[100:205, :50], ORANGE)
        press("s", lambda: colours(NOT_ORANGE, NOT_TEAL))
        press("k", lambda: says("paint the person"))
        wait_for(lambda: colours(ORANGE, TEAL), hand.process)  # nobody is there, so nearly nothing is painted
        press("k", lambda: says("paint the background"))
        wait_for(lambda: colours(NOT_ORANGE, NOT_TEAL), hand.process)
        press("k", lambda: says("paint all"))
        press("q", lambda: hand.process.poll() is not None)
    settings = last_settings(tmp_path)
    assert {name: settings[name] for name in ("smoothing", "keep_colours", "mirror", "mask")} == {
        "smoothing": 0.0, "keep_colours": False, "mirror": False, "mask": "off"
    }  # fmt: skip


def test_keys_of_the_window_do_what_the_help_says(tmp_path: Path, negative: Path, display: dict[str, str]) -> None:
    with managing(display["DISPLAY"]), driven(negative, display, tmp_path) as hand:
        hand.press("d", lambda: hand.says("painted at 85%"))
        hand.press("u", lambda: hand.says("painted at 100%"))
        hand.press("a", lambda: hand.says("size by itself"))
        hand.press("o", lambda: bool((np.abs(hand.shown()[:60, :150] - np.array(NOT_ORANGE)) < 16).all()))
        hand.press("f", lambda: hand.shown().shape == (600, 800, 3))
        hand.press("f", lambda: hand.shown().shape == (240, 320, 3))
        hand.press("Escape", lambda: hand.process.poll() is not None)
    settings = last_settings(tmp_path)
    assert (settings["quality"], settings["overlay"]) == ("auto", False)


def test_the_cross_ends_the_session_well(tmp_path: Path, negative: Path, display: dict[str, str]) -> None:
    with managing(display["DISPLAY"]), driven(negative, display, tmp_path) as hand:
        hand.until(hand.ended, lambda: click_the_cross(display["DISPLAY"], int(hand.window)))
        stdout, stderr = hand.process.communicate()
    assert (hand.process.returncode, stderr) == (0, "")
    assert SUMMARY.search(stdout) is not None


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
        hand = Driver(process, environment, tmp_path)
        wait_for(lambda: covers([255 - c for c in teal]) > 0.95 * 160 * 240, process)
        assert covers([255 - c for c in orange]) > 0.8 * 160 * 240  # its corner shows the figures
        assert covers(orange) + covers(teal) == 0
        hand.press(key, hand.ended)
        stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "")
    assert SUMMARY.search(stdout) is not None
    recorded = read_clip(tmp_path / "out.mkv").pictures[-1]
    assert distance(np.full_like(recorded[:40, :100], [255 - c for c in orange]), recorded[:40, :100]) < 4  # no figures
