"""What the device at hand can do."""

from typing import Literal

import torch


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
