"""The house rules: who may import whom, what is light, and what an installed copy holds."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

import allaprima
from allaprima.cli import VERBS

ROOT = Path(__file__).parent.parent
INSIDE = ("models", "train", "infer")  # top-level folders that install as subpackages of allaprima
MAY_IMPORT = {
    "allaprima": {"front", "commands", "models", "train", "infer"},  # lazily where heavy, see below
    "models": {"front", "models"},
    "train": {"front", "models", "train"},
    "infer": {"front", "infer"},
}
TRAINING_LIBRARIES = {
    "torch",
    "torchvision",
    "accelerate",
    "tensorboard",
    "onnx",
    "safetensors",
    "optuna",
    "matplotlib",
}


def python_files(folder: str) -> list[Path]:
    """Those of a folder and below; links are not followed."""
    return sorted(
        Path(place) / name for place, _, names in os.walk(ROOT / folder) for name in names if name.endswith(".py")
    )


def module_name(path: Path) -> str:
    """Path of a file -> the name that it is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "allaprima" else ("allaprima", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(full name, whether it was written relatively) of each import of a file, those inside functions too."""
    package = module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", node.level > 0) for alias in node.names)


def room(name: str) -> str:
    """Which part of the house a module of ours is in."""
    second = name.split(".")[1]
    return second if second in {*INSIDE, "commands"} else "front"


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_rooms_import_only_what_they_may(folder: str) -> None:
    for path in python_files(folder):
        for name, is_relative in imports(path):
            if is_relative:
                assert room(name) in MAY_IMPORT[folder], f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_inside_the_house_imports_are_relative(folder: str) -> None:
    for path in python_files(folder):
        for name, is_relative in imports(path):
            assert is_relative or name.split(".")[0] not in MAY_IMPORT, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("folder", ["tests", "scripts"])
def test_outside_the_house_imports_are_absolute(folder: str) -> None:
    for path in python_files(folder):
        for name, is_relative in imports(path):
            refused = is_relative or name.split(".")[0] in INSIDE
            assert not refused, f"{path.relative_to(ROOT)} imports {name}"


def test_the_runner_and_the_front_import_nothing_of_training() -> None:
    for path in [*python_files("infer"), *python_files("allaprima")]:
        for name, _ in imports(path):
            assert name.split(".")[0] not in TRAINING_LIBRARIES, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("folder", INSIDE)
def test_libraries_neither_print_nor_exit(folder: str) -> None:
    for path in python_files(folder):
        called = {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        }
        assert not called & {"print", "exit", "sys.exit", "os._exit", "input"}, path.relative_to(ROOT)


def run_python(code: str, *options: str) -> str:
    """What a fresh interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *options, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(modules: list[str]) -> set[str]:
    """Top-level names in a fresh interpreter after it has imported `modules`."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(run_python(code).split())


def test_running_a_style_needs_no_torch() -> None:
    modules = [module_name(path) for path in python_files("infer")]
    verbs = [f"allaprima.commands.{verb}" for verb in VERBS]  # those of training too, until they run
    names = loaded(["allaprima", *modules, *verbs])
    assert "cv2" in names
    assert not names & TRAINING_LIBRARIES


def test_the_command_line_starts_light() -> None:
    assert not loaded(["allaprima.cli"]) & {*TRAINING_LIBRARIES, "cv2", "onnxruntime", "av", "numpy", "jsonargparse"}


def test_there_is_one_copy_of_each_module() -> None:
    code = (
        "import sys, os, allaprima.train.losses, allaprima.models.transformer, allaprima.infer.stylizer\n"
        "files = [os.path.realpath(m.__file__) for m in list(sys.modules.values()) if getattr(m, '__file__', None)]\n"
        f"ours = [f for f in files if f.startswith({str(ROOT)!r} + os.sep) and 'site-packages' not in f]\n"
        "assert len(ours) == len(set(ours)), ours\n"
        "print(*{name for name in ('models', 'train', 'infer') if name in sys.modules})"
    )
    assert run_python(code).split() == []


def test_the_version_is_the_same_everywhere() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["metadata"]["version"] == allaprima.__version__


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `scripts/build` makes it, from the sdist; of a copy of the tree, so that no litter stays."""
    copy = tmp_path_factory.mktemp("build") / "allaprima"
    litter = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "out", "runs")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=litter)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_style(wheel: Path) -> None:
    modules = {
        module_name(path).replace(".", "/") + ("/__init__.py" if path.name == "__init__.py" else ".py")
        for folder in MAY_IMPORT
        for path in python_files(folder)
    }
    styles = ROOT / "allaprima" / "styles"
    data = {f"allaprima/styles/{path.name}" for kind in ("onnx", "jpg", "md") for path in styles.glob(f"*.{kind}")}
    data |= {f"allaprima/infer/masks/{path.name}" for path in (ROOT / "infer" / "masks").iterdir()}
    data |= {f"allaprima/train/{path.name}" for path in (ROOT / "train").glob("*.safetensors")}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == modules | data | {"allaprima/py.typed"}


def test_the_installed_copy_is_one_name_and_runs(wheel: Path, tmp_path: Path) -> None:
    options = ["--quiet", "--no-deps", "--no-index", "--target", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, capture_output=True)
    installed = {path.name for path in tmp_path.iterdir() if path.suffix != ".dist-info" and path.name != "bin"}
    assert installed == {"allaprima"}
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import allaprima, allaprima.cli, allaprima.infer, allaprima.gallery\n"
        "print(allaprima.infer.__file__, *allaprima.gallery.shipped_styles())"
    )
    file, *styles = run_python(code, "-I").split()
    assert Path(file).is_relative_to(tmp_path)
    assert styles == sorted(path.stem for path in (ROOT / "allaprima" / "styles").glob("*.onnx"))
