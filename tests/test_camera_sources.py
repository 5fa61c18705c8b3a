"""Every source of a live session, and a session that outlives its camera: real servers that die and come back."""

import errno
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import islice, pairwise, repeat
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clips import Picture, distance, make_clip, moving_picture
from conftest import wait_for
from mjpeg import MjpegCamera, number_of, numbered_pictures
from rtsp_camera import OthersRtspCamera, RtspCamera

from allaprima.errors import InputError
from allaprima.infer import device, steady
from allaprima.infer.camera import Camera, Capture, NewestFrame, open_camera
from allaprima.infer.clip import Clip
from allaprima.infer.demo import DemoCamera
from allaprima.infer.device import Device, DeviceCamera, Mode, find_device, names_on_macos, needs_mjpg
from allaprima.infer.played import FolderCamera, fit
from allaprima.infer.steady import SteadyCamera
from allaprima.pictures import write_picture

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Video4Linux2 is of Linux")
servers = pytest.mark.parametrize("server", [MjpegCamera, RtspCamera])
Server = Callable[..., MjpegCamera | RtspCamera | OthersRtspCamera]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    wait_for(lambda: not [t for t in threading.enumerate() if t.name in {"ahead", "camera", "connection"}])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """The time, which passes only in what sleeps for a source that plays at its own speed."""
    now_s = 100.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr("allaprima.infer.played.monotonic", lambda: now_s)
    monkeypatch.setattr("allaprima.infer.played.sleep", sleep)
    return lambda: now_s


def shown(camera: Camera, count: int, clock: Callable[[], float]) -> tuple[list[float], list[Picture]]:
    """The first pictures, and when they came."""
    times_s, pictures = [], []
    with closing(camera.frames()) as frames:
        for picture in islice((frame for frame in frames if frame is not None), count):
            times_s.append(clock() - 100)
            pictures.append(picture)
    camera.close()
    return times_s, pictures


# The demo.


def test_the_demo_moves_and_is_always_the_same() -> None:
    camera, again = open_camera("demo"), DemoCamera(notes=[])
    assert camera.description == "demo: a drawn scene, 640x480 at 30 fps"
    numbers = [0, 1, 30, 10**8]
    pictures = [again.draw(number) for number in numbers]
    with closing(camera.frames()) as frames:
        first_two = [next(frames), next(frames)]
    for got, expected in zip(first_two, pictures, strict=False):
        assert got is not None
        assert (got == expected).all()
    for picture in pictures:
        assert picture.shape == (480, 640, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 40
    for rows in (slice(0, 240), slice(240, 300), slice(300, 480)):  # sky, land and water
        assert distance(pictures[0][rows], pictures[2][rows]) > 2


def test_the_demo_has_no_seam() -> None:
    camera = DemoCamera(notes=[])
    for strip in (camera._sky, camera._water):
        columns = strip.astype(np.float64)
        steps = np.abs(columns - np.roll(columns, 1, axis=1)).mean(axis=(0, 2))  # the first: from edge to edge
        assert steps[0] < steps[1:].max()


def test_the_demo_is_cheap_at_any_size() -> None:
    camera = open_camera("demo", size=(320, 240), fps=60)
    assert camera.notes == ["--fps is ignored: it is for cameras of this machine"]
    assert "320x240" in camera.description
    demo, spent_s = DemoCamera(notes=[]), []
    for number in range(50):
        begin_s = time.thread_time()
        demo.draw(number)
        spent_s.append(time.thread_time() - begin_s)
    assert np.median(spent_s) < 0.005  # 0.7 ms where nothing else runs


def test_the_demo_keeps_its_rate(clock: Callable[[], float]) -> None:
    times_s, _ = shown(open_camera("demo", size=(64, 48)), 61, clock)
    assert times_s == pytest.approx([number / 30 for number in range(61)])


# Clips and folders.


def test_a_clip_repeats_without_a_gap_or_drift(tmp_path: Path, clock: Callable[[], float]) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ticks=range(300, 4300, 1000), last_duration=1000)
    camera = open_camera(str(clip), loop=True)
    assert camera.description.endswith(", repeated")
    times_s, pictures = shown(camera, 401, clock)
    assert times_s == pytest.approx([number / 30 for number in range(401)])
    for number in (0, 3, 4, 7):
        assert distance(pictures[number], moving_picture(number % 4, 64, 48)) < 12


def test_a_looped_clip_that_goes_away(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ticks=[0, 300, 600])
    camera = open_camera(str(clip), loop=True)
    clip.unlink()
    with pytest.raises(InputError, match="does not exist"):
        list(camera.frames())
    camera.close()


def test_a_long_picture_of_a_clip_is_no_silence(tmp_path: Path, clock: Callable[[], float]) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ticks=[0, 30_000], last_duration=300)
    camera = open_camera(str(clip))
    frames = list(camera.frames())
    camera.close()
    assert [frame is None for frame in frames] == [False, True, True, True, False]


def test_who_was_held_up_goes_on_from_there(clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_camera("demo", size=(64, 48)).frames()) as frames:
        next(frames)
        monkeypatch.setattr("allaprima.infer.played.monotonic", lambda: clock() + 3600)  # the lid was closed
        came_s = []
        for _ in range(4):
            next(frames)
            came_s.append(clock())
    assert [b - a for a, b in pairwise(came_s)] == pytest.approx([1 / 30] * 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of three shapes, and two files that only look like pictures."""
    folder = tmp_path / "holiday"
    (folder / "more").mkdir(parents=True)
    colours = {"a.png": (200, 0, 0), "c.jpg": (0, 200, 0), "more/d.webp": (0, 0, 200)}
    for (name, colour), size in zip(colours.items(), [(80, 60), (60, 80), (2000, 50)], strict=True):
        write_picture(folder / name, np.full((size[1], size[0], 3), colour, dtype=np.uint8))
    (folder / "b.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("nor this")
    (folder / "e.jpg").write_bytes((folder / "c.jpg").read_bytes()[:300])
    return folder


def test_a_folder_shows_its_pictures_one_by_one(folder: Path, clock: Callable[[], float]) -> None:
    camera = open_camera(str(folder))
    assert camera.description == f"folder '{folder}': 5 pictures, 4 s each, 80x60 at 25 fps"
    times_s, pictures = shown(camera, 1000, clock)
    assert times_s == pytest.approx([number / 25 for number in range(300)])
    assert {picture.shape for picture in pictures} == {(60, 80, 3)}
    red, green, blue = pictures[0], pictures[100], pictures[200]
    assert (red == (200, 0, 0)).all()
    assert (pictures[99] == red).all()
    assert distance(green[:, 18:62], np.full((60, 44, 3), (0, 200, 0), np.uint8)) < 3
    assert not green[:, :17].any()
    assert distance(blue[29:31], np.full((2, 80, 3), (0, 0, 200), np.uint8)) < 3
    assert not blue[:28].any()
    assert len(camera.notes) == 2
    assert "b.png' is not a JPEG, PNG or WebP picture" in camera.notes[0]
    assert "e.jpg" in camera.notes[1]


def test_a_folder_repeats_at_the_size_asked_for(folder: Path, clock: Callable[[], float]) -> None:
    camera = FolderCamera(folder, size=(32, 32), loop=True, seconds=0.2, notes=[])
    times_s, pictures = shown(camera, 31, clock)
    assert times_s == pytest.approx([number / 25 for number in range(31)])
    assert pictures[0].shape == (32, 32, 3)
    assert (pictures[30] == pictures[0]).all()
    assert len(camera.notes) == 2  # each said once


def test_a_folder_of_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("a.png", "c.jpg", "more/d.webp"):
        (folder / name).unlink()
    for nothing in (folder, tmp_path / "empty"):
        with pytest.raises(InputError, match="holds no picture that can be read"):
            open_camera(str(nothing))


def test_a_looped_folder_that_goes_away(folder: Path, clock: Callable[[], float]) -> None:
    camera = FolderCamera(folder, loop=True, seconds=0.04, notes=[])
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="holds no picture any more"):
        list(camera.frames())


@pytest.mark.parametrize(("width", "height", "size"), [(1, 900, (16, 16)), (900, 1, (640, 480)), (33, 17, (640, 480))])
def test_fit_keeps_the_whole_picture(width: int, height: int, size: tuple[int, int]) -> None:
    framed = fit(np.full((height, width, 3), 200, np.uint8), size)
    assert framed.shape == (size[1], size[0], 3)
    rows, columns = framed.any(axis=(1, 2)), framed.any(axis=(0, 2))
    assert rows.all() or columns.all()
    assert (framed[rows][:, columns] == 200).all()


def test_a_camera_that_sets_its_clock_back_goes_on(tmp_path: Path) -> None:
    """As a server that restarts behind the same address does; of a file, such frames would be damage."""
    first = make_clip(tmp_path / "first.ts", ticks=range(0, 45_000, 3000), time_base=Fraction(1, 90_000))
    twice = tmp_path / "twice.ts"
    twice.write_bytes(first.read_bytes() * 2)
    shown = {}
    for finite in (True, False):
        with Clip(av.open(str(twice)), "camera", finite=finite) as clip:
            shown[finite] = [shot.picture for shot in clip.shots()]
    assert len(shown[True]) == 15
    assert len(shown[False]) == 30


# Devices. There is none here: the kernel's answers are in its own structs, and OpenCV's device is a stand-in.


class FakeDevice:
    """In place of cv2.VideoCapture."""

    def __init__(self, *, opened: bool = True, gives: bool = True) -> None:
        self.opened, self.gives, self.released = opened, gives, False
        self.asked: list[tuple[int, float]] = []

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def set(self, key: int, value: float) -> bool:
        self.asked.append((key, value))
        return True

    def get(self, key: int) -> float:
        return dict(self.asked).get(key, 0.0)

    def read(self, image: Picture | None = None) -> tuple[bool, Picture | None]:
        return self.gives, np.zeros((48, 64, 3), dtype=np.uint8) if self.gives else None

    def release(self) -> None:
        self.released = True


@linux_only
class TestDevices:
    """Linux with two webcams of one kind, one that is locked, and nodes that are no cameras."""

    @pytest.fixture(autouse=True)
    def kernel(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        from v4l2 import METADATA, WEBCAM, Kernel, Node, Range

        (tmp_path / "dev").mkdir()
        nodes = {
            10: Node(b"USB2.0 Camera: USB2.0 Cam", formats={b"GREY": Range((32, 800, 16, 32, 640, 16))}),
            0: WEBCAM,
            1: METADATA,
            2: Node(b"Integrated Camera", of_device=0x04201000),  # an old driver: several planes, nothing of the node
            3: Node(b"Integrated Camera"),
            4: Node(b"codec", of_node=0x04008000),
            5: Node(b"broken", error=errno.EIO),
            6: Node(b"locked", error=errno.EACCES),
        }
        Kernel(monkeypatch, tmp_path / "dev", nodes)

    def test_only_cameras_are_listed(self) -> None:
        assert [(d.index, d.name, d.back_end) for d in device.list_devices()] == [
            (0, "HD Pro Webcam C920", "V4L2"),
            (2, "Integrated Camera", "V4L2"),
            (3, "Integrated Camera", "V4L2"),
            (6, "video6", "V4L2"),
            (10, "USB2.0 Camera: USB2.0 Cam", "V4L2"),
        ]

    def test_what_they_give(self) -> None:
        assert device.list_modes(Device(0, "", "V4L2")) == [
            Mode(640, 480, (30.0,), "MJPG"),
            Mode(640, 480, (30.0, 15.0), "YUYV"),
            Mode(1280, 720, (29.97, 15.0), "MJPG"),
            Mode(1280, 720, (10.0, 5.0), "YUYV"),
            Mode(1920, 1080, (30.0,), "MJPG"),
        ]
        assert device.list_modes(Device(10, "", "V4L2")) == [
            Mode(width, height, (60.0, 5.0), "GREY")
            for width, height in ((320, 240), (640, 480), (800, 600), (800, 640))
            if (height - 32) % 16 == 0
        ]
        assert device.list_modes(Device(2, "", "V4L2")) == []

    @pytest.mark.parametrize(("index", "reason"), [
        (1, "'HD Pro Webcam C920' gives no pictures; another node of it does"),
        (5, "/dev/video5 does not answer (Input/output error)"),
        (6, "/dev/video6 may not be opened by this user: sudo usermod -aG video $USER, then log in again"),
        (7, "there is no /dev/video7"),
    ])  # fmt: skip
    def test_why_a_camera_cannot_be_opened(self, index: int, reason: str) -> None:
        with pytest.raises(InputError) as caught:
            open_camera(str(index))
        assert reason in str(caught.value)
        assert "found: 0 'HD Pro Webcam C920', 2 'Integrated Camera', 3 " in str(caught.value)
        with pytest.raises(InputError, match=f"camera {index} cannot be asked for its sizes: "):
            device.list_modes(Device(index, "", "V4L2"))

    @pytest.mark.parametrize(("text", "index"), [("c920", 0), (" hd PRO ", 0), ("usb2.0", 10), ("video6", 6)])
    def test_by_name(self, text: str, index: int) -> None:
        assert find_device(text).index == index

    @pytest.mark.parametrize(("text", "message"), [
        ("integrated", "camera 'integrated' could be 2 'Integrated Camera', 3 'Integrated Camera': give more"),
        ("camera", r"camera 'camera' could be 2 .*, 3 .*, 10 .*: give more of the name, or the index"),
        ("logi", r"camera 'logi' is no file and no part of a camera's name: .* \(found: 0 'HD Pro Webcam C920', 2 "),
    ])  # fmt: skip
    def test_names_that_are_none_or_several(self, text: str, message: str) -> None:
        with pytest.raises(InputError, match=message):
            open_camera(text)

    @pytest.mark.parametrize("source", ["0", "/dev/video0", "/dev/../dev/video0", "c920"])
    def test_jpegs_where_the_size_needs_them(self, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
        fake = FakeDevice()
        monkeypatch.setattr(device, "_open_device", lambda index, back_end: fake)
        camera = open_camera(source, size=(1280, 720), loop=True)
        keys = [key for key, _ in fake.asked]
        assert keys.index(cv2.CAP_PROP_FOURCC) < keys.index(cv2.CAP_PROP_FRAME_WIDTH)
        assert dict(fake.asked)[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
        assert dict(fake.asked)[cv2.CAP_PROP_BUFFERSIZE] == 2
        name = "camera 'HD Pro Webcam C920'" if source == "c920" else "camera 0"
        assert camera.description == f"{name}: 64x48 (V4L2)"
        assert camera.notes == [f"{name} gives 64x48 px, not --size 1280x720", "--loop is ignored: a camera has no end"]
        camera.close()
        assert fake.released


@pytest.mark.parametrize(("size", "fps", "expected"), [
    (None, None, False),  # raw pictures reach 640x480 at 30 fps
    ((640, 480), 15, False),
    ((1280, 720), None, True),
    ((1280, 720), 10, False),
    ((1280, 720), 15, True),
    ((1920, 1080), 5, True),  # only as JPEGs
    ((333, 222), None, False),  # not at all
])  # fmt: skip
def test_when_jpegs_are_needed(size: tuple[int, int] | None, fps: float | None, expected: bool) -> None:
    modes = [
        Mode(640, 480, (30.0, 15.0), "YUYV"),
        Mode(640, 480, (60.0,), "MJPG"),
        Mode(1280, 720, (10.0, 5.0), "YUYV"),
        Mode(1280, 720, (30.0,), "MJPG"),
        Mode(1920, 1080, (30.0,), "MJPG"),
        Mode(1920, 1080, (30.0,), "H264"),
    ]
    assert needs_mjpg(modes, size, fps) == expected


def test_the_next_back_end_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = {"MSMF": FakeDevice(gives=False), "DSHOW": FakeDevice()}
    monkeypatch.setattr(device, "_back_ends", lambda: tuple(devices))
    monkeypatch.setattr(device, "_FIRST_FRAME_S", 0.15)
    monkeypatch.setattr(device, "_open_device", lambda index, back_end: devices[back_end])
    camera = DeviceCamera(0, size=(1280, 720))
    assert camera.description == "camera 0: 64x48 (DSHOW)"
    assert devices["MSMF"].released
    assert cv2.CAP_PROP_FOURCC in dict(devices["DSHOW"].asked)
    assert cv2.CAP_PROP_FOURCC not in dict(devices["MSMF"].asked)


def test_each_back_end_gives_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = {"MSMF": FakeDevice(gives=False), "DSHOW": FakeDevice(opened=False)}
    monkeypatch.setattr(device, "_back_ends", lambda: tuple(devices))
    monkeypatch.setattr(device, "_FIRST_FRAME_S", 0.15)
    monkeypatch.setattr(device, "_open_device", lambda index, back_end: devices[back_end])
    monkeypatch.setattr(device, "_why_not", lambda index, back_end: "no such camera")
    monkeypatch.setattr(device, "list_devices", list)
    with pytest.raises(InputError) as caught:
        DeviceCamera(0)
    assert str(caught.value) == (
        "camera 0 cannot be opened (MSMF: it opens, but gives no picture; another program may use it; "
        "DSHOW: no such camera): plug it in, close other programs that use it, or give another camera, a file, an "
        "address or 'demo' (this machine shows no camera)"
    )
    assert devices["MSMF"].released


def test_names_on_macos_stand_in_opencvs_order() -> None:
    profile = b"""{"SPCameraDataType": [
        {"_name": "USB Camera", "spcamera_model-id": "UVC", "spcamera_unique-id": "0x11000000c45636d"},
        {"_name": "FaceTime HD Camera", "spcamera_unique-id": "0BBE9F2C-1D2A-4C5B-8F0A-000000000001"}]}"""
    assert names_on_macos(profile) == ["FaceTime HD Camera", "USB Camera"]


# A session that outlives its camera.


class ScriptedCamera:
    """Gives what it is told, then ends or fails, or hangs until it is released and gives pictures for ever."""

    name, description = "scripted camera", "scripted camera: 64x48"

    def __init__(self, items: Sequence[Picture | None], end: Exception | threading.Event | None = None) -> None:
        self.items, self.end, self.closed = items, end, False
        self.notes: list[str] = []

    def frames(self) -> Generator[Picture | None, None, None]:
        yield from self.items
        if isinstance(self.end, threading.Event):
            self.end.wait()
            yield from repeat(self.items[-1])
        elif self.end:
            raise self.end

    def close(self) -> None:
        self.closed = True


def seen(captures: Generator[Capture | None, None, None], enough: Callable[[Picture], bool]) -> Picture:
    """The first new picture that is `enough`."""
    for capture in captures:
        if capture is not None and enough(capture.picture):
            return capture.picture
    raise AssertionError("the session has ended")


def heartbeats_until(captures: Generator[Capture | None, None, None], happened: Callable[[], bool]) -> None:
    """Take what comes until then."""
    while not happened():
        next(captures)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything happens ten times as soon."""
    monkeypatch.setattr(steady, "SILENT_S", 0.4)
    monkeypatch.setattr(steady, "PAUSES_S", (0.05, 0.1, 0.2))


@pytest.mark.parametrize("server", [MjpegCamera, RtspCamera, OthersRtspCamera])
def test_a_server_that_is_killed_and_restarted(server: Server, soon: None) -> None:
    with server(numbered_pictures(200), fps=100) as first:
        camera = SteadyCamera(lambda: open_camera(first.url))
        newest = NewestFrame(camera)
        newest.__enter__()
        captures = newest.captures()
        before = seen(captures, lambda picture: number_of(picture) >= 5)
        assert camera.lost is None
    heartbeats_until(captures, lambda: camera.lost is not None and "cannot be opened (" in camera.lost.reason)
    assert next(captures) is None  # the session goes on
    captured = newest.captured
    with server(numbered_pictures(200, 320, 240), fps=100, port=first.port):
        after = seen(captures, lambda picture: picture.shape == (240, 320, 3))
        wait_for(lambda: camera.lost is None)
        seen(captures, lambda picture: number_of(picture) > number_of(after))
        newest.__exit__()
    assert before.shape == (192, 256, 3)
    assert camera.description == f"camera '{first.url}': 320x240"
    assert (camera.losses, camera.lost) == (1, None)
    assert newest.captured > captured


@servers
def test_a_server_that_falls_silent(server: Server, soon: None) -> None:
    with server(numbered_pictures(150), fps=100, end="hold") as camera_server:
        camera = SteadyCamera(lambda: open_camera(camera_server.url))
        with NewestFrame(camera) as newest:
            captures = newest.captures()
            seen(captures, lambda picture: number_of(picture) >= 10)
            heartbeats_until(captures, lambda: camera.lost is not None)
            assert camera.lost is not None
            assert str(camera.lost) in {f"no picture for 0.4 s; {how}" for how in ("next attempt in 1 s", "connecting")}
            seen(captures, lambda _: camera.losses == 1)
            heartbeats_until(captures, lambda: camera.losses == 2)


def test_a_read_that_blocks_for_ever_blocks_nothing(soon: None) -> None:
    release = threading.Event()
    pictures = numbered_pictures(4)
    hanging, other = ScriptedCamera(pictures[:2], release), ScriptedCamera(pictures[2:], release)
    cameras = iter([hanging, other])
    camera = SteadyCamera(lambda: next(cameras))
    with NewestFrame(camera) as newest:
        captures = newest.captures()
        seen(captures, lambda picture: number_of(picture) == 1)
        seen(captures, lambda picture: number_of(picture) == 3)
        assert (hanging.closed, camera.losses) == (False, 1)
        begin_s = time.monotonic()
    assert time.monotonic() - begin_s < 0.9  # the reader was not waited for
    assert not [thread for thread in threading.enumerate() if thread.name == "camera"]
    release.set()
    wait_for(lambda: hanging.closed and other.closed)  # what wakes up later gives its camera back


def test_opening_that_blocks_for_ever_blocks_nothing(monkeypatch: pytest.MonkeyPatch, soon: None) -> None:
    monkeypatch.setattr(steady, "OPENING_S", 0.3)
    release, pictures = threading.Event(), numbered_pictures(3)
    late, attempts = ScriptedCamera(pictures[1:2], release), iter(range(3))

    def opener() -> Camera:
        attempt = next(attempts)
        if attempt == 1:
            release.wait()
            return late
        return ScriptedCamera([pictures[attempt]], release if attempt else InputError("gone"))

    with NewestFrame(SteadyCamera(opener)) as newest:
        captures = newest.captures()
        seen(captures, lambda picture: number_of(picture) == 2)
        release.set()
        wait_for(lambda: late.closed)
        later = {number_of(capture.picture) for capture in islice(captures, 20) if capture}
    assert later == {2}  # the late one's pictures are nobody's


def test_pauses_grow_and_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    [picture] = numbered_pictures(1)
    gone = InputError("scripted camera is gone (why: who knows): plug it in (found: nothing)")
    opened = iter([ScriptedCamera([picture], gone), *[gone] * 7, ScriptedCamera([picture], gone), None])
    waited_s: list[float] = []

    def opener() -> Camera:
        camera = next(opened)
        if isinstance(camera, InputError):
            raise camera
        return camera or ScriptedCamera([])

    monkeypatch.setattr(steady, "monotonic", lambda: 100 + sum(waited_s))
    monkeypatch.setattr(steady, "sleep", waited_s.append)
    camera, pauses_s = SteadyCamera(opener), []
    last = None
    for _ in camera.frames():
        if camera.lost is not None and camera.lost is not last:
            last = camera.lost
            assert last.reason == "is gone (why: who knows)"
            pauses_s.append(last.next_attempt_s - 100 - sum(waited_s[:-1]))
    assert pauses_s == pytest.approx([0.5, 1, 2, 4, 8, 10, 10, 10, 0.5])
    assert camera.losses == 2


def test_the_first_opening_may_fail() -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        SteadyCamera(lambda: open_camera("http://127.0.0.1:9/x"))


def test_what_ends_ends_and_signs_of_life_are_passed_on(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ticks=[0, 3000, 12_000])
    camera = SteadyCamera(lambda: open_camera(str(clip)))
    with NewestFrame(camera) as newest:
        numbers = [capture for capture in newest.captures() if capture]
    assert newest.captured == 3
    assert len(numbers) + newest.dropped == 3
    assert (camera.losses, camera.lost) == (0, None)


def test_a_programmers_mistake_is_no_loss() -> None:
    broken = ScriptedCamera([], RuntimeError("broken"))
    with NewestFrame(SteadyCamera(lambda: broken)) as newest, pytest.raises(RuntimeError, match="broken"):
        list(newest.captures())
    assert broken.closed


def test_a_camera_that_nobody_read_is_given_back() -> None:
    camera = ScriptedCamera([])
    SteadyCamera(lambda: camera).close()
    assert camera.closed


def test_closing_while_the_camera_is_lost(soon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "PAUSES_S", (1000.0,))
    camera = SteadyCamera(lambda: ScriptedCamera([], InputError("scripted camera is gone: plug it in")))
    with NewestFrame(camera) as newest:
        captures = newest.captures()
        heartbeats_until(captures, lambda: camera.lost is not None)
        assert camera.lost is not None
        assert str(camera.lost) == "is gone; next attempt in 1000 s"
        begin_s = time.monotonic()
    assert time.monotonic() - begin_s < 0.9
