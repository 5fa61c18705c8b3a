"""`allaprima cameras` as a user runs it."""

import json
import sys
from pathlib import Path

import pytest
from conftest import RunCli

from allaprima.cli import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it would open the cameras")


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A webcam with its metadata node, one that tells nothing, and one that may not be opened."""
    from v4l2 import METADATA, WEBCAM, Kernel, Node

    nodes = {0: WEBCAM, 1: METADATA, 2: Node(b"Capture\x1b[31m card"), 4: Node(b"", error=13)}
    Kernel(monkeypatch, tmp_path, nodes)


@pytest.mark.usefixtures("cameras")
def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cameras"]) == 0
    text = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert text[0] == "index name back end size frames per second"
    assert text[1:] == [
        "0 HD Pro Webcam C920 V4L2 640x480 30 (MJPG); 30, 15 (YUYV)",
        "1280x720 29.97, 15 (MJPG); 10, 5 (YUYV)",
        "1920x1080 30 (MJPG)",
        "2 Capture?[31m card V4L2 its driver lists no sizes",
        "4 video4 V4L2 camera 4 cannot be asked for its sizes: /dev/video4 may not be opened by this user: "
        "sudo usermod -aG video $USER, then log in again",
        "",
        "to paint one: allaprima cam 0, or a part of its name",
    ]


@pytest.mark.usefixtures("cameras")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cameras", "--json"]) == 0
    webcam, card, locked = json.loads(capsys.readouterr().out)
    assert (webcam["index"], webcam["name"], webcam["back_end"]) == (0, "HD Pro Webcam C920", "V4L2")
    assert webcam["modes"][0] == {"width": 640, "height": 480, "fps": [30.0], "format": "MJPG"}
    assert webcam["problem"] is None
    assert (card["modes"], card["problem"]) == ([], None)
    assert "usermod" in locked["problem"]


@pytest.mark.skipif(bool(list(Path("/dev").glob("video*"))), reason="this machine has a camera")
def test_none(run_cli: RunCli) -> None:
    done = run_cli("cameras")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "this machine shows no camera: plug one in, or see without one: allaprima cam demo\n"
    assert run_cli("cameras", "--json").stdout == "[]\n"
    done = run_cli("cameras", "--jason")
    assert done.returncode == 2
    assert done.stderr.startswith("allaprima: ")
