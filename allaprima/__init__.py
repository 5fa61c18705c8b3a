"""Allaprima: train a painting into a small network, export one ONNX file, run it live.

import allaprima
stylize = allaprima.load("starry_night")      # a style that ships, or the path of a style file
painted = stylize(frame)                      # (H, W, 3) uint8 RGB in, the same out
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

# ONNX Runtime 1.31 and 1.32 on Linux report to their maker unless this stands before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from .infer.stylizer import Stylizer

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(
    style: str | Path,
    *,
    provider: str = "auto",
    threads: int | None = None,
    keep_colours: bool = False,
    film: bool = False,
) -> "Stylizer":
    """Open a style: a callable from an (H, W, 3) uint8 RGB frame to its painting of the same size.

    Args:
        style: the name of a style that ships (``allaprima styles`` lists them) or the path of a style file.
        provider: `auto`, `cpu`, `cuda`, `tensorrt`, `directml` or `coreml`.
        threads: CPU threads; None lets ONNX Runtime choose.
        keep_colours: paint in the colours of the frame.
        film: frames come one after the other, as of one film: what enters in one corner does not repaint the others.

    Raises:
        InputError: no such style, or not a style file.
    """
    from .gallery import find_style
    from .infer.stylizer import Stylizer

    return Stylizer(find_style(style), provider=provider, threads=threads, keep_colours=keep_colours, film=film)
