"""The parts of a live session: overlapping stages, the newest frame, recordings, the figures."""

import shutil
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import pytest
from clips import Picture, distance, make_clip, moving_picture, read_clip
from conftest import wait_for
from mjpeg import MjpegCamera, number_of, numbered_pictures

from allaprima.errors import InputError
from allaprima.infer.ahead import ahead
from allaprima.infer.camera import Capture, NewestFrame, open_camera, parse_size
from allaprima.infer.device import DeviceCamera
from allaprima.infer.live import Tally, run_live
from allaprima.infer.sinks import Recording
from allaprima.infer.window import display_problem

BACK_END = {"win32": "MSMF", "darwin": "AVFOUNDATION"}.get(sys.platform, "V4L2")


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    wait_for(lambda: not [t for t in threading.enumerate() if t.name in {"ahead", "camera"}])


# Overlapping stages.


class Stage:
    """Doubles numbers, raises at `raise_at`, and knows whether it was closed."""

    def __init__(self, source: Generator[int, None, None], raise_at: int | None = None) -> None:
        self.source, self.raise_at = source, raise_at
        self.closed = False
        self.made = 0

    def run(self) -> Generator[int, None, None]:
        try:
            with closing(self.source):
                for number in self.source:
                    if number == self.raise_at:
                        raise RuntimeError(f"stage broke at {number}")
                    self.made += 1
                    yield 2 * number
        finally:
            self.closed = True


def count(limit: int = 1_000_000) -> Generator[int, None, None]:
    yield from range(limit)


def test_ahead_keeps_order_and_ends() -> None:
    assert list(ahead(ahead(count(1000), depth=3), depth=1)) == list(range(1000))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_ahead_is_bounded(depth: int) -> None:
    stage = Stage(count())
    with closing(ahead(stage.run(), depth=depth)) as numbers:
        for taken in range(1, 6):
            next(numbers)
            wait_for(lambda: stage.made >= taken + depth)  # noqa: B023, it is called at once
            assert stage.made == taken + depth


@pytest.mark.parametrize("which", ["first", "second", "consumer"])
def test_a_stage_that_raises_ends_all(which: str) -> None:
    first = Stage(count(), raise_at=7 if which == "first" else None)
    second = Stage(ahead(first.run()), raise_at=10 if which == "second" else None)
    got: list[int] = []

    def consume() -> None:
        with closing(ahead(second.run())) as numbers:
            for number in numbers:
                got.append(number)
                if which == "consumer" and len(got) == 5:
                    raise RuntimeError("consumer broke at 5")

    with pytest.raises(RuntimeError, match="broke at"):
        consume()
    assert got == [0, 4, 8, 12, 16, 20, 24][: 5 if which != "first" else 7]
    assert first.closed
    assert second.closed


def test_what_is_no_exception_reaches_the_consumer() -> None:
    def interrupted() -> Generator[int, None, None]:
        yield 1
        raise KeyboardInterrupt

    numbers = ahead(interrupted())
    assert next(numbers) == 1
    with pytest.raises(KeyboardInterrupt):
        next(numbers)


def test_a_source_that_cannot_be_closed_ends_all() -> None:
    class Source:
        def __iter__(self) -> Iterator[int]:
            return iter([1, 2])

        def close(self) -> None:
            raise RuntimeError("close broke")

    numbers = ahead(Source())
    assert [next(numbers), next(numbers)] == [1, 2]
    with pytest.raises(RuntimeError, match="close broke"):
        next(numbers)


# Cameras.


class ScriptedCamera:
    """Gives numbered pictures whenever the test says so."""

    name = description = "scripted camera"
    notes: list[str] = []  # noqa: RUF012

    def __init__(self, pictures: list[Picture], *, error: InputError | None = None, gated: bool = True) -> None:
        self.pictures, self.error = pictures, error
        self.gate = threading.Semaphore(0 if gated else len(pictures) + 1)
        self.closed = False

    def release(self, pictures: int) -> None:
        self.gate.release(pictures)

    def frames(self) -> Generator[Picture, None, None]:
        for picture in self.pictures:
            self.gate.acquire()
            yield picture
        self.gate.acquire()
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed = True


def next_capture(captures: Generator[Capture | None, None, None]) -> Capture:
    """The next one that is not a heartbeat."""
    while (capture := next(captures)) is None:
        pass
    return capture


def test_a_slow_consumer_sees_the_newest_frame() -> None:
    camera = ScriptedCamera(numbered_pictures(50))
    with NewestFrame(camera) as newest, closing(newest.captures()) as captures:
        assert next(captures) is None  # nothing yet: a heartbeat
        for released, expected in ((1, 0), (20, 20), (1, 21), (28, 49)):
            before = newest.captured
            camera.release(released)
            wait_for(lambda: newest.captured == before + released)  # noqa: B023, it is called at once
            assert number_of(next_capture(captures).picture) == expected
        camera.release(1)
        with pytest.raises(StopIteration):
            next_capture(captures)
    assert (newest.captured, newest.dropped) == (50, 46)
    assert camera.closed


def test_a_slow_consumer_of_a_network_camera_sees_the_newest_frame() -> None:
    with (
        MjpegCamera(numbered_pictures(40), fps=400, end="hold") as server,
        NewestFrame(open_camera(server.url)) as newest,
    ):
        captures = newest.captures()
        next_capture(captures)
        wait_for(lambda: newest.captured == 40)
        assert number_of(next_capture(captures).picture) == 39
        captures.close()


def test_a_network_camera_that_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allaprima.infer.clip.READ_TIMEOUT_S", 0.2)
    with MjpegCamera(numbered_pictures(5), end="hold") as server, NewestFrame(open_camera(server.url)) as newest:
        captures = newest.captures()
        next_capture(captures)
        with pytest.raises(InputError, match=r"stopped sending pictures \(no answer in time\)"):
            list(captures)


def test_a_camera_that_fails_gives_its_last_frame_first() -> None:
    camera = ScriptedCamera(numbered_pictures(3), error=InputError("gone"), gated=False)
    with NewestFrame(camera) as newest:
        wait_for(lambda: camera.closed)
        captures = newest.captures()
        assert number_of(next_capture(captures).picture) == 2
        with pytest.raises(InputError, match="gone"):
            next_capture(captures)


def test_a_clip_as_a_camera_plays_once_at_its_own_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ticks=[300, 3300, 9300, 12300], last_duration=300)
    now_s = 100.0
    shown_s = []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr("allaprima.infer.played.monotonic", lambda: now_s)
    monkeypatch.setattr("allaprima.infer.played.sleep", sleep)
    camera = open_camera(str(clip), size=(640, 480), fps=30)
    assert camera.notes == [f"--{flag} is ignored: it is for cameras of this machine" for flag in ("size", "fps")]
    for _ in camera.frames():
        shown_s.append(now_s)
        now_s += 0.02  # who takes the frames is slow
    camera.close()
    assert shown_s == pytest.approx([100.0, 100.1, 100.3, 100.4])


class FakeDevice:
    """In place of cv2.VideoCapture: a camera that knows 320x240 at 15 fps only, and is unplugged after 4 frames."""

    def __init__(self) -> None:
        self.left, self.released = 4, False
        self.asked: dict[int, float] = {}

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, key: int, value: float) -> bool:
        self.asked[key] = value
        return False

    def get(self, key: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 320.0, cv2.CAP_PROP_FRAME_HEIGHT: 240.0, cv2.CAP_PROP_FPS: 15.0}[key]

    def read(self, image: Picture | None = None) -> tuple[bool, Picture | None]:
        self.left -= 1
        if self.left < 0:
            return False, None
        image = np.empty((240, 320, 3), dtype=np.uint8) if image is None else image
        image[:] = 10, 20, 30 + self.left  # blue, green, red
        return True, image

    def release(self) -> None:
        self.released = True


def test_a_device_is_asked_and_says_what_it_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    monkeypatch.setattr("allaprima.infer.device._open_device", lambda index, back_end: device)
    monkeypatch.setattr("allaprima.infer.device._GIVE_UP_S", 0.2)
    camera = DeviceCamera(3, size=(640, 480), fps=30)
    assert device.asked[cv2.CAP_PROP_FRAME_WIDTH] == 640
    assert device.asked[cv2.CAP_PROP_FPS] == 30
    assert camera.description == f"camera 3: 320x240 at 15 fps ({BACK_END})"
    assert camera.notes == [
        "camera 3 gives 320x240 px, not --size 640x480",
        "camera 3 gives 15 frames per second, not --fps 30",
    ]
    frames = camera.frames()
    pictures = [picture for picture in islice(frames, 3) if picture is not None]  # the first was read on opening
    assert [picture[0, 0].tolist() for picture in pictures] == [[32, 20, 10], [31, 20, 10], [30, 20, 10]]
    with pytest.raises(InputError, match="camera 3 stopped sending pictures: check its cable"):
        next(frames)
    camera.close()
    assert device.released


def test_a_camera_that_does_not_exist() -> None:
    with pytest.raises(InputError, match=rf"camera 73 cannot be opened \({BACK_END}: .*\): plug it in"):
        open_camera("73")


@pytest.mark.parametrize("source", ["ftp://host/x", "file:///etc/hosts", "concat://a", "udp://127.0.0.1:9", "http://"])
def test_addresses_that_are_no_camera(source: str) -> None:
    with pytest.raises(InputError, match="is no address of a camera: expected http://"):
        open_camera(source)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(InputError, match=r"camera 'http://\.\.\.@127\.0\.0\.1:9/video' cannot be opened"):
        open_camera("http://me:secret@127.0.0.1:9/video")


@pytest.mark.parametrize("text", ["640", "640x", "x480", "8x8", "-640x480", "640x480x3", "big"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match=r"--size: got .* expected a width and height"):
        parse_size(text)
    assert parse_size("640X480") == (640, 480)


# The loop.


class ListSink:
    """Keeps the numbers it was given; closes itself after `limit`."""

    description = "a list"
    problem: str | None = None

    def __init__(self, limit: int | None = None) -> None:
        self.numbers: list[int] = []
        self.times_s: list[float] = []
        self.limit, self.closed, self.idles = limit, False, 0

    def __enter__(self) -> "ListSink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def write(self, picture: Picture, time_s: float) -> None:
        self.numbers.append(number_of(picture))
        self.times_s.append(time_s)
        self.closed = len(self.numbers) == self.limit

    def idle(self) -> None:
        self.idles += 1


def test_every_sink_gets_every_painted_frame_in_order() -> None:
    camera, tally, sinks = ScriptedCamera(numbered_pictures(30), gated=False), Tally(), [ListSink(), ListSink()]
    with NewestFrame(camera) as newest:
        run_live(newest, lambda frame: frame, sinks, tally)
    assert sinks[0].numbers == sinks[1].numbers == sorted(set(sinks[0].numbers))
    assert sinks[0].numbers[-1] == 29
    assert sinks[0].times_s == sorted(sinks[0].times_s)
    assert len(sinks[0].numbers) + newest.dropped == newest.captured == 30
    assert tally.frames == len(sinks[0].numbers)


class FailingSink(ListSink):
    """Has a problem from a number of frames on."""

    def __init__(self, name: str, after: int) -> None:
        super().__init__()
        self.name, self.after = name, after

    def write(self, picture: Picture, time_s: float) -> None:
        super().write(picture, time_s)
        if len(self.numbers) >= self.after:
            self.problem = f"{self.name} is full"


def test_a_sink_with_a_problem_is_told_of_once_and_the_others_go_on() -> None:
    camera, told = ScriptedCamera(numbered_pictures(30), gated=False), list[str]()
    sinks = [FailingSink("a", 1), ListSink()]
    with NewestFrame(camera) as newest:
        run_live(newest, lambda frame: frame, sinks, Tally(), on_problem=told.append)
    assert told == ["a is full"]
    assert sinks[1].numbers[-1] == 29


def test_a_session_whose_sinks_all_have_a_problem_ends() -> None:
    camera, told, tally = ScriptedCamera(numbered_pictures(30), gated=False), list[str](), Tally()
    with NewestFrame(camera) as newest, pytest.raises(InputError, match=r"^b is full$"):
        run_live(newest, lambda f: f, [FailingSink("a", 1), FailingSink("b", 1)], tally, on_problem=told.append)
    assert (told, tally.frames) == (["a is full"], 1)


def test_a_sink_that_closes_ends_the_session() -> None:
    camera, tally, sink = ScriptedCamera(numbered_pictures(30)), Tally(), ListSink(limit=2)
    with NewestFrame(camera) as newest:
        camera.release(1)

        def release_second() -> None:
            wait_for(lambda: tally.frames == 1)
            camera.release(1)

        feeder = threading.Thread(target=release_second)
        feeder.start()
        run_live(newest, lambda frame: frame, [sink], tally)
        feeder.join()
        camera.release(40)
    assert sink.numbers == [0, 1]


def test_idle_and_stop_without_a_frame() -> None:
    camera, sink = ScriptedCamera(numbered_pictures(1)), ListSink()
    with NewestFrame(camera) as newest:
        run_live(newest, lambda frame: frame, [sink], Tally(), stopped=lambda: sink.idles == 3)
        camera.release(2)
    assert sink.idles == 3


def test_a_slow_style_paints_the_newest_frame() -> None:
    camera, sink = ScriptedCamera(numbered_pictures(31)), ListSink()

    def slow(frame: Picture) -> Picture:
        """While it paints, the camera gives ten more."""
        camera.release(10)
        wait_for(lambda: newest.captured == min(number_of(frame) + 11, 31))
        return frame

    with NewestFrame(camera) as newest:
        camera.release(1)
        run_live(newest, slow, [sink], Tally())
    assert sink.numbers == [0, 10, 20, 30]
    assert newest.dropped == 27


# Stages that fail: the session ends, with what the stage said.


class BrokenCamera(ScriptedCamera):
    """Fails before its first picture (at 0), later (at 3), or when it is closed (at None)."""

    def __init__(self, at: int | None) -> None:
        super().__init__(numbered_pictures(10 if at is None else at), gated=False)
        self.at = at

    def frames(self) -> Generator[Picture, None, None]:
        yield from super().frames()
        if self.at is not None:
            raise RuntimeError("camera broke")

    def close(self) -> None:
        super().close()
        if self.at is None:
            raise RuntimeError("camera broke")


class StrictSink(ListSink):
    """Knows how often it was entered and left, and fails in one of its methods."""

    def __init__(self, fails_in: str | None = None) -> None:
        super().__init__()
        self.fails_in, self.entered, self.left = fails_in, 0, 0

    def __enter__(self) -> "StrictSink":
        self.fail("enter")
        self.entered += 1
        return self

    def __exit__(self, *words: object) -> None:
        self.left += 1
        self.fail("exit")

    def write(self, picture: Picture, time_s: float) -> None:
        self.fail("write")
        super().write(picture, time_s)

    def idle(self) -> None:
        self.fail("idle")
        super().idle()

    def fail(self, method: str) -> None:
        if method == self.fails_in:
            raise RuntimeError(f"{method} broke")


def run_session(camera: ScriptedCamera, paint: Callable[[Picture], Picture], sinks: Sequence[StrictSink]) -> None:
    """What `allaprima cam` does, and an end to waiting for it: a session that hangs is an AssertionError."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with ExitStack() as stack:
                for sink in sinks:
                    stack.enter_context(sink)
                newest = stack.enter_context(NewestFrame(camera))
                stack.callback(camera.release, 1000)  # a gated one ends
                run_live(newest, paint, sinks, Tally())
        except BaseException as error:
            errors.append(error)

    session = threading.Thread(target=run, daemon=True)
    session.start()
    session.join(30)
    assert not session.is_alive(), "the session hangs"
    for error in errors:
        raise error


@pytest.mark.parametrize(("at", "last"), [(0, []), (3, [2]), (None, [9])])
def test_a_camera_that_fails_ends_the_session(at: int | None, last: list[int]) -> None:
    camera, sinks = BrokenCamera(at), [StrictSink(), StrictSink()]
    with pytest.raises(RuntimeError, match="camera broke"):
        run_session(camera, lambda frame: frame, sinks)
    assert camera.closed
    assert [(sink.entered, sink.left, sink.numbers[-1:]) for sink in sinks] == 2 * [(1, 1, last)]


def test_a_camera_says_why_it_failed_even_if_it_cannot_be_closed() -> None:
    class Camera(ScriptedCamera):
        def close(self) -> None:
            raise RuntimeError("close broke")

    with pytest.raises(InputError, match="unplugged"):
        run_session(Camera([], error=InputError("unplugged"), gated=False), lambda frame: frame, [StrictSink()])


@pytest.mark.parametrize("at", [0, 2])
def test_a_style_that_fails_ends_the_session(at: int) -> None:
    def paint(frame: Picture) -> Picture:
        if number_of(frame) == at:
            raise InputError("no paint")
        camera.release(1)
        return frame

    camera, sinks = ScriptedCamera(numbered_pictures(5)), [StrictSink(), StrictSink()]
    camera.release(1)
    with pytest.raises(InputError, match="no paint"):
        run_session(camera, paint, sinks)
    assert camera.closed
    assert [(sink.entered, sink.left, sink.numbers) for sink in sinks] == 2 * [(1, 1, list(range(at)))]


@pytest.mark.parametrize("broken_first", [True, False])
@pytest.mark.parametrize("method", ["enter", "write", "idle", "exit"])
def test_a_sink_that_fails_ends_the_session_and_the_other_is_closed(method: str, broken_first: bool) -> None:
    camera = ScriptedCamera(numbered_pictures(5), gated=method == "idle")
    broken, other = StrictSink(fails_in=method), StrictSink()
    with pytest.raises(RuntimeError, match=f"{method} broke"):
        run_session(camera, lambda frame: frame, [broken, other] if broken_first else [other, broken])
    assert other.entered == other.left == (0 if (method, broken_first) == ("enter", True) else 1)
    assert broken.entered == broken.left == (0 if method == "enter" else 1)
    assert camera.closed or method == "enter"


def test_a_camera_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allaprima.infer.camera._JOIN_S", 0.01)
    camera, sink = ScriptedCamera(numbered_pictures(1)), ListSink()
    with NewestFrame(camera) as newest:
        run_live(newest, lambda frame: frame, [sink], Tally(), stopped=lambda: sink.idles == 1)
    assert not camera.closed
    camera.release(2)  # it wakes up, long after
    wait_for(lambda: camera.closed)


def test_opencv_has_one_thread_while_a_camera_is_read() -> None:
    before = cv2.getNumThreads()
    with NewestFrame(ScriptedCamera([], gated=False)):
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


# The figures.


def test_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally()
    arrivals_s = iter([10.1, 10.3, 10.4, 12.0])
    monkeypatch.setattr("allaprima.infer.live.monotonic", lambda: next(arrivals_s))
    for captured_s in (10.0, 10.2, 10.2, 11.5):
        tally.add(Capture(np.zeros((16, 16, 3), np.uint8), captured_s))
    report = tally.report(dropped=7)
    assert (report.frames, report.dropped) == (4, 7)
    assert report.seconds == pytest.approx(2.0)
    assert report.fps == pytest.approx(2.0)
    assert report.latency_p50_ms == pytest.approx(150)  # of 100, 100, 200, 500
    assert report.latency_p95_ms == pytest.approx(455)


# Recordings.


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_recording_has_the_capture_times_and_plays_before_it_is_closed(tmp_path: Path, suffix: str) -> None:
    times_s = [50.0, 50.033, 50.2, 50.201, 50.9, 51.5, 52.6, 53.0, 53.9, 55.0]
    path = tmp_path / f"rec{suffix}"
    with Recording(path) as recording:
        assert not path.exists()  # nothing before the first frame
        for number, time_s in enumerate(times_s):
            recording.write(moving_picture(number, 65, 49), time_s)
        shutil.copy(path, tmp_path / f"crashed{suffix}")
    whole, crashed = read_clip(path), read_clip(tmp_path / f"crashed{suffix}")
    assert whole.times == [Fraction(round(1000 * (t - 50)), 1000) for t in times_s]
    assert whole.size == (66, 50)
    assert len(crashed.times) >= 6  # all but the last piece
    assert crashed.times == whole.times[: len(crashed.times)]
    grown = np.pad(moving_picture(3, 65, 49), ((0, 1), (0, 1), (0, 0)), mode="edge")
    assert distance(grown, whole.pictures[3]) < 12


def test_recording_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "rec.mp4").symlink_to(tmp_path / "gone" / "rec.mp4")
    with (
        pytest.raises(InputError, match=r"cannot write '.*' .*: choose a place"),
        Recording(tmp_path / "rec.mp4") as sink,
    ):
        sink.write(moving_picture(0, 64, 48), 1.0)


# Displays.


@pytest.mark.skipif("__import__('sys').platform in {'win32', 'darwin'}", reason="they always have a display")
@pytest.mark.parametrize(("variables", "problem"), [
    ({}, "neither DISPLAY nor WAYLAND_DISPLAY is set"),
    ({"DISPLAY": ":9753"}, "nothing answers at DISPLAY ':9753'"),
    ({"DISPLAY": "127.0.0.1:3000"}, "nothing answers at DISPLAY '127.0.0.1:3000'"),
    ({"DISPLAY": "nonsense"}, "nothing answers at DISPLAY 'nonsense'"),
])  # fmt: skip
def test_a_display_that_is_not_there(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], problem: str) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert display_problem() == problem
