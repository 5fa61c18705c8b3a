"""The live pipeline, measured on a synthetic camera (scripts/bench live, overhead and memory).

The camera stands where OpenCV's driver would, below `DeviceCamera`: all from the colours to the sink is what
`allaprima cam` runs.
"""

import argparse
import math
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Semaphore
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import numpy.typing as npt
from rich.table import Table

from allaprima.errors import InputError
from allaprima.gallery import find_style
from allaprima.infer.camera import NewestFrame, parse_size
from allaprima.infer.device import DeviceCamera
from allaprima.infer.live import Tally, run_live
from allaprima.infer.providers import import_onnxruntime
from allaprima.infer.stylizer import Stylizer
from allaprima.infer.video import Paint
from allaprima.pictures import Frame
from allaprima.terminal import console, show_table

RING = 30  # pictures that the camera gives in turn
READ_EVERY = 1000  # frames between two readings of the memory
_REMEMBERED = 1000  # pictures whose times the camera knows
_PATIENCE_S = 0.9  # of a camera without a clock, for somebody to take its picture


class SyntheticDevice:
    """In place of `cv2.VideoCapture`: each picture is there when it is due.

    Args:
        pictures: (H, W, 3) uint8 BGR, given in turn.
        fps: pictures per second; 0: one is due when the last one was taken, as the painter tells by `taken`.
    """

    def __init__(self, pictures: Sequence[Frame], fps: float) -> None:
        self._pictures, self._fps = pictures, fps
        self.taken = Semaphore(1)
        self._given = 0
        self._start_s = 0.0
        self._times_s: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)  # read, due

    def read(self, image: Frame | None = None) -> tuple[bool, Frame]:
        """Wait for a picture and copy it, into `image` if given; a driver's work is about that."""
        due_s = self._wait()
        picture = self._pictures[self._given % len(self._pictures)]
        image = np.empty_like(picture) if image is None else image
        np.copyto(image, picture)
        self._given += 1
        self._times_s.append((time.monotonic(), due_s))
        return True, image

    def due_s(self, capture_s: float) -> float:
        """When the frame was due that the pipeline says it had at `capture_s`."""
        return next(due_s for read_s, due_s in reversed(list(self._times_s)) if read_s <= capture_s)

    def _wait(self) -> float:
        if not self._fps:
            self.taken.acquire(timeout=_PATIENCE_S)
            return time.monotonic()
        now_s = time.monotonic()
        self._start_s = self._start_s or now_s
        due_s = self._start_s + self._given / self._fps
        time.sleep(max(0.0, due_s - now_s))
        return due_s

    def isOpened(self) -> bool:  # noqa: N802
        """It is."""
        return True

    def set(self, key: int, value: float) -> bool:
        """Nothing can be set."""
        return False

    def get(self, key: int) -> float:
        """Its size and rate."""
        height, width, _ = self._pictures[0].shape
        return float({cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height}.get(key, self._fps))

    def release(self) -> None:
        """Nothing was taken."""


class CopyingSink:
    """Copies each painting, as a virtual camera would, and notes when."""

    closed = False
    description, problem = "copies", None

    def __init__(self, device: SyntheticDevice) -> None:
        self.times_s: list[tuple[float, float, float]] = []
        """Of each frame, when it was due, captured and here."""
        self._device = device
        self._copy: Frame | None = None

    def __enter__(self) -> "CopyingSink":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, picture: Frame, time_s: float) -> None:
        """Take a painting."""
        if self._copy is None:
            self._copy = np.empty_like(picture)
        np.copyto(self._copy, picture)
        self.times_s.append((self._device.due_s(time_s), time_s, time.monotonic()))

    def idle(self) -> None:
        """There is nothing to do."""


@dataclass(frozen=True)
class Session:
    """What became of a session."""

    captured: int
    dropped: int
    fps: float
    """Painted frames per second."""
    seconds: float
    """Of it all, by the clock."""
    cpu_s: float
    """Of the whole process."""
    steps_ms: npt.NDArray[np.float64]
    """(painted, 4), of each painted frame: camera, wait for the painter, painting, sink."""


def bench_live(arguments: argparse.Namespace) -> None:
    """Real time at each of `--fps`."""
    pictures = camera_pictures(arguments.size)
    stylizer = Stylizer(find_style(arguments.style), provider="cpu", threads=arguments.threads)
    painting_cpu_s = _cpu_s_of_a_painting(stylizer, pictures[0])
    columns = {}
    for fps in arguments.fps:
        name = f"{fps:g} fps" if fps else "unbounded"
        console.print(f"{_what(arguments)}, camera {name} ...")
        columns[name] = _live_figures(run_session(stylizer, pictures, fps, arguments.seconds), painting_cpu_s)
    table = Table(arguments.size, *columns)
    for row in next(iter(columns.values())):
        table.add_row(row, *(figures[row] for figures in columns.values()))
    show_table(table)


def _live_figures(session: Session, painting_cpu_s: float) -> dict[str, str]:
    p50, p95 = np.percentile(session.steps_ms.sum(axis=1), [50, 95])
    painted = len(session.steps_ms)
    return {
        "frames captured": f"{session.captured}",
        "dropped": f"{session.dropped} ({session.dropped / session.captured:.1%})",
        "painted": f"{painted} ({session.fps:.1f} fps)",
        "latency p50, p95, ms": f"{p50:.1f}, {p95:.1f}",
        "of it painting, p50, ms": f"{np.median(session.steps_ms[:, 2]):.1f}",
        "CPU, % of a core": f"{100 * session.cpu_s / session.seconds:.0f}",
        "paintings alone, %": f"{100 * painting_cpu_s * painted / session.seconds:.0f}",
        "memory, MB": f"{memory_mb('VmHWM'):.0f}",
    }


def bench_overhead(arguments: argparse.Namespace) -> None:
    """What a frame costs beside the network."""
    pictures = camera_pictures(arguments.size)
    console.print(f"{_what(arguments)}, camera {arguments.fps:g} fps ...")
    session = run_session(lambda frame: frame, pictures, arguments.fps, arguments.seconds)
    camera, painter, _, sink = session.steps_ms.T
    parts = {"camera": camera, "painter": painter, "sink": sink, "call": _call_ms(arguments, pictures[0])}
    table = Table("part", "p50 ms", "p95 ms")
    for name, times_ms in parts.items():
        table.add_row(name, *(f"{value:.2f}" for value in np.percentile(times_ms, [50, 95])))
    table.add_row("sum", f"{sum(float(np.median(times_ms)) for times_ms in parts.values()):.2f}", "")
    show_table(table)
    cpu_ms = 1e3 * session.cpu_s / len(session.steps_ms)
    console.print(f"CPU of camera, painter and sink: {cpu_ms:.2f} ms a frame, at {arguments.fps:g} fps")


def bench_memory(arguments: argparse.Namespace) -> None:
    """The memory of a process over many frames."""
    if arguments.frames < 2 * READ_EVERY:
        raise InputError(f"--frames: got {arguments.frames}, expected {2 * READ_EVERY} or more")
    if math.isnan(memory_mb()):
        raise InputError("memory: only Linux tells the memory of a process in /proc")
    words = [find_style(arguments.style), arguments.size, arguments.threads, arguments.frames]
    command = [sys.executable, __file__, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    readings_mb: list[float] = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            console.print(line.rstrip())
            if reading := re.fullmatch(r"frame \d+: ([\d.]+) MB\n", line):
                readings_mb.append(float(reading[1]))
    if process.returncode:
        raise InputError("the session failed")
    console.print(f"growth since frame {READ_EVERY}: {readings_mb[-1] - readings_mb[0]:+.1f} MB")


def run_session(paint: Paint, pictures: Sequence[Frame], fps: float, seconds: float) -> Session:
    """Run the live pipeline on a synthetic camera."""
    device, tally = SyntheticDevice(pictures, fps), Tally()
    sink = CopyingSink(device)
    painted_s: list[tuple[float, float]] = []

    def noted_paint(frame: Frame) -> Frame:
        begin_s = time.monotonic()
        device.taken.release()
        painted = paint(frame)
        painted_s.append((begin_s, time.monotonic()))
        return painted

    start_s, start_cpu_s = time.monotonic(), time.process_time()
    with sink, NewestFrame(_open(device)) as newest:
        run_live(newest, noted_paint, [sink], tally, seconds=seconds)
        lasted_s, cpu_s = time.monotonic() - start_s, time.process_time() - start_cpu_s
    report = tally.report(dropped=newest.dropped)
    steps_s = [
        (capture_s - due_s, begin_s - capture_s, end_s - begin_s, sink_s - end_s)
        for (due_s, capture_s, sink_s), (begin_s, end_s) in zip(sink.times_s, painted_s, strict=False)
    ]
    return Session(newest.captured, newest.dropped, report.fps, lasted_s, cpu_s, 1e3 * np.array(steps_s))


def camera_pictures(size: str, count: int = RING) -> list[Frame]:
    """Pictures of the demo clip, (H, W, 3) uint8 BGR, H and W as in `size` ("640x480")."""
    from make_demo_clip import FRAMES, frame_at

    chosen = (frame_at(index * FRAMES // count) for index in range(count))
    scaled = (cv2.resize(frame, parse_size(size), interpolation=cv2.INTER_CUBIC) for frame in chosen)
    return [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), dtype=np.uint8) for frame in scaled]


def memory_mb(field: str = "VmRSS") -> float:
    """The resident set of this process (its peak: VmHWM) as Linux says it; elsewhere not a number."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), float("nan"))


def _open(device: SyntheticDevice) -> DeviceCamera:
    with patch("allaprima.infer.device._open_device", return_value=device):
        return DeviceCamera(0)


def _what(arguments: argparse.Namespace) -> str:
    return f"{arguments.style}, {arguments.size}, {arguments.threads} threads, {arguments.seconds:g} s"


def _cpu_s_of_a_painting(stylizer: Stylizer, picture: Frame, count: int = 30) -> float:
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
        stylizer = Stylizer(find_style(arguments.style), provider="cpu", threads=arguments.threads)
        stylizer(picture)
        outside_ms = []
        for _ in range(count):
            inside_s, begin_s = 0.0, time.perf_counter()
            stylizer(picture)
            outside_ms.append(1e3 * (time.perf_counter() - begin_s - inside_s))
            assert inside_s > 0, "the style was painted by no session that could be timed"
    return outside_ms


def _run_cam(style: str, size: str, threads: str, frames: str) -> int:
    """`allaprima cam` as it is, but for the device and the sink; prints the memory as it goes."""
    from allaprima.cli import main

    device = SyntheticDevice(camera_pictures(size, count=4), fps=0)

    class ReadingSink(CopyingSink):
        painted = 0

        def write(self, picture: Frame, time_s: float) -> None:
            super().write(picture, time_s)
            self.times_s.clear()
            device.taken.release()
            self.painted += 1
            self.closed = self.painted == int(frames)
            if self.painted % READ_EVERY == 0:
                print(f"frame {self.painted}: {memory_mb():.1f} MB", flush=True)

    with (
        patch("allaprima.infer.device._open_device", return_value=device),
        patch("allaprima.commands.cam._Session._sinks", return_value=[ReadingSink(device)]),
    ):
        return main(["cam", "0", "--style", style, "--threads", threads, "--provider", "cpu"])


if __name__ == "__main__":
    sys.exit(_run_cam(*sys.argv[1:]))
