"""What the device at hand can do."""

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import Literal

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt's parameters, malloc.h


def best_device() -> torch.device:
    """The accelerator at hand, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


@cache
def keep_freed_memory() -> bool:
    """Let this process keep what it frees for its next step; whether that could be asked for (glibc only).

    A step takes and frees blocks of some 30 MB each. glibc gives each back to the system at once, which clears every
    page of it before it comes again: 110,000 page faults a step of 4 photos at 256 px, a quarter of its time.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    wanted = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in wanted.items())


def free_bytes(device: torch.device) -> int | None:
    """Memory that may still be used there; None where nobody tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kilobytes = (int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return next((1024 * n for n in kilobytes), None)


def precision(wanted: Literal["auto", "bf16", "fp32"]) -> Literal["bf16", "no"]:
    """Accelerate's name for it; auto is bf16 where the device computes in bf16. Never fp16, which overflows to NaN."""
    if wanted == "auto":
        wanted = "bf16" if _has_bf16() else "fp32"
    return "bf16" if wanted == "bf16" else "no"


def _has_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.accelerator.is_available():
        return False  # MPS emulates it
    # Emulated on other CPUs, at a loss: only instructions of their own count. No public call tells.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
