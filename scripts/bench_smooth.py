"""What smoothing adds to a frame's painting, and to a clip from file to file (scripts/bench smooth)."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from bench_devices import RING, camera_pictures
from rich.table import Table

import allaprima
from allaprima.commands.video import Config as VideoConfig
from allaprima.errors import InputError
from allaprima.infer.smoothing import Smoothed, Smoother
from allaprima.infer.video import Paint, paint_video
from allaprima.pictures import Frame
from allaprima.terminal import console, show_table
from allaprima.train.scenes import noisy

_WARM_UP = 10  # frames that are not counted


def bench_smooth(arguments: argparse.Namespace) -> None:
    """A still scene and a moving one, frame by frame as in a live session; or whole clips, as `video` paints them."""
    for flag in ("frames", "rounds"):
        if (count := getattr(arguments, flag)) < 1:
            raise InputError(f"--{flag}: got {count}, expected 1 or more")
    paint = allaprima.load(arguments.style, threads=arguments.threads)
    if arguments.clip:
        _bench_clips(arguments, paint)
    else:
        _bench_frames(arguments, paint)


def _bench_frames(arguments: argparse.Namespace, paint: Paint) -> None:
    """Each frame is painted, then smoothed, one after the other on one thread."""
    moving = [np.ascontiguousarray(picture[..., ::-1]) for picture in camera_pictures(arguments.size)]
    still = noisy(moving[0], frames=RING)
    table = Table(f"{arguments.style}, {arguments.size}", "painting, ms", "painted", "smoothing, ms", "more")
    for name, pictures in (("still, with noise", still), ("moving", moving)):
        console.print(f"{name}: {arguments.frames} frames ...")
        painting_ms, painted, smoothing_ms = _smoothed(paint, pictures, arguments.frames)
        more = painted + smoothing_ms / painting_ms - 1
        table.add_row(name, f"{painting_ms:.1f}", f"{painted:.0%}", f"{smoothing_ms:.2f}", f"{more:+.0%}")
    show_table(table)


def _bench_clips(arguments: argparse.Namespace, paint: Paint) -> None:
    """Each clip is read, painted and written without smoothing and with it, in turns; `more` is of each turn."""
    table = Table(f"{arguments.style}, from file to file", "bare, ms a frame", "smoothed, ms a frame", "more")
    with tempfile.TemporaryDirectory() as folder:
        for clip in arguments.clip:
            console.print(f"{clip.name}: {arguments.rounds} times without and with ...")
            amounts = 0, VideoConfig.smooth
            times = [
                [_clip_ms(clip, paint, amount, Path(folder)) for amount in amounts] for _ in range(arguments.rounds)
            ]
            bare, smoothed = (statistics.median(column) for column in zip(*times, strict=True))
            more = statistics.median(smoothed / bare for bare, smoothed in times) - 1
            table.add_row(clip.name, f"{bare:.1f}", f"{smoothed:.1f}", f"{more:+.0%}")
    show_table(table)


def _clip_ms(clip: Path, paint: Paint, smooth: float, folder: Path) -> float:
    """A frame of it."""
    film = Smoothed(paint, smooth) if smooth else paint
    begin_s = time.perf_counter()
    result = paint_video(clip, film, folder / "painted.mp4")
    return 1000 * (time.perf_counter() - begin_s) / result.frames


def _smoothed(paint: Paint, pictures: Sequence[Frame], frames: int) -> tuple[float, float, float]:
    """Painting's ms, what share of the frames was painted, and smoothing's ms: medians."""
    smooth, painted, smoothed = Smoother(), list[float](), list[float]()

    def timed(photo: Frame) -> Frame:
        begin_s = time.perf_counter()
        painting = paint(photo)
        painted.append(time.perf_counter() - begin_s)
        return painting

    for number in range(_WARM_UP + frames):
        if number == _WARM_UP:
            painted.clear()
        before, begin_s = len(painted), time.perf_counter()
        smooth(timed, pictures[number % len(pictures)], VideoConfig.smooth)
        smoothed.append(time.perf_counter() - begin_s - sum(painted[before:]))
    return 1000 * statistics.median(painted), len(painted) / frames, 1000 * statistics.median(smoothed[_WARM_UP:])
