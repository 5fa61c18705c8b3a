"""The command line: words to configuration and back, help that teaches, one line for what is wrong."""

import dataclasses
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RunCli

from allaprima.cli import VERBS, main, parse
from allaprima.errors import InputError
from allaprima.flags import flag_name

GIVEN = {
    "train": ["p.jpg", "--photos", "here"],
    "export": ["runs/p", "-o", "p.onnx"],
    "evaluate": ["s", "--painting", "p.jpg", "--photos", "here", "--html", "page.html", "--json", "numbers.json"],
    "optimize": ["a.jpg", "p.jpg", "-o", "b.png"],
    "image": ["a.jpg", "b/", "--style", "s", "-o", "out/"],
    "video": ["clip.mp4", "--style", "s", "-o", "out.mp4"],
    "cam": ["--style", "s"],
    "cameras": ["--json"],
    "photos": ["here"],
    "tune": ["p.jpg", "--photos", "here", "--out", "study"],
    "styles": [],
    "bench": ["s"],
    "doctor": [],
}


def configuration(verb: str, *words: str) -> object:
    return parse(import_module(f"allaprima.commands.{verb}"), verb, words)


@pytest.mark.parametrize("verb", VERBS)
def test_settings_survive_print_config_and_config(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    expected = configuration(verb, *GIVEN[verb])
    with pytest.raises(SystemExit) as done:
        configuration(verb, *GIVEN[verb], "--print_config")
    assert done.value.code in {0, None}
    file = tmp_path / "settings.yaml"
    file.write_text(capsys.readouterr().out)
    assert configuration(verb, "--config", str(file)) == expected


@pytest.mark.parametrize(("words", "problem"), [
    (["--steps", "abc"], "--steps: got 'abc', expected a whole number"),
    (["--seed", "1.5"], "--seed: got '1.5', expected a whole number"),
    (["--strength", "nan"], "--strength: got 'nan', expected a number"),
    (["--loss-network", "vgg"], "--loss-network: got 'vgg', expected compact, vgg19 or vgg16"),
    (["--frobnicate", "3"], "--frobnicate is unknown"),
    (["--stepps", "3"], "--stepps is unknown: did you mean --steps?"),
    (["second.jpg"], "unrecognized arguments: second.jpg"),
])  # fmt: skip
def test_flags_that_cannot_be(words: list[str], problem: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(problem)} \\(allaprima train --help explains\\)$"):
        configuration("train", "painting.jpg", *words)


def test_flags_after_a_configuration_win(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("painting: p.jpg\nphotos: here\nsteps: 5\nflip: false\n")
    config = configuration("train", "--config", str(file), "--steps", "7")
    assert dataclasses.asdict(config)["steps"] == 7  # type: ignore[call-overload]
    assert dataclasses.asdict(config)["flip"] is False  # type: ignore[call-overload]


@pytest.mark.parametrize("verb", VERBS)
def test_help_explains_every_flag(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        configuration(verb, "--help")
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(import_module(f"allaprima.commands.{verb}").Config):
        shown = field.name if "positional" in field.metadata else flag_name(field.name)
        assert shown in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["paint"], "unknown command 'paint': expected one of train, export"),
        (["image", "a.jpg", "--style", "s", "-o", "b.png", "--bogus"], "--bogus"),
        (["image", "a.jpg", "-o", "b.png"], "--style is missing"),
        (["image", "--style", "s", "-o", "b.png"], "PHOTOS is missing"),
        (["train", "p.jpg", "--epochs", "2"], "--epochs: synthetic photos have no end: give --steps, or --photos"),
        (["train", "--photos", "here"], "PAINTING is missing"),
        (["train", "p.jpg", "--photos", "here", "--steps", "many"], "many"),
        (["train", "p.jpg", "--photos", "here", "--build", "huge"], "huge"),
        (["train", "p.jpg", "--photos", "here", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["export", "runs/p", "-o", "p.txt"], "expected .onnx"),
        (["optimize", "a.jpg", "-o", "b.png"], "PAINTING is missing"),
        (["optimize", "a.jpg", "p.jpg"], "--output is missing"),
        (["evaluate", "s", "--photos", "here"], "--painting is missing"),
        (["export", "nowhere", "-o", "p.onnx"], "'nowhere' does not exist"),
    ],
)
def test_what_is_wrong_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("allaprima: ")
    assert errors.count("\n") == 1
    assert message in errors


def too_large() -> None:
    torch.empty(1 << 50)


def too_large_for_numpy() -> None:
    np.empty(1 << 58)


def too_large_for_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore words.")


@pytest.mark.parametrize("work", [too_large, too_large_for_numpy, too_large_for_a_gpu])
def test_too_little_memory_is_one_line(
    work: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("allaprima.commands.styles.run", lambda config: work())
    assert main(["styles"]) == 2
    assert capsys.readouterr().err.startswith("allaprima: there is not enough memory for it: ")


def test_another_error_is_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allaprima.commands.styles.run", lambda config: torch.empty(2) + torch.empty(3))
    with pytest.raises(RuntimeError, match="must match"):
        main(["styles"])


def test_a_broken_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("steps: [1, 2\n")
    with pytest.raises(InputError) as caught:
        configuration("train", "--config", str(file))
    assert "\n" not in str(caught.value)


def test_the_module_is_the_program(run_cli: RunCli) -> None:
    for words in ([], ["--help"]):
        done = run_cli(*words)
        assert done.returncode == 0
        assert all(verb in done.stdout for verb in VERBS)
    assert run_cli("--version").stdout.startswith("allaprima ")
