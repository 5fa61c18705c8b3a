"""Is this machine ready? The checks of `allaprima doctor`: each looks, and changes, writes and sends nothing.

A check imports what it looks at by itself, so that a broken library breaks the checks that need it and no other.
"""

import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

from . import __version__
from .errors import InputError, describe_missing_library
from .files import cache_folder
from .gallery import shipped_styles
from .machine import LOAD_LOOPBACK, cpu_features, usable_cpus
from .terminal import printable

Mark = Literal["ok", "warning", "problem"]

_LIBRARIES = {"NumPy": "numpy", "OpenCV": "cv2", "PyAV": "av", "Pillow": "PIL"}
_OPENCV_PACKAGES = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_SYSTEMS = {
    "cuda": {"linux", "win32"},
    "tensorrt": {"linux", "win32"},
    "directml": {"win32"},
    "coreml": {"darwin"},
}
"""Provider -> the values of sys.platform where it can be had; others: everywhere."""
_CURES = {
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]', and see what nvidia-smi says of the driver",
    "tensorrt": "install NVIDIA's TensorRT libraries",
}
"""What to do where ONNX Runtime has a provider and it does not load."""
_LITTLE_SPACE_GB = 1.0
_ROOT = Path("/")
_FED_ON_WINDOWS = {  # where they register themselves
    "OBS": r"CLSID\{A3FCE0F5-3493-419F-958A-ABA1250EC20B}",
    "Unity Capture": r"CLSID\{5C2CD55C-92AD-4999-8666-912BD3E70010}",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    about: str
    mark: Mark
    text: str
    remedy: str = ""
    """What to do, where there is anything to do."""


@dataclass(frozen=True)
class Check:
    """Something to look at."""

    about: str
    look: Callable[[], Iterable[Finding]]
    essential: bool = False
    """Whether nothing can be painted where it finds a problem."""


def examine(check: Check) -> Iterator[Finding]:
    """What a check finds, without the user's name and folders; a check that fails is a problem by itself."""
    try:
        for finding in check.look():
            yield replace(finding, text=_public(finding.text), remedy=_public(finding.remedy))
    except InputError as error:
        yield Finding(check.about, "problem", _public(str(error)))
    except Exception as error:  # whatever is wrong here, the other checks still tell their part
        library = describe_missing_library(error) if isinstance(error, ImportError) else None
        reason = f"{type(error).__name__}: {error}"
        yield Finding(check.about, "problem", _public(f"check failed ({reason})"), library or "")


def _public(text: str) -> str:
    """One printable line, with ~ for the home folder and ... for another folder that has the user's name."""
    line = printable(" ".join(text.split()))
    try:
        home = Path.home()
    except RuntimeError:  # a user that the system does not know, as in some containers
        return line
    if home.name:  # else it is "/"
        line = re.sub(re.escape(str(home)) + r"(?![\w.-])", "~", line)
        line = re.sub(r"(?<=[/\\])" + re.escape(home.name) + r"(?=[/\\])", "...", line)
    return line


# Software.


def _system() -> Iterator[Finding]:
    yield Finding("Python", "ok", f"{platform.python_implementation()} {platform.python_version()}")
    yield Finding("system", "ok", platform.platform())


def _libraries() -> Iterator[Finding]:
    versions = [f"Allaprima {__version__}"]
    for label, module in _LIBRARIES.items():
        try:
            versions.append(f"{label} {import_module(module).__version__}")
        except ImportError as error:
            cure = describe_missing_library(error) or f"{error}: install Allaprima again, pip install 'allaprima[cpu]'"
            yield Finding("libraries", "problem", f"{label} does not load", cure)
    torch = _version("torch")
    versions.append(f"PyTorch {torch}" if torch else "no PyTorch (only training needs it)")
    yield Finding("libraries", "ok", ", ".join(versions))
    if len(twice := [name for name in _OPENCV_PACKAGES if _version(name)]) > 1:
        cure = f"pip uninstall -y {' '.join(twice)}, then pip install opencv-python"
        yield Finding("libraries", "warning", f"{' and '.join(twice)} overwrite each other", cure)


def _onnxruntime() -> Iterator[Finding]:
    from .infer.providers import DISTRIBUTIONS, import_onnxruntime

    package = next(filter(_version, DISTRIBUTIONS), "a build of its own")
    yield Finding("ONNX Runtime", "ok", f"{import_onnxruntime().__version__} ({package})")


def _styles() -> Iterator[Finding]:
    from .infer.stylefile import read_style_file

    for path in (styles := shipped_styles()).values():
        read_style_file(path)
    if styles:
        yield Finding("styles", "ok", ", ".join(styles))
    else:
        yield Finding("styles", "warning", "none ships with this copy", "train one, or give a .onnx file")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# Where styles compute.


def _providers() -> Iterator[Finding]:
    from .infer.providers import ORT_NAMES, REMEDIES, available_providers

    available = available_providers()
    for name in ORT_NAMES:
        if name in available:
            yield _try_provider(name, chosen=name == available[0])
        elif sys.platform in _SYSTEMS.get(name, ()):
            unused = name == "cuda" and shutil.which("nvidia-smi")
            text = "not in the ONNX Runtime installed here" + (", though there is an NVIDIA GPU" if unused else "")
            yield Finding(name, "warning" if unused else "ok", text, REMEDIES[name] if unused else "")


def _try_provider(name: str, *, chosen: bool) -> Finding:
    """Ask for it. One that does not load is a matter of concern where `auto` would have taken it."""
    if not (styles := list(shipped_styles().values())):
        return Finding(name, "warning", "not tried: no style ships with this copy")
    problem = _provider_problem(name, styles[0])
    if problem is None:
        return Finding(name, "ok", "loads and paints" + (", --provider auto takes it" if chosen else ""))
    if name == "cpu":
        return Finding(name, "problem", problem, "pip install --force-reinstall onnxruntime")
    return Finding(name, "warning" if chosen else "ok", problem, _CURES.get(name, "") if chosen else "")


def _provider_problem(name: str, path: Path) -> str | None:
    """What goes wrong when the style at `path` is painted by `name`; None: nothing."""
    import numpy as np

    from .infer.providers import why_not
    from .infer.stylefile import read_style_file
    from .infer.stylizer import Stylizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that another one loads is what is asked here
        stylizer = Stylizer(path, provider=name)
    if stylizer.provider != name:
        return f"asked for, and {stylizer.provider} loads instead: {why_not(read_style_file(path).data, name)}"
    if name != "tensorrt":  # which would compile the style, for minutes, before it paints
        try:
            stylizer(np.zeros((64, 64, 3), np.uint8))
        except InputError as error:
            return f"loads, but does not paint: {error}"
    return None


def _cpu() -> Iterator[Finding]:
    features = cpu_features()
    words = {True: "yes", False: "no", None: "unknown"}
    text = ", ".join(f"{name} {words[there]}" for name, there in features.items())
    if features.get("VNNI") is False:
        text += " (without VNNI, styles in 8-bit integers gain less)"
    yield Finding("CPU", "ok", text or f"nothing is known of a {platform.machine()}")


def _cores() -> Iterator[Finding]:
    usable, present = usable_cpus(), os.cpu_count() or 1
    if usable >= present:
        yield Finding("cores", "ok", f"{present}")
    else:  # ONNX Runtime makes as many threads as the machine has cores, and they get in each other's way
        cure = f"--threads {max(1, int(usable))} may be faster"
        yield Finding("cores", "warning", f"{usable:g} of {present} may be used by this process", cure)


# What goes in and out.


def _window() -> Iterator[Finding]:
    import cv2

    from .infer.window import display_problem, keep_events

    cure = "to paint without a window: --no-window --record FILE"
    if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
        yield Finding("window", "warning", "this OpenCV is built without windows", f"pip install opencv-python; {cure}")
    elif problem := display_problem():
        yield Finding("window", "warning", problem, cure)
    elif not keep_events():
        missing = "libX11-xcb.so.1 is missing, without which keys and clicks may be lost"
        yield Finding("window", "warning", missing, "apt-get install libx11-xcb1, or what your system calls it")
    else:
        yield Finding("window", "ok", "can be shown")


def _cameras() -> Iterator[Finding]:
    if sys.platform == "linux":
        return linux_cameras()
    return _first_camera()


def linux_cameras(root: Path = _ROOT) -> Iterator[Finding]:
    """The cameras that Linux shows, save for virtual ones, and whether this user may open them."""
    from .infer.device import list_devices
    from .infer.v4l2 import problem

    devices = [device for device in list_devices() if not _is_virtual(Path(f"video{device.index}"), root)]
    for device in devices:
        name = f"{device.index}: {device.name or 'without a name'}"
        if reason := problem(device.index):
            what, _, cure = reason.partition(": ")
            yield Finding("camera", "problem", f"{name}; {what}", cure or "unplug it, and plug it in again")
        else:
            yield Finding("camera", "ok", name)
    if not devices:
        cure = "plug one in, or give an address or a file: allaprima cam http://... --style starry_night"
        yield Finding("camera", "warning", "this machine shows none", cure)


def _first_camera() -> Iterator[Finding]:
    """Where cameras cannot be listed: open the first one."""
    from .infer.camera import open_camera

    try:
        camera = open_camera("0")
    except InputError as error:
        cure = "allow this terminal to use the camera in the system's privacy settings"
        yield Finding("camera", "warning", str(error), cure)
        return
    camera.close()
    yield Finding("camera", "ok", camera.description)


def _virtual_camera() -> Iterator[Finding]:
    if (version := _version("pyvirtualcam")) is None:
        yield Finding("virtual camera", "ok", "not set up; --virtual-camera needs pip install 'allaprima[vcam]'")
        return
    import_module("pyvirtualcam")
    if sys.platform == "linux":
        yield from loopback_devices(f"pyvirtualcam {version}")
    elif found := _fed_programs():
        yield Finding("virtual camera", "ok", f"pyvirtualcam {version}, {', '.join(found)}")
    else:
        cure = "install OBS (obsproject.com), and start and stop its virtual camera once"
        yield Finding("virtual camera", "warning", f"pyvirtualcam {version}, but OBS was not found", cure)


def loopback_devices(library: str, root: Path = _ROOT) -> Iterator[Finding]:
    """The virtual cameras of v4l2loopback, and whether browsers list them."""
    nodes = [node for node in _video_nodes(root) if _is_virtual(node, root)]
    if not nodes:
        cure = f"apt install v4l2loopback-dkms, then {LOAD_LOOPBACK}"
        yield Finding("virtual camera", "warning", f"{library}, but no v4l2loopback device", cure)
        return
    text = f"{library}, {', '.join(f'/dev/{node.name}' for node in nodes)} (v4l2loopback)"
    parameter = root / "sys" / "module" / "v4l2loopback" / "parameters" / "exclusive_caps"
    if not all(os.access(node, os.R_OK | os.W_OK) for node in nodes):
        cure = "sudo usermod -aG video $USER, then log out and in"
        yield Finding("virtual camera", "problem", f"{text} may not be opened by this user", cure)
    elif parameter.is_file() and "Y" not in parameter.read_text(encoding="ascii"):
        cure = f"sudo modprobe -r v4l2loopback, then {LOAD_LOOPBACK}"
        yield Finding("virtual camera", "warning", f"{text}; Chrome will not list it without exclusive_caps", cure)
    else:
        yield Finding("virtual camera", "ok", text)


def _video_nodes(root: Path) -> list[Path]:
    """/dev/video0, 1, ..., by number."""
    numbers = (path.name.removeprefix("video") for path in (root / "dev").glob("video[0-9]*"))
    return [root / "dev" / f"video{number}" for number in sorted(map(int, filter(str.isdecimal, numbers)))]


def _is_virtual(node: Path, root: Path) -> bool:
    return (root / "sys" / "devices" / "virtual" / "video4linux" / node.name).exists()


def _fed_programs() -> list[str]:
    """Those installed whose virtual camera pyvirtualcam feeds, on macOS and Windows."""
    if sys.platform != "win32":
        return ["OBS"] if Path("/Applications/OBS.app").exists() else []
    import winreg

    found = []
    for name, key in _FED_ON_WINDOWS.items():
        with suppress(OSError):
            winreg.CloseKey(winreg.OpenKey(winreg.HKEY_CLASSES_ROOT, key))
            found.append(name)
    return found


def _encoder() -> Iterator[Finding]:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec("libx264", "w")
    except UnknownCodecError:
        cure = "pip install --force-reinstall --only-binary av av"
        yield Finding("H.264", "problem", "this PyAV has no libx264: videos cannot be written", cure)
    else:
        yield Finding("H.264", "ok", "libx264 writes videos and recordings")


def _places() -> Iterator[Finding]:
    temporary = next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp")
    for about, folder in {"disk": Path.cwd(), "temporary": Path(temporary)}.items():
        free_gb = shutil.disk_usage(folder).free / 1e9
        enough = free_gb >= _LITTLE_SPACE_GB
        yield Finding(about, "ok" if enough else "warning", f"{free_gb:.1f} GB free", "" if enough else "free some")
    cache = cache_folder()
    nearest = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if os.access(nearest, os.W_OK | os.X_OK):
        yield Finding("cache", "ok", f"{cache} can be written")
    else:
        cure = "only `allaprima evaluate` uses it; give yourself the right to write there"
        yield Finding("cache", "warning", f"{cache} cannot be written", cure)


CHECKS = (
    Check("system", _system),
    Check("libraries", _libraries, essential=True),
    Check("ONNX Runtime", _onnxruntime, essential=True),
    Check("styles", _styles, essential=True),
    Check("providers", _providers, essential=True),
    Check("CPU", _cpu),
    Check("cores", _cores),
    Check("window", _window),
    Check("camera", _cameras),
    Check("virtual camera", _virtual_camera),
    Check("H.264", _encoder),
    Check("disk", _places),
)
