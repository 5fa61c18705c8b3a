"""`allaprima doctor`: what each check finds on machines of all kinds, what it says, and that it leaves no trace."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import isolated
import pytest
import tiny
from conftest import ROOT

from allaprima import checkup, gallery
from allaprima.checkup import Check, Finding, examine, linux_cameras, loopback_devices
from allaprima.cli import main
from allaprima.commands import doctor
from allaprima.errors import InputError
from allaprima.infer import providers, timing, window
from allaprima.infer.providers import available_providers, why_not
from allaprima.machine import cpu_features, parse_cpuinfo, parse_sysctl, usable_cpus

QUICK = ("doctor", "--seconds", "0.05")


@pytest.fixture
def two_styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery of two small styles, on a machine without a display."""
    folder = tmp_path / "styles"
    folder.mkdir()
    for name in ("night", "wave"):
        tiny.frame_style(folder / f"{name}.onnx", name=name)
    monkeypatch.setattr(gallery, "STYLES_FOLDER", folder)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return folder


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    output, errors = capsys.readouterr()
    assert errors == ""
    return output.splitlines()


def only(*checks: Check) -> tuple[Check, ...]:
    return checks


# The command.


def test_the_lines(two_styles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK]) == 0
    *report, gap, conclusion = lines(capsys)
    about = {}
    for line in report:
        mark, name, text = line[:9].strip(), line[9:25].strip(), line[25:]
        assert mark in {"ok", "warning", "problem"}
        about[name] = (mark, text)
    expected = {"Python", "system", "libraries", "styles", "cpu", "CPU", "cores", "window", "camera", "virtual camera"}
    assert expected | {"H.264", "disk", "temporary", "cache", "night", "wave"} <= set(about)
    assert "Allaprima " in about["libraries"][1]
    assert about["styles"] == ("ok", "night, wave")
    assert about["cpu"] == ("ok", "loads and paints, --provider auto takes it")
    assert about["window"][0] == "warning"
    assert about["window"][1].startswith("neither DISPLAY nor WAYLAND_DISPLAY is set -> ")
    assert about["night"][1].endswith(" ms a frame on cpu at 640x480, holds 120 fps")
    assert gap == ""
    assert conclusion == (
        "ready, but for the warnings above: allaprima image PHOTO --style starry_night -o painted.jpg"
    )


def test_everything_is_ready(
    two_styles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", only(Check("odd", lambda: [Finding("odd", "ok", "fine")])))
    assert main(["doctor", "--no-timing"]) == 0
    assert lines(capsys) == [
        "ok       odd             fine",
        "",
        "everything is ready: allaprima cam --style starry_night",
    ]


def test_json_names_neither_the_user_nor_a_folder(
    two_styles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert main([*QUICK, "--json"]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    report = json.loads(output)
    assert set(report) == {"allaprima", "usable", "findings", "timings"}
    assert report["usable"] is True
    assert all(set(finding) == {"about", "mark", "text", "remedy"} for finding in report["findings"])
    [cache] = (finding for finding in report["findings"] if finding["about"] == "cache")
    assert cache["text"] == "~/.cache/allaprima can be written"
    assert [row["style"] for row in report["timings"]] == ["night", "wave"]
    assert all(row["median_ms"] > 0 and (row["width"], row["height"]) == (640, 480) for row in report["timings"])
    assert tmp_path.name not in output
    assert str(ROOT) not in output


def boom() -> NoReturn:
    raise RuntimeError("the disk\nis on fire")


@pytest.mark.parametrize(("essential", "code"), [(True, 1), (False, 0)])
def test_a_check_that_fails_is_one_line_and_the_others_go_on(
    essential: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = Check("fine", lambda: [Finding("fine", "ok", "is well")])
    monkeypatch.setattr(doctor, "CHECKS", only(Check("odd", boom, essential=essential), fine))
    assert main(["doctor", "--no-timing"]) == code
    assert lines(capsys) == [
        "problem  odd             check failed (RuntimeError: the disk is on fire)",
        "ok       fine            is well",
        "",
        "to do:",
        "  1. odd: check failed (RuntimeError: the disk is on fire)",
    ]


def test_what_is_to_be_done_is_told_once(
    two_styles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(providers, "_is_installed", lambda name: name != "onnxruntime-directml")
    assert main([*QUICK]) == 1
    report = lines(capsys)
    both = "onnxruntime and onnxruntime-gpu are both installed and overwrite each other"
    told = [line[9:25].strip() for line in report if line.startswith("problem") and both in line]
    assert told == ["ONNX Runtime", "providers", "timing"]
    [step] = report[report.index("to do:") + 1 :]
    assert step.startswith(f"  1. ONNX Runtime: {both}: pip uninstall -y onnxruntime onnxruntime-gpu, then ")


def test_a_style_that_cannot_be_painted(two_styles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two_styles / "damaged.onnx").write_bytes(b"no network")
    assert main([*QUICK]) == 1
    assert any(line.startswith("problem  styles ") and "damaged.onnx" in line for line in lines(capsys))


def test_no_styles(two_styles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in two_styles.iterdir():
        path.unlink()
    assert main([*QUICK]) == 0
    report = "\n".join(lines(capsys))
    assert "warning  styles          none ships with this copy -> " in report
    assert "warning  cpu             not tried: no style ships with this copy" in report


def test_ctrl_c_tells_what_was_measured(
    two_styles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = count()

    def look() -> float:
        """A clock of which every look takes 5 ms."""
        if (number := next(looks)) == 400:  # the first style has warmed up and is being measured
            signal.raise_signal(signal.SIGINT)
        return number * 0.005

    monkeypatch.setattr(timing, "perf_counter", look)
    monkeypatch.setattr(doctor, "CHECKS", ())
    assert main(["doctor", "--seconds", "60"]) == 130
    output, errors = capsys.readouterr()
    assert errors == "allaprima: stopped\n"
    assert output.startswith("ok       night           5.0 ms a frame ")
    assert output.count("\n") == 1  # no conclusion


def test_bad_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--seconds", "0"]) == 2
    assert capsys.readouterr() == ("", "allaprima: --seconds: got 0.0, expected more than 0\n")


# In a process of its own.


def start(home: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """Run it with an empty home, in which it stands; on Linux it dies at its first network socket."""
    home.mkdir()
    environment = {"HOME": str(home), "TMPDIR": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    runner = [str(ROOT / "tests" / "isolated.py")] if isolated.is_supported() else ["-c"]
    words = [sys.executable, "-B", *runner, code]
    return subprocess.run(words, env=environment, cwd=home, capture_output=True, text=True, timeout=60, check=False)


def test_nothing_is_sent_and_nothing_is_written(two_styles: Path, tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from allaprima import gallery; from allaprima.cli import main\n"
        f"gallery.STYLES_FOLDER = pathlib.Path({str(two_styles)!r})\n"
        "sys.exit(main(['doctor', '--seconds', '0.05']))"
    )
    done = start(tmp_path / "home", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ms a frame" in done.stdout
    assert list((tmp_path / "home").rglob("*")) == []


def test_without_opencv_the_report_still_comes(tmp_path: Path) -> None:
    message = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cv2.py").write_text(f"raise ImportError({message!r})\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'broken')!r})\n"
        "from allaprima.cli import main; sys.exit(main(['doctor']))"
    )
    done = start(tmp_path / "home", code)
    assert (done.returncode, done.stderr) == (1, "")
    assert "problem  libraries       OpenCV does not load -> " in done.stdout
    assert "ok       CPU " in done.stdout
    _, to_do = done.stdout.split("to do:\n")
    assert to_do == f"  1. libraries: {message}: on Debian and Ubuntu, apt-get install libgl1 libglib2.0-0\n"


# What is told of the user.


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("/home/ron/styles/a.onnx", "~/styles/a.onnx"),
        ("/home/ron", "~"),
        ("/home/ronald/a.onnx", "/home/ronald/a.onnx"),
        ("/data/ron/venv/lib", "/data/.../venv/lib"),
        ("iron/ron", "iron/ron"),
        ("two\nlines \x1b[31m", "two lines ?[31m"),
    ],
)
def test_findings_are_public(text: str, public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ron")

    def failing() -> NoReturn:
        raise InputError(text)

    for look in (lambda: [Finding("x", "problem", text)], failing):
        [finding] = examine(Check("x", look))
        assert finding == Finding("x", "problem", public)


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> NoReturn:
        raise RuntimeError("no home directory")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    *_, failed = examine(Check("disk", checkup._places))
    assert failed == Finding("disk", "problem", "check failed (RuntimeError: no home directory)")


# Providers.


def test_why_a_provider_does_not_load(tmp_path: Path) -> None:
    model = tiny.frame_style(tmp_path / "a.onnx").read_bytes()
    assert why_not(model, "cpu") is None
    missing = next(name for name in ("coreml", "directml") if name not in available_providers())
    assert why_not(model, missing) == "the ONNX Runtime installed here is built without it"
    reason = why_not(b"no network", "cpu")
    assert reason is not None
    assert "\n" not in reason
    assert "protobuf" in reason.lower()


LOG = (
    "\x1b[1;31m2026-11-21 21:26:37.161933778 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] "
    "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& "
    "onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library "
    "/venv/onnxruntime/capi/libonnxruntime_providers_cuda.so with error: "
    "libcublasLt.so.13: cannot open shared object file: No such file or directory\n\x1b[m\n"
)
"""What ONNX Runtime 1.31.1 for GPUs writes where CUDA is missing; its packages cannot all be installed at once."""


@pytest.mark.parametrize("noise", [b"", b"unrelated\n" * 20_000])
def test_the_reason_is_read_from_the_log(
    noise: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class OnCpu:
        def get_providers(self) -> list[str]:
            return ["another"]

    def make_session(*_: object) -> OnCpu:
        for chunk in (noise, LOG.encode()):  # longer than what a pipe holds
            os.write(2, chunk)
        return OnCpu()

    monkeypatch.setattr(providers, "_make_session", make_session)
    assert why_not(b"", "cpu") == "libcublasLt.so.13: cannot open shared object file: No such file or directory"
    os.write(2, b"back again")
    assert capfd.readouterr().err == "back again"


def test_a_gpu_that_is_not_used(two_styles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "cuda" in available_providers() or sys.platform == "darwin":
        pytest.skip("needs an ONNX Runtime without CUDA")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    for path, mark in ((str(tmp_path), "warning"), ("", "ok")):
        monkeypatch.setenv("PATH", path)
        [cuda] = (finding for finding in examine(Check("providers", checkup._providers)) if finding.about == "cuda")
        assert cuda.mark == mark
        assert bool(cuda.remedy) == (mark == "warning")


# The window.


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="there is no Xlib")
def test_a_window_that_would_lose_keys_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, **_: object) -> NoReturn:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(window, "display_problem", lambda: None)
    [check] = (check for check in checkup.CHECKS if check.about == "window")
    assert [finding.mark for finding in examine(check)] == ["ok"]
    monkeypatch.setattr("ctypes.CDLL", missing)
    [finding] = examine(check)
    lost = "libX11-xcb.so.1 is missing, without which keys and clicks may be lost"
    assert (finding.mark, finding.text) == ("warning", lost)


# Cameras, as Linux shows them.


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.skipif(sys.platform != "linux", reason="asks Video4Linux2")
def test_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from v4l2 import METADATA, WEBCAM, Kernel, Node

    (tmp_path / "none").mkdir()
    with monkeypatch.context() as patch:
        Kernel(patch, tmp_path / "none", {})
        assert [finding.mark for finding in linux_cameras(tmp_path)] == ["warning"]
    (tmp_path / "dev").mkdir()
    refused = Node(b"", error=errno.EACCES)
    nodes = {0: WEBCAM, 1: METADATA, 3: Node(b"Allaprima"), 10: refused}
    Kernel(monkeypatch, tmp_path / "dev", nodes)
    make(tmp_path, {"sys/devices/virtual/video4linux/video3/name": "Allaprima\n"})
    seen, closed = linux_cameras(tmp_path)
    assert seen == Finding("camera", "ok", "0: HD Pro Webcam C920")
    assert closed.mark == "problem"
    assert closed.text.startswith("10: ")
    assert closed.text.endswith("/dev/video10 may not be opened by this user")
    assert "usermod -aG video" in closed.remedy


@pytest.mark.parametrize(
    ("caps", "mark", "text"),
    [
        ("Y,N,N", "ok", "lib, /dev/video3 (v4l2loopback)"),
        ("N,N,N", "warning", "lib, /dev/video3 (v4l2loopback); Chrome will not list it without exclusive_caps"),
        (None, "warning", "lib, but no v4l2loopback device"),
    ],
)
def test_virtual_cameras(caps: str | None, mark: str, text: str, tmp_path: Path) -> None:
    if caps:
        make(
            tmp_path,
            {
                "dev/video3": "",
                "sys/devices/virtual/video4linux/video3/name": "Allaprima\n",
                "sys/module/v4l2loopback/parameters/exclusive_caps": f"{caps}\n",
            },
        )
    [finding] = loopback_devices("lib", tmp_path)
    assert (finding.mark, finding.text) == (mark, text)
    assert ("exclusive_caps=1" in finding.remedy) == (mark != "ok")


# The machine.


def test_features_of_this_machine() -> None:
    features = cpu_features()
    assert all(there in {True, False, None} for there in features.values())
    if sys.platform == "linux":
        assert None not in features.values()


def test_what_systems_say_of_a_cpu() -> None:
    arm = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n\nprocessor\t: 1\nFeatures\t: fp\n"
    assert parse_cpuinfo(arm) == {"fp", "asimd", "asimddp", "i8mm"}
    assert parse_cpuinfo("flags\t\t: fpu avx2 avx_vnni\nvmx flags\t: ept\n") == {"fpu", "avx2", "avx_vnni"}
    assert parse_cpuinfo("model name: unheard of\n") == set()
    mac = "hw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_I8MM: 0\n"
    assert parse_sysctl(mac) == {"arm.FEAT_DotProd": True, "arm.FEAT_I8MM": False}


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "25000 100000\n"}, 0.25),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "75000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.75,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
    ids=["no cgroups", "no limit", "version 2", "its parent's", "version 1, in a container", "version 1, no limit"],
)
def test_quotas_of_containers(files: dict[str, str], cpus: float | None, tmp_path: Path) -> None:
    free = usable_cpus(tmp_path / "nowhere")
    assert free >= 1
    assert usable_cpus(make(tmp_path, files)) == (free if cpus is None else cpus)


def test_few_cores_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def cores() -> Iterator[Any]:
        return examine(Check("cores", checkup._cores))

    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(checkup, "usable_cpus", lambda: 1.5)
    expected = Finding("cores", "warning", "1.5 of 64 may be used by this process", "--threads 1 may be faster")
    assert list(cores()) == [expected]
    monkeypatch.setattr(checkup, "usable_cpus", lambda: 64.0)
    assert list(cores()) == [Finding("cores", "ok", "64")]
