"""What steadiness adds to a frame's painting, and to a clip from file to file (scripts/bench smooth).

`video` and `cam` paint with norms that are slow (allaprima.infer.slow_norms); `--smooth` comes on top.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
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
_BLOCKS = 4  # of frames without and with, in turn: one live session at a time


def bench_smooth(arguments: argparse.Namespace) -> None:
    """A still scene and a moving one, frame by frame as in a live session; or whole clips, as `video` paints them."""
    for flag in ("frames", "rounds"):
        if (count := getattr(arguments, flag)) < 1:
            raise InputError(f"--{flag}: got {count}, expected 1 or more")

    def open_(film: bool) -> Paint:
        return allaprima.load(arguments.style, threads=arguments.threads, film=film)

    if arguments.clip:
        _bench_clips(arguments, open_)
    else:
        _bench_frames(arguments, open_)


def _bench_frames(arguments: argparse.Namespace, open_: "Callable[[bool], Paint]") -> None:
    """Each frame is painted, then smoothed, one after the other on one thread; `more` is over `bare`."""
    moving = [np.ascontiguousarray(picture[..., ::-1]) for picture in camera_pictures(arguments.size)]
    still = noisy(moving[0], frames=RING)
    head = "bare, ms", "slow norms, ms", "painted", "smoothing, ms", "more"
    table = Table(f"{arguments.style}, {arguments.size}", *head)
    frames = -(-arguments.frames // _BLOCKS)
    for name, pictures in (("still, with noise", still), ("moving", moving)):
        console.print(f"{name}: {_BLOCKS} times {frames} frames without and with ...")
        bare, film = Timed(), Timed()
        for _ in range(_BLOCKS):
            bare.paint_all(open_(False), pictures, frames, 0)
            film.paint_all(open_(True), pictures, frames, VideoConfig.smooth)
        bare_ms, film_ms = bare.painting_ms, film.painting_ms
        more = (film.painted * film_ms + film.smoothing_ms) / bare_ms - 1
        figures = f"{bare_ms:.1f}", f"{film_ms:.1f}", f"{film.painted:.0%}", f"{film.smoothing_ms:.2f}", f"{more:+.0%}"
        table.add_row(name, *figures)
    show_table(table)


def _bench_clips(arguments: argparse.Namespace, open_: "Callable[[bool], Paint]") -> None:
    """Each clip is read, painted and written bare and steady, in turns; `more` is of each turn."""

    def bare() -> Paint:
        return open_(False)

    def steady() -> Paint:
        return Smoothed(open_(True), VideoConfig.smooth)

    table = Table(f"{arguments.style}, from file to file", "bare, ms a frame", "smoothed, ms a frame", "more")
    with tempfile.TemporaryDirectory() as folder:
        for clip in arguments.clip:
            console.print(f"{clip.name}: {arguments.rounds} times without and with ...")
            times = [[_clip_ms(clip, film(), Path(folder)) for film in (bare, steady)] for _ in range(arguments.rounds)]
            bare_ms, steady_ms = (statistics.median(column) for column in zip(*times, strict=True))
            more = statistics.median(with_ / without for without, with_ in times) - 1
            table.add_row(clip.name, f"{bare_ms:.1f}", f"{steady_ms:.1f}", f"{more:+.0%}")
    show_table(table)


def _clip_ms(clip: Path, film: Paint, folder: Path) -> float:
    """A frame of it."""
    begin_s = time.perf_counter()
    result = paint_video(clip, film, folder / "painted.mp4")
    return 1000 * (time.perf_counter() - begin_s) / result.frames


class Timed:
    """What frames take to paint and to smooth, ms, and how many of them are painted at all."""

    def __init__(self) -> None:
        self._painting_ms, self._smoothing_ms = list[float](), list[float]()

    def paint_all(self, paint: Paint, pictures: Sequence[Frame], frames: int, amount: float) -> None:
        """Paint so many frames, the pictures over and over, and smooth them by `amount`."""
        smooth, took_ms = Smoother(), list[float]()

        def timed(photo: Frame) -> Frame:
            begin_s = time.perf_counter()
            painting = paint(photo)
            took_ms.append(1000 * (time.perf_counter() - begin_s))
            return painting

        for number in range(-_WARM_UP, frames):
            took_ms.clear()
            begin_s = time.perf_counter()
            smooth(timed, pictures[number % len(pictures)], amount)
            whole_ms = 1000 * (time.perf_counter() - begin_s)
            if number >= 0:
                self._painting_ms += took_ms
                self._smoothing_ms.append(whole_ms - sum(took_ms))

    @property
    def painting_ms(self) -> float:
        """Median of those that were painted."""
        return statistics.median(self._painting_ms)

    @property
    def smoothing_ms(self) -> float:
        """Median of all."""
        return statistics.median(self._smoothing_ms)

    @property
    def painted(self) -> float:
        """Share of the frames, 0..1."""
        return len(self._painting_ms) / len(self._smoothing_ms)
