"""Recordings that start and stop, run out of disk, are killed and have sound; snapshots."""

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from time import monotonic, sleep
from urllib.request import urlopen

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from clips import Picture, distance, moving_picture, read_clip
from conftest import ROOT
from mjpeg import MjpegCamera, number_of, numbered_pictures

from allaprima.errors import InputError
from allaprima.infer.camera import NewestFrame, open_camera
from allaprima.infer.live import Tally, run_live
from allaprima.infer.microphone import Microphone, SampleClock
from allaprima.infer.mjpeg_server import MjpegServer
from allaprima.infer.sinks import Recorder, Recording, Sink, fit
from allaprima.infer.snapshot import new_paths, save_snapshot
from allaprima.pictures import read_picture

SUFFIXES = pytest.mark.parametrize("suffix", [".mp4", ".mkv"])


def noise(number: int) -> Picture:
    """What no encoder makes small: (192, 256, 3) uint8 RGB, grey."""
    grey = np.random.default_rng(number).integers(0, 256, (192, 256, 1), dtype=np.uint8)
    return grey.repeat(3, axis=2)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_several_sinks_at_once(tmp_path: Path) -> None:
    """A real network camera, painted live into a recording and onto a server."""
    recorder, server = Recorder(), MjpegServer(0)
    sinks: list[Sink] = [recorder, server]
    recorder.start(tmp_path / "rec.mkv")
    with (
        MjpegCamera(numbered_pictures(60), fps=100, end="die") as camera,
        NewestFrame(open_camera(camera.url)) as newest,
        recorder,
        server,
    ):
        with pytest.raises(InputError, match="stopped sending pictures"):
            run_live(newest, lambda frame: frame, sinks, Tally())
        with urlopen(f"{server.url}frame.jpg", timeout=20) as answer:
            served = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert served is not None
    assert number_of(served.astype(np.uint8)) == 59
    numbers = [number_of(picture) for picture in read_clip(tmp_path / "rec.mkv").pictures]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 59


# Sizes.


@pytest.mark.parametrize(("size", "bars"), [
    ((64, 48), (0, 0)), ((128, 96), (0, 0)), ((32, 24), (0, 0)),
    ((64, 24), (0, 12)), ((32, 48), (16, 0)), ((640, 20), (0, 23)),
])  # fmt: skip
def test_fit_keeps_the_aspect(size: tuple[int, int], bars: tuple[int, int]) -> None:
    """Twice as wide as what it is to fill: half the height is black; and so on."""
    white = np.full((size[1], size[0], 3), 255, dtype=np.uint8)
    fitted = fit(white, 64, 48)
    left, top = bars
    expected = np.zeros((48, 64, 3), dtype=np.uint8)
    expected[top : 48 - top, left : 64 - left] = 255
    assert fitted.dtype == np.uint8
    assert (fitted == expected).all()


@SUFFIXES
def test_a_picture_that_changes_its_size_is_scaled_to_the_first(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rec{suffix}"
    with Recording(path) as recording:
        for number, size in enumerate([(64, 48), (128, 96), (48, 64), (64, 48)]):
            recording.write(moving_picture(number, *size), 1.0 + number / 10)
    recorded = read_clip(path)
    assert recorded.times == [Fraction(number, 10) for number in range(4)]
    assert {picture.shape for picture in recorded.pictures} == {(48, 64, 3)}
    assert distance(recorded.pictures[1], fit(moving_picture(1, 128, 96), 64, 48)) < 16
    assert recorded.pictures[2][:, :12].max() < 40  # upright in a wide frame: black at its sides
    assert recorded.pictures[2][:, 20:44].mean() > 80


# Starting and stopping.


@SUFFIXES
def test_recordings_start_and_stop_in_mid_session(tmp_path: Path, suffix: str) -> None:
    with Recorder() as recorder:
        assert (recorder.path, recorder.description) == (None, "")
        for number in range(60):
            if number in {10, 40}:
                recorder.start(tmp_path / f"{number}{suffix}")
                assert recorder.description == f"recording to {tmp_path / f'{number}{suffix}'}"
            if number == 20:
                recorder.stop()
                assert recorder.path is None
            recorder.write(moving_picture(number, 64, 48), 7.0 + number / 20)
            recorder.idle()
    assert files(tmp_path) == {f"10{suffix}", f"40{suffix}"}
    for first, count in ((10, 10), (40, 20)):
        recorded = read_clip(tmp_path / f"{first}{suffix}")
        assert recorded.times == [Fraction(number, 20) for number in range(count)]
        assert distance(recorded.pictures[-1], moving_picture(first + count - 1, 64, 48)) < 12
    assert recorder.problem is None


def test_a_frame_may_be_painted_over_once_it_is_handed_in(tmp_path: Path) -> None:
    picture = np.zeros((360, 480, 3), dtype=np.uint8)
    with Recorder() as recorder:
        recorder.start(tmp_path / "rec.mp4")
        for number in range(30):  # more than may wait for the encoder
            picture[:] = 8 * number
            recorder.write(picture, number / 30)
        picture[:] = 255
    recorded = read_clip(tmp_path / "rec.mp4")
    assert [round(float(shown.mean()) / 8) for shown in recorded.pictures] == list(range(30))


def test_starting_anew_finishes_what_is_being_recorded(tmp_path: Path) -> None:
    with Recorder() as recorder:
        for name in ("a.mp4", "b.mp4", "never.mp4"):
            recorder.start(tmp_path / name)
            if name != "never.mp4":
                recorder.write(moving_picture(0, 64, 48), 1.0)
    assert files(tmp_path) == {"a.mp4", "b.mp4"}
    assert [len(read_clip(tmp_path / name).times) for name in ("a.mp4", "b.mp4")] == [1, 1]


# Files that cannot be written.


def test_a_file_that_cannot_be_opened_is_a_problem_and_no_end(tmp_path: Path) -> None:
    with Recorder() as recorder:
        recorder.start(tmp_path / "gone" / "rec.mp4")
        for number in range(3):
            recorder.write(moving_picture(number, 64, 48), 1.0 + number)
        while recorder.path is not None:  # the encoder's thread takes its time
            recorder.idle()
        assert recorder.problem is not None
        assert "cannot write" in recorder.problem
        recorder.start(tmp_path / "rec.mp4")
        recorder.write(moving_picture(0, 64, 48), 5.0)
    assert recorder.problem is None
    assert len(read_clip(tmp_path / "rec.mp4").times) == 1


@contextmanager
def limited_file_size(size_bytes: int) -> Iterator[None]:
    """No file of this process may be larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """A file system of its own, where this process may mount one."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("may not mount a small file system here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("limit", ["file size", "disk"])
@SUFFIXES
def test_a_full_disk_ends_the_recording_and_not_the_session(tmp_path: Path, suffix: str, limit: str) -> None:
    path, size_bytes = tmp_path / f"rec{suffix}", 1 << 20
    full = small_disk(tmp_path, size_bytes) if limit == "disk" else limited_file_size(size_bytes)
    with full:
        with Recorder() as recorder:
            recorder.start(path)
            problems = []
            for number in range(150):  # at 10 fps; some 4 MB
                recorder.write(noise(number), number / 10)
                problems.append(recorder.problem)
        recorded = read_clip(path)
    expected = f"no space left to write '{path}': free some disk space and try again"
    assert set(problems) == {None, expected}
    assert problems == sorted(problems, key=lambda problem: problem is not None)  # it comes once, and stays
    last = problems.index(expected)
    assert recorded.times == [Fraction(number, 10) for number in range(len(recorded.times))]
    assert last - 21 <= len(recorded.times) <= last + 1  # all but two pieces of a second
    assert len(recorded.times) >= 10
    assert distance(recorded.pictures[9], noise(9)) < 20


RECORD = """
import sys
from pathlib import Path
from time import monotonic, sleep
import av, numpy
from allaprima.infer.microphone import Microphone
from allaprima.infer.sinks import Recorder

tone = av.open("sine=frequency=440,arealtime", format="lavfi")
with Microphone(tone, "a tone") as microphone, Recorder(microphone=microphone) as recorder:
    recorder.start(Path(sys.argv[1]))
    start_s = monotonic()
    for number in range(10_000):
        now_s = monotonic()
        recorder.write(numpy.full((96, 128, 3), number % 256, dtype=numpy.uint8), now_s)
        print(now_s - start_s, flush=True)
        sleep(0.03)
"""


@SUFFIXES
def test_a_killed_process_leaves_all_but_the_last_second(tmp_path: Path, suffix: str) -> None:
    path, shown_s = tmp_path / f"rec{suffix}", 0.0
    words = [sys.executable, "-c", RECORD, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            shown_s = float(line)
            if shown_s > 3.5 and process.poll() is None:
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    recorded = read_clip(path)
    assert shown_s - 1 < recorded.times[-1] <= shown_s + 0.1
    assert recorded.sound_codecs == ["aac"]
    _, last_sound_s, _ = recorded.sound[0][-1]
    assert shown_s - 2.5 < last_sound_s < shown_s + 0.5


# Sound.


class Whistle:
    """A microphone at a pipe: real time, silence until it is told to sound. 16 kHz mono."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self._sounds, self._stopped = threading.Event(), threading.Event()
        self.since_s = float("nan")
        """When it began to sound, in monotonic seconds."""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._pipe = os.fdopen(reading, "rb", buffering=0)
        self.container = av.open(
            self._pipe,
            "r",
            format="s16le",
            options={"sample_rate": "16000", "ch_layout": "mono"},
        )

    def sound(self) -> None:
        self._sounds.set()

    def stop(self) -> None:
        """Unplug it."""
        self._stopped.set()
        self._thread.join()

    def close(self) -> None:
        self.stop()
        self._pipe.close()

    def _run(self) -> None:
        start_s, samples = monotonic(), 0
        with os.fdopen(self._writing, "wb", buffering=0) as pipe:
            while not self._stopped.is_set():
                until = int(16_000 * (monotonic() - start_s))
                if self._sounds.is_set() and not self.since_s > 0:
                    self.since_s = start_s + samples / 16_000
                level = 10_000 * (self.since_s > 0)
                try:
                    pipe.write((level * np.sin(np.arange(samples, until) * 0.3)).astype(np.int16).tobytes())
                except BrokenPipeError:
                    return
                samples = until
                sleep(0.01)


@pytest.fixture
def whistle() -> Iterator[Whistle]:
    whistle = Whistle()
    yield whistle
    whistle.close()


def loudness(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """When each sample of a file's sound is heard, s, and how loud it is."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    times_s = [float((f.pts or 0) * (f.time_base or 0)) + np.arange(f.samples) / f.sample_rate for f in frames]
    return np.concatenate(times_s), np.abs(np.concatenate([f.to_ndarray()[0] for f in frames]))


@pytest.mark.parametrize("wait_s", [0.0, 0.7])
@SUFFIXES
def test_sound_and_picture_are_in_sync(tmp_path: Path, whistle: Whistle, suffix: str, wait_s: float) -> None:
    """A light and a whistle at one time are at one time in the file, however long the microphone was open before."""
    path = tmp_path / f"rec{suffix}"
    with Microphone(whistle.container, "a whistle") as microphone:
        sleep(wait_s)
        with Recording(path, microphone=microphone) as recording:
            assert recording.description == f"recording to {path} with a whistle"
            written_s = []
            start_s = now_s = monotonic()
            while now_s < start_s + 2:
                if now_s > start_s + 1:
                    whistle.sound()
                is_lit = now_s >= whistle.since_s
                recording.write(np.full((48, 64, 3), 255 * is_lit, dtype=np.uint8), now_s)
                written_s.append(now_s)
                sleep(0.02)
                now_s = monotonic()
        whistle.stop()
    recorded = read_clip(path)
    lit_s = next(float(t) for t, picture in zip(recorded.times, recorded.pictures, strict=True) if picture.mean() > 127)
    times_s, level = loudness(path)
    heard_s = times_s[level > 0.1][0]
    assert recorded.times == [Fraction(round(1000 * (time_s - start_s)), 1000) for time_s in written_s]
    assert abs(heard_s - lit_s) < 0.1
    assert abs(heard_s - (whistle.since_s - start_s)) < 0.1
    assert times_s[-1] > recorded.times[-1] - Fraction(1, 4)
    assert np.diff(times_s).max() < 0.04  # no gaps
    assert (level[times_s > heard_s + 0.05].reshape(1, -1) > 0.01).mean() > 0.8


def test_the_sound_goes_on_while_the_camera_is_away(
    tmp_path: Path, whistle: Whistle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allaprima.infer.microphone._KEEP_S", 0.3)
    whistle.sound()
    path = tmp_path / "rec.mp4"
    with Microphone(whistle.container, "a whistle") as microphone, Recorder(microphone=microphone) as recorder:
        recorder.start(path)
        start_s = monotonic()
        recorder.write(moving_picture(0, 64, 48), start_s)
        while monotonic() < start_s + 1.5:
            recorder.idle()
            sleep(0.05)
        recorder.write(moving_picture(1, 64, 48), monotonic())
    times_s, level = loudness(path)
    away = (times_s > 0.3) & (times_s < 1.2)
    assert (level[away] > 0.01).mean() > 0.8
    assert np.diff(times_s).max() < 0.04


def test_a_microphone_that_is_unplugged_ends_the_sound_only(tmp_path: Path, whistle: Whistle) -> None:
    path = tmp_path / "rec.mp4"
    with Microphone(whistle.container, "a whistle") as microphone, Recording(path, microphone=microphone) as recording:
        for number in range(40):
            recording.write(moving_picture(number, 64, 48), monotonic())
            if number == 10:
                whistle.stop()
            sleep(0.02)
    assert microphone.problem == "a whistle fell silent: the sound ends here"
    recorded = read_clip(path)
    assert len(recorded.times) == 40
    assert recorded.sound[0][-1][1] < recorded.times[-1] - Fraction(1, 4)


def test_each_recording_of_a_session_has_its_own_sound(tmp_path: Path, whistle: Whistle) -> None:
    """The whistle is in the second only, and at its beginning."""
    with Microphone(whistle.container, "a whistle") as microphone, Recorder(microphone=microphone) as recorder:
        for name in ("a.mkv", "b.mkv"):
            recorder.start(tmp_path / name)
            for number in range(30):
                recorder.write(moving_picture(number, 64, 48), monotonic())
                sleep(0.02)
            recorder.stop()
            whistle.sound()
            sleep(0.2)
    assert loudness(tmp_path / "a.mkv")[1].max() < 0.01
    times_s, level = loudness(tmp_path / "b.mkv")
    assert times_s[level > 0.1][0] < 0.1
    assert times_s[0] < 0.1
    assert 0.4 < times_s[-1] < 5


def test_the_clock_of_samples_takes_the_least_late_block() -> None:
    """Blocks of 0.1 s, 1000 samples a second, heard from 50 s on; three of four arrive up to 80 ms late."""
    clock = SampleClock(1000)
    late_s = [0.05, 0.08, 0.0, 0.03]
    starts_s = [clock.start_s(100, 50 + 0.1 * (n + 1) + late_s[n % 4]) for n in range(100)]
    assert starts_s[:2] == pytest.approx([50.05, 50.15])  # nothing better is known yet
    assert starts_s[2:] == pytest.approx([50 + 0.1 * n for n in range(2, 100)])


def test_the_clock_of_samples_notices_what_was_lost() -> None:
    """From block 50 on, 0.7 s are missing."""
    clock = SampleClock(1000)
    starts_s = [clock.start_s(100, 50 + 0.1 * (n + 1) + (0.7 if n >= 50 else 0)) for n in range(100)]
    assert starts_s[:50] == pytest.approx([50 + 0.1 * n for n in range(50)])
    assert starts_s[75:] == pytest.approx([50.7 + 0.1 * n for n in range(75, 100)])


def test_the_clock_of_samples_follows_a_slow_device() -> None:
    """One whose 1000 samples take 1.001 s, over ten minutes."""
    clock = SampleClock(1000)
    starts_s = [clock.start_s(100, 0.1001 * (n + 1)) for n in range(6000)]
    assert max(abs(start_s - 0.1001 * n) for n, start_s in enumerate(starts_s)) < 0.04


HEAR = """
from time import monotonic, sleep
from allaprima.errors import InputError
from allaprima.infer.microphone import SoundTrack, open_microphone
try:
    with open_microphone() as microphone:
        track = SoundTrack(microphone, monotonic())
        sleep(0.1)
        samples = list(track.heard())[0]
        print(samples.layout.name, samples.rate, samples.format.name)
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ALSA is of Linux")
@pytest.mark.parametrize(("configuration", "expected"), [
    ("pcm.default { type null }", "stereo 48000 fltp"),
    ("", "--record-sound: no microphone can be opened (default: "),
])  # fmt: skip
def test_the_systems_microphone(tmp_path: Path, configuration: str, expected: str) -> None:
    """ALSA itself, with a device that hears silence and with none; whatever it has to say, there is one line."""
    (tmp_path / "alsa.conf").write_text(configuration)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ALSA_CONFIG_PATH": str(tmp_path / "alsa.conf")}
    done = subprocess.run([sys.executable, "-c", HEAR], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(expected), done.stdout
    assert done.stdout.count("\n") == 1


# Snapshots.


def test_a_snapshot_is_two_pictures_and_overwrites_nothing(tmp_path: Path) -> None:
    photo, painting, when = moving_picture(1, 64, 48), moving_picture(9, 128, 96), datetime(2026, 11, 21, 21, 40, 3)
    first = save_snapshot(tmp_path, photo, painting, when)
    second = save_snapshot(tmp_path, painting, photo, when)
    assert [path.name for path in (*first, *second)] == [
        "allaprima-20261121-214003-photo.png",
        "allaprima-20261121-214003-painting.png",
        "allaprima-20261121-214003-2-photo.png",
        "allaprima-20261121-214003-2-painting.png",
    ]
    for path, picture in zip((*first, *second), (photo, painting, painting, photo), strict=True):
        assert (read_picture(path) == picture).all()
    assert len(files(tmp_path)) == 4


def test_new_paths_belong_together(tmp_path: Path) -> None:
    when = datetime(2026, 11, 21, 9, 5, 3)
    (tmp_path / "allaprima-20261121-090503-painting.png").touch()
    assert new_paths(tmp_path, when, ".mp4") == [tmp_path / "allaprima-20261121-090503.mp4"]
    assert [path.name for path in new_paths(tmp_path, when, "-photo.png", "-painting.png")] == [
        "allaprima-20261121-090503-2-photo.png",
        "allaprima-20261121-090503-2-painting.png",
    ]


def test_a_snapshot_without_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output folder '.*none' does not exist: create it"):
        save_snapshot(tmp_path / "none", noise(0), noise(1), datetime(2026, 1, 1))


def test_a_snapshot_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with limited_file_size(100_000), pytest.raises(InputError, match="no space left to write"):
        save_snapshot(tmp_path, moving_picture(0, 64, 48), noise(1), datetime(2026, 1, 1))
    assert files(tmp_path) == set()
