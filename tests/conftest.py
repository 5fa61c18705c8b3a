"""Fixtures for all tests."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from allaprima.cli import main

ROOT = Path(__file__).parent.parent
RunCli = Callable[..., "subprocess.CompletedProcess[str]"]


def wait_for(happened: Callable[[], bool], process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait, while the process runs if there is one; the test's own timeout is the limit."""
    while not happened():
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or changes what the user's own sessions, or another test's, remember."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photos, clips and networks beside the working copy."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the data folder {folder.name}/ beside the working copy")
    return folder


@pytest.fixture(scope="session")
def weights(shared: Path) -> Path:
    """The real VGG-19's."""
    return shared / "weights" / "vgg19-conv1_1-conv5_1.safetensors"


@pytest.fixture
def few_paintings(shared: Path, tmp_path: Path) -> Path:
    """A folder of three, the first of which scripts/make_base.py keeps out."""
    folder = tmp_path / "paintings"
    folder.mkdir()
    for name in ("udnie", "water_lilies", "the_kiss"):
        (folder / f"{name}.jpg").symlink_to(shared / "paintings" / f"{name}.jpg")
    return folder


@pytest.fixture(scope="session")
def run_cli() -> RunCli:
    """Run `python -m allaprima WORDS...` as a process of its own; keyword `cwd` is its folder."""

    def run(*words: object, cwd: Path | None = None, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "allaprima", *map(str, words)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunCli:
    """`run_cli` in the tests' own process, for what takes less time than to import PyTorch; it has no `timeout_s`."""

    def run(*words: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        if cwd:
            monkeypatch.chdir(cwd)
        capsys.readouterr()
        command = [*map(str, words)]
        return subprocess.CompletedProcess(command, main(command), *capsys.readouterr())

    return run
