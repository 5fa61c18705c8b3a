"""What smoothing adds to a frame's painting, in a still scene and in a moving one (scripts/bench smooth)."""

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np
from bench_devices import RING, camera_pictures
from rich.table import Table

import allaprima
from allaprima.commands.video import Config as VideoConfig
from allaprima.errors import InputError
from allaprima.infer.smoothing import Smoother
from allaprima.infer.video import Paint
from allaprima.pictures import Frame
from allaprima.terminal import console, show_table
from allaprima.train.scenes import noisy

_WARM_UP = 10  # frames that are not counted


def bench_smooth(arguments: argparse.Namespace) -> None:
    """Each frame is painted, then smoothed, one after the other on one thread, as in a live session."""
    if arguments.frames < 1:
        raise InputError(f"--frames: got {arguments.frames}, expected 1 or more")
    paint = allaprima.load(arguments.style, threads=arguments.threads)
    moving = [np.ascontiguousarray(picture[..., ::-1]) for picture in camera_pictures(arguments.size)]
    still = noisy(moving[0], frames=RING)
    table = Table(f"{arguments.style}, {arguments.size}", "painting, ms", "smoothing, ms", "more")
    for name, pictures in (("still, with noise", still), ("moving", moving)):
        console.print(f"{name}: {arguments.frames} frames ...")
        painting_ms, smoothing_ms = _medians_ms(paint, pictures, arguments.frames)
        share = smoothing_ms / painting_ms
        table.add_row(name, f"{painting_ms:.1f}", f"{smoothing_ms:.2f}", f"{share:.0%}")
    show_table(table)


def _medians_ms(paint: Paint, pictures: Sequence[Frame], frames: int) -> tuple[float, float]:
    """Of the painting and of the smoothing of one frame."""
    smooth, painted, smoothed = Smoother(), list[float](), list[float]()
    for number in range(_WARM_UP + frames):
        picture = pictures[number % len(pictures)]
        begin_s = time.perf_counter()
        painting = paint(picture)
        painted_s = time.perf_counter()
        smooth(painting, picture, VideoConfig.smooth)
        painted.append(painted_s - begin_s)
        smoothed.append(time.perf_counter() - painted_s)
    return 1000 * statistics.median(painted[_WARM_UP:]), 1000 * statistics.median(smoothed[_WARM_UP:])
