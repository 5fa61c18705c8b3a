"""What this machine can do: instructions that make styles fast, and the processors that this process may really use.

Read from where each system tells it: /proc and cgroups on Linux, sysctl on macOS, IsProcessorFeaturePresent on Windows.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

LOAD_LOOPBACK = "sudo modprobe v4l2loopback exclusive_caps=1 card_label=Allaprima"
"""What gives Linux a virtual camera that browsers list too, once v4l2loopback is installed."""

_SYSCTL = "/usr/sbin/sysctl"
_TIMEOUT_S = 10


@dataclass(frozen=True)
class _Feature:
    """What a set of instructions is called; None where the system has no name for it."""

    name: str
    linux: frozenset[str]
    """Words in /proc/cpuinfo, of which one is enough."""
    macos: str | None
    """Below `hw.optional`."""
    windows: int | None
    """Number in winnt.h (PF_..._INSTRUCTIONS_AVAILABLE)."""


_X86 = (
    _Feature("AVX2", frozenset({"avx2"}), "avx2_0", 40),
    _Feature("AVX-512", frozenset({"avx512f"}), "avx512f", 41),
    _Feature("VNNI", frozenset({"avx512_vnni", "avx_vnni"}), "avx512vnni", None),
    _Feature("AMX", frozenset({"amx_int8"}), None, None),
)
_ARM = (
    _Feature("dotprod", frozenset({"asimddp"}), "arm.FEAT_DotProd", 43),
    _Feature("i8mm", frozenset({"i8mm"}), "arm.FEAT_I8MM", 66),
)
_ARCHITECTURES = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}


def cpu_features() -> dict[str, bool | None]:
    """The instructions that matter to styles -> whether the CPU has them; None: the system does not say."""
    features = _ARCHITECTURES.get(platform.machine().lower(), ())
    if sys.platform == "win32":
        return {feature.name: _on_windows(feature) for feature in features}
    if sys.platform == "darwin":
        told = parse_sysctl(_sysctl())
        return {feature.name: told.get(feature.macos or "") for feature in features}
    words = parse_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return {feature.name: bool(words & feature.linux) if words else None for feature in features}


def parse_cpuinfo(text: str) -> set[str]:
    """Text of /proc/cpuinfo -> what the first processor can; empty where it does not say."""
    for line in text.splitlines():
        key, _, words = line.partition(":")
        if key.strip() in {"flags", "Features"}:  # x86, ARM
            return set(words.split())
    return set()


def parse_sysctl(text: str) -> dict[str, bool]:
    """Text of `sysctl hw.optional` -> name without that prefix, and whether it is there."""
    lines = (line.removeprefix("hw.optional.").partition(":") for line in text.splitlines())
    return {name: value.strip() == "1" for name, _, value in lines}


def usable_cpus(root: Path = Path("/")) -> float:
    """Processors that this process may use: those it is bound to, or fewer where its container has a quota.

    Args:
        root: where /proc and /sys are.
    """
    bound = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min([bound, *_quotas(root)])


def _quotas(root: Path) -> Iterator[float]:
    """Processors' worth of time that each cgroup around this process may take, where it is limited."""
    groups = root / "proc" / "self" / "cgroup"
    for line in groups.read_text(encoding="utf-8").splitlines() if groups.is_file() else []:
        _, controllers, path = line.split(":", 2)
        version_2 = not controllers
        if version_2 or "cpu" in controllers.split(","):
            mount = root / "sys" / "fs" / "cgroup" / ("" if version_2 else "cpu")
            quota: Callable[[Path], float | None] = _quota_2 if version_2 else _quota_1
            folder = mount / path.lstrip("/")  # inside a container it may not be there, and the mount itself counts
            for place in (folder, *(parent for parent in folder.parents if parent.is_relative_to(mount))):
                if (cpus := quota(place)) is not None:
                    yield cpus


def _quota_2(folder: Path) -> float | None:
    """Of a cgroup of version 2: "200000 100000" or "max 100000" microseconds."""
    file = folder / "cpu.max"
    quota, period = file.read_text(encoding="ascii").split() if file.is_file() else ("max", "")
    return None if quota == "max" else int(quota) / int(period)


def _quota_1(folder: Path) -> float | None:
    """Of a cgroup of version 1, in two files; -1: no limit."""
    files = [folder / f"cpu.cfs_{name}_us" for name in ("quota", "period")]
    if not all(file.is_file() for file in files):
        return None
    quota, period = (int(file.read_text(encoding="ascii")) for file in files)
    return quota / period if quota > 0 else None


def _sysctl() -> str:
    done = subprocess.run([_SYSCTL, "hw.optional"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    return done.stdout


def _on_windows(feature: _Feature) -> bool | None:
    if sys.platform != "win32" or feature.windows is None:
        return None
    import ctypes

    return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(feature.windows))
