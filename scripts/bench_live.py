"""The live pipeline, measured on a synthetic camera (scripts/bench live, overhead and memory)."""

import argparse
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from bench_cam import Passed, cam, check_sinks, figures, memory_mb, need_memory, process_of
from bench_devices import camera_pictures
from rich.table import Table

from allaprima.errors import InputError
from allaprima.gallery import find_style
from allaprima.infer.providers import import_onnxruntime
from allaprima.infer.stylizer import Stylizer
from allaprima.infer.video import Paint
from allaprima.pictures import Frame
from allaprima.terminal import console, show_table

READ_EVERY = 1000  # frames between two readings of the memory


def bench_live(arguments: argparse.Namespace) -> None:
    """Real time at each of `--fps`."""
    check_sinks(arguments.sinks)
    pictures = camera_pictures(arguments.size)
    painting_cpu_s = _cpu_s_of_a_painting(arguments, pictures[0])
    columns = {}
    for fps in arguments.fps:
        name = f"{fps:g} fps" if fps else "unbounded"
        sinks = f", {', '.join(arguments.sinks)}" if arguments.sinks else ""
        console.print(f"{_what(arguments)}, camera {name}{sinks} ...")
        passed = _passed(arguments, pictures, fps, sinks=arguments.sinks)
        columns[name] = _live_figures(passed, painting_cpu_s)
    table = Table(arguments.size, *columns)
    for row in next(iter(columns.values())):
        table.add_row(row, *(values[row] for values in columns.values()))
    show_table(table)


def _passed(
    arguments: argparse.Namespace,
    pictures: Sequence[Frame],
    fps: float,
    *,
    sinks: Sequence[str] = (),
    paint: Paint | None = None,
) -> list[Passed]:
    """The frames of a session of `--seconds`."""
    passed: list[Passed] = []
    with cam(
        arguments.style,
        pictures,
        fps,
        passed.append,
        sinks=sinks,
        seconds=arguments.seconds,
        threads=arguments.threads,
        paint=paint,
    ) as session:
        session.run()
    return passed


def _live_figures(passed: Sequence[Passed], painting_cpu_s: float) -> dict[str, str]:
    whole = figures(passed)
    painting_ms = 1000 * np.median([frame.painted_s - frame.begun_s for frame in passed])
    shown_ms = np.percentile([1000 * (frame.shown_s - frame.due_s) for frame in passed], [50, 95])
    rows = {
        "frames captured": f"{whole.captured}",
        "dropped": f"{whole.dropped} ({whole.dropped_percent:.1f}%)",
        "painted": f"{whole.frames} ({whole.fps:.1f} fps)",
        "latency p50, p95, ms": f"{whole.p50_ms:.1f}, {whole.p95_ms:.1f}",
        "at the virtual camera, ms": "{:.1f}, {:.1f}".format(*shown_ms),
        "of it painting, p50, ms": f"{painting_ms:.1f}",
        "CPU, % of a core": f"{whole.cpu_percent:.0f}",
        "paintings alone, %": f"{100 * painting_cpu_s * whole.fps:.0f}",
        "memory, MB": f"{memory_mb('VmHWM'):.0f}",
    }
    if np.isnan(shown_ms[0]):
        del rows["at the virtual camera, ms"]
    return rows


def bench_overhead(arguments: argparse.Namespace) -> None:
    """What a frame costs beside the network."""
    pictures = camera_pictures(arguments.size)
    console.print(f"{_what(arguments)}, camera {arguments.fps:g} fps ...")
    passed = _passed(arguments, pictures, arguments.fps, paint=lambda frame: frame)
    parts_ms = {
        "camera": [1000 * (frame.captured_s - frame.due_s) for frame in passed],
        "painter": [1000 * (frame.begun_s - frame.captured_s) for frame in passed],
        "sink": [1000 * (frame.sunk_s - frame.painted_s) for frame in passed],
        "call": _call_ms(arguments, pictures[0]),
    }
    table = Table("part", "p50 ms", "p95 ms")
    for name, times_ms in parts_ms.items():
        table.add_row(name, *(f"{value:.2f}" for value in np.percentile(times_ms, [50, 95])))
    table.add_row("sum", f"{sum(float(np.median(times_ms)) for times_ms in parts_ms.values()):.2f}", "")
    show_table(table)
    cpu_ms = figures(passed).cpu_ms
    console.print(f"CPU of camera, painter and sink: {cpu_ms:.2f} ms a frame, at {arguments.fps:g} fps")


def bench_memory(arguments: argparse.Namespace) -> None:
    """The memory of a process over many frames."""
    if arguments.frames < 2 * READ_EVERY:
        raise InputError(f"--frames: got {arguments.frames}, expected {2 * READ_EVERY} or more")
    need_memory()
    words = find_style(arguments.style), arguments.size, arguments.threads, arguments.frames
    readings_mb: list[float] = []
    with process_of(__file__, *words) as lines:
        for line in lines:
            console.print(line.rstrip())
            if reading := re.fullmatch(r"frame \d+: ([\d.]+) MB\n", line):
                readings_mb.append(float(reading[1]))
    console.print(f"growth since frame {READ_EVERY}: {readings_mb[-1] - readings_mb[0]:+.1f} MB")


def _what(arguments: argparse.Namespace) -> str:
    return f"{arguments.style}, {arguments.size}, {arguments.threads} threads, {arguments.seconds:g} s"


def _cpu_s_of_a_painting(arguments: argparse.Namespace, picture: Frame, count: int = 30) -> float:
    stylizer = Stylizer(find_style(arguments.style), provider="cpu", threads=arguments.threads, film=True)
    stylizer(picture)  # warms up
    begin_s = time.process_time()
    for _ in range(count):
        stylizer(picture)
    return (time.process_time() - begin_s) / count


def _call_ms(arguments: argparse.Namespace, picture: Frame, count: int = 50) -> list[float]:
    """Of `count` calls of the style, the time outside the session, ms."""
    ort = import_onnxruntime()
    inside_s = 0.0

    @contextmanager
    def timed() -> Iterator[None]:
        nonlocal inside_s
        begin_s = time.perf_counter()
        yield
        inside_s += time.perf_counter() - begin_s

    class TimedSession(ort.InferenceSession):  # type: ignore[misc, name-defined]
        def run(self, *words: Any, **named: Any) -> Any:
            with timed():
                return super().run(*words, **named)

        def run_with_iobinding(self, *words: Any, **named: Any) -> Any:
            with timed():
                return super().run_with_iobinding(*words, **named)

    with patch.object(ort, "InferenceSession", TimedSession):
        stylizer = Stylizer(find_style(arguments.style), provider="cpu", threads=arguments.threads, film=True)
        stylizer(picture)
        outside_ms = []
        for _ in range(count):
            inside_s, begin_s = 0.0, time.perf_counter()
            stylizer(picture)
            outside_ms.append(1e3 * (time.perf_counter() - begin_s - inside_s))
            assert inside_s > 0, "the style was painted by no session that could be timed"
    return outside_ms


def _run_long(style: str, size: str, threads: str, frames: str) -> None:
    """A session of so many frames, which prints the memory as it goes."""
    passed = 0

    def read_memory(_: Passed) -> None:
        nonlocal passed
        passed += 1
        if passed % READ_EVERY == 0:
            print(f"frame {passed}: {memory_mb():.1f} MB", flush=True)
        if passed == int(frames):
            session.end()

    with cam(style, camera_pictures(size, count=4), 0, read_memory, threads=int(threads)) as session:
        session.run()


if __name__ == "__main__":
    _run_long(*sys.argv[1:])
