"""The virtual camera, through pyvirtualcam: a back end of ours sees what a real one would; the real one where it is."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, ClassVar
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
from clips import Picture, distance, moving_picture, read_clip
from tiny import frame_style

from allaprima.cli import main
from allaprima.errors import InputError
from allaprima.infer.demo import DemoCamera
from allaprima.infer.sinks import fit
from allaprima.infer.virtual_camera import VirtualCamera


class Device:
    """A back end for pyvirtualcam that keeps what it is given."""

    opened: ClassVar[list["Device"]] = []
    sizes: ClassVar[set[tuple[int, int]] | None] = None
    """Those it knows; None: all."""

    def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: str | None) -> None:
        if device not in {None, "our device"}:
            raise RuntimeError(f"no device\n'{device}'")
        self.width, self.height, self.fps = width, height, fps
        self.pictures: list[Picture] = []
        self.times_s: list[float] = []
        self.closed, self.is_broken = 0, False
        self.opened.append(self)

    def send(self, frame: Picture) -> None:
        if self.is_broken:
            raise RuntimeError("unplugged")
        assert frame.flags["C_CONTIGUOUS"]
        self.times_s.append(monotonic())
        self.pictures.append(frame.reshape(self.height, self.width, 3).copy())

    def close(self) -> None:
        self.closed += 1

    def device(self) -> str:
        return "our device"

    def native_fourcc(self) -> None:
        return None


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Device]]:
    """The devices that were opened; no real one is there meanwhile."""
    pyvirtualcam: Any = pytest.importorskip("pyvirtualcam", reason="needs the extra [vcam]")
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {})
    monkeypatch.setattr(Device, "opened", [])
    pyvirtualcam.register_backend("ours", Device)
    yield Device.opened
    assert [device.closed for device in Device.opened] == len(Device.opened) * [1]


def test_a_session_with_every_sink_but_a_window(
    devices: list[Device], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As words of `cam`: nobody is in the demo, so with --mask person nothing of it is painted."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    served: list[bytes] = []

    def browse() -> None:
        while not served:
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/frame.jpg", timeout=5) as answer:
                served.append(answer.read())

    browser = threading.Thread(target=browse)
    browser.start()
    recording, style = tmp_path / "out.mkv", frame_style(tmp_path / "negative.onnx")
    words = ["--style", str(style), "--size", "320x240", "--no-window", "--seconds", "2", "--record", str(recording)]
    words += ["--virtual-device", "our device", "--serve", str(port), "--mask", "person", "--quality", "50", "--fade"]
    assert main(["cam", "demo", *words]) == 0
    browser.join()
    said = capsys.readouterr()
    assert said.err == ""
    for line in ("virtual camera our device", f"serving http://127.0.0.1:{port}/", f"recording to {recording}"):
        assert line in said.out
    [device], recorded = devices, read_clip(recording)
    assert (device.width, device.height, device.fps) == (320, 240, 30)
    assert len(device.pictures) == len(recorded.times) > 10
    jpeg = np.asarray(cv2.imdecode(np.frombuffer(served[0], np.uint8), cv2.IMREAD_COLOR_RGB), dtype=np.uint8)
    first = DemoCamera(size=(320, 240), notes=[]).draw(0)
    for picture in (device.pictures[0], recorded.pictures[0], jpeg):
        assert distance(picture, first) < 25 < distance(picture, 255 - first)


def test_it_gets_every_frame_as_it_comes(devices: list[Device]) -> None:
    with VirtualCamera(fps=25) as camera:
        assert (camera.description, devices) == ("virtual camera", [])  # its size is not known yet
        written_s = []
        for number in range(10):
            camera.write(moving_picture(number, 64, 48), monotonic())
            written_s.append(monotonic())
            camera.idle()
            sleep(0.01 * (number % 3))
    [device] = devices
    assert (device.width, device.height, device.fps) == (64, 48, 25)
    assert camera.description == "virtual camera our device: 64x48"
    assert [(picture == moving_picture(n, 64, 48)).all() for n, picture in enumerate(device.pictures)] == 10 * [True]
    assert all(sent <= written for sent, written in zip(device.times_s, written_s, strict=True))  # it waits for no beat
    assert camera.problem is None


def test_frames_of_another_size_are_scaled(devices: list[Device]) -> None:
    sizes = [(64, 48), (128, 96), (48, 64), (64, 48)]
    with VirtualCamera() as camera:
        for number, size in enumerate(sizes):
            camera.write(moving_picture(number, *size), 1.0)
    [device] = devices
    expected = [fit(moving_picture(number, *size), 64, 48) for number, size in enumerate(sizes)]
    assert [distance(a, b) for a, b in zip(device.pictures, expected, strict=True)] == [0, 0, 0, 0]


def test_an_odd_size_is_made_even(devices: list[Device]) -> None:
    """Devices store colours for squares of 2x2 px."""
    with VirtualCamera() as camera:
        camera.write(moving_picture(0, 65, 49), 1.0)
    assert [(device.width, device.height) for device in devices] == [(66, 50)]
    assert distance(devices[0].pictures[0][:48, :64], moving_picture(0, 65, 49)[:48, :64]) < 20


def test_a_device_that_breaks_is_a_problem_and_no_end(devices: list[Device]) -> None:
    with VirtualCamera() as camera:
        for number in range(6):
            if number == 3:
                devices[0].is_broken = True
            camera.write(moving_picture(number, 64, 48), 1.0)
    assert camera.problem == "the virtual camera our device: 64x48 takes no more frames (unplugged)"
    assert len(devices[0].pictures) == 3


@pytest.mark.parametrize(("platform", "remedy"), [
    ("linux", "sudo apt install v4l2loopback-dkms && sudo modprobe v4l2loopback .*"),
    ("darwin", "install OBS 30 or later .*"),
    ("win32", "install OBS .*, or Unity Capture, .*"),
])  # fmt: skip
def test_no_device(devices: list[Device], monkeypatch: pytest.MonkeyPatch, platform: str, remedy: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    with (
        VirtualCamera(device="other") as camera,
        pytest.raises(InputError, match=rf"no virtual camera other \('ours' backend: no device 'other'\): {remedy}"),
    ):
        camera.write(moving_picture(0, 64, 48), 1.0)


def test_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(InputError, match=r"no virtual camera \(.*pyvirtualcam.*\): pip install 'allaprima\[vcam\]', "):
        VirtualCamera()


def loopback_device() -> Path | None:
    """A v4l2loopback device of this machine."""
    found = Path("/sys/devices/virtual/video4linux").glob("video*")
    return next((Path("/dev") / path.name for path in found), None)


@pytest.mark.skipif(loopback_device() is None, reason="needs a v4l2loopback device (modprobe v4l2loopback)")
def test_the_real_device() -> None:
    pytest.importorskip("pyvirtualcam", reason="needs the extra [vcam]")
    device = str(loopback_device())
    with VirtualCamera(device=device) as camera:
        camera.write(np.full((240, 320, 3), (230, 120, 20), dtype=np.uint8), 1.0)
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        success, seen = False, None
        for _ in range(30):
            camera.write(np.full((240, 320, 3), (230, 120, 20), dtype=np.uint8), 1.0)
            success, seen = capture.read()
            if success:
                break
        capture.release()
    assert success
    assert seen is not None
    assert np.abs(seen.astype(np.int32).mean(axis=(0, 1)) - (20, 120, 230)).max() < 12
