"""`allaprima cam` as it is, from the camera's colours to its sinks, with a synthetic camera; what passes is noted.

    with cam(style, camera_pictures("640x480"), 30, passed.append, sinks=["record", "serve"]) as session:
        session.run()

The camera stands where OpenCV's driver would, below `DeviceCamera`, and the virtual camera's device where v4l2loopback
would, below pyvirtualcam; all between is real. Nobody's remembered settings are read or changed.
"""

import math
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from bench_devices import LastSink, ReadServer, SyntheticDevice, VirtualDevice
from rich.console import Console

from allaprima.commands.cam import Config, _Session
from allaprima.errors import InputError
from allaprima.infer.camera import Capture, NewestFrame
from allaprima.infer.rack import Rack
from allaprima.infer.video import Paint
from allaprima.infer.window import display_problem
from allaprima.pictures import Frame
from allaprima.terminal import on_interrupt

SINKS = ("record", "virtual-camera", "serve", "window")
"""What a session can be shown in."""


class Passed(NamedTuple):
    """A frame that was painted and taken by all sinks. Times are monotonic seconds."""

    due_s: float
    """When the camera had it."""
    captured_s: float
    """When the pipeline had it as RGB."""
    begun_s: float
    """The painter began."""
    painted_s: float
    """The painter was done."""
    shown_s: float
    """The virtual camera's device had it; not a number without one."""
    sunk_s: float
    """All sinks had it."""
    cpu_s: float
    """Of the whole process, until then."""
    style: str
    """That painted it."""
    scale: float
    """Of the frame's sides, that it was painted at."""
    captured: int
    """Frames that the camera had given by then."""
    dropped: int
    """Frames of those that nobody painted."""


class Figures(NamedTuple):
    """What frames that passed one after another come to."""

    frames: int
    fps: float
    """Painted frames per second."""
    captured: int
    dropped: int
    p50_ms: float
    """Latency: from the moment when a frame was due until all sinks had it."""
    p95_ms: float
    cpu_percent: float
    """CPU of the whole process, in percent of one core."""

    @property
    def cpu_ms(self) -> float:
        """CPU of the whole process for a painted frame."""
        return 10 * self.cpu_percent / self.fps

    @property
    def dropped_percent(self) -> float:
        """Of the frames that the camera gave."""
        return 100 * self.dropped / self.captured


def figures(passed: Sequence[Passed], before: Passed | None = None) -> Figures:
    """The figures of two frames or more; `before` is the one that passed before them, None at a session's start."""
    first, last = before or passed[0], passed[-1]
    captured, dropped = (before.captured, before.dropped) if before else (0, 0)
    seconds, count = last.sunk_s - first.sunk_s, len(passed) - (before is None)
    p50, p95 = np.percentile([1000 * (frame.sunk_s - frame.due_s) for frame in passed], [50, 95])
    return Figures(
        frames=len(passed),
        fps=count / seconds,
        captured=last.captured - captured,
        dropped=last.dropped - dropped,
        p50_ms=float(p50),
        p95_ms=float(p95),
        cpu_percent=100 * (last.cpu_s - first.cpu_s) / seconds,
    )


class Cam:
    """A session that is ready to run; `cam` makes it."""

    session: _Session

    def __init__(self, device: SyntheticDevice, on_passed: Callable[[Passed], None], paint: Paint | None) -> None:
        self._device, self._on_passed, self._paint = device, on_passed, paint
        self._painted: deque[tuple[float, float, str, float]] = deque()  # begun, done, style, scale
        self._last = LastSink(self._note)

    def run(self) -> None:
        """Until its time is up, or somebody called `end`."""
        self._device.start()
        self.session.run()

    def end(self) -> None:
        """After the frame that passes now."""
        self._last.closed = True

    def _note(self, captured_s: float) -> None:
        begun_s, painted_s, style, scale = self._painted.popleft()
        newest, now_s = self.session.newest, time.monotonic()
        times_s = self._device.due_s(captured_s), captured_s, begun_s, painted_s, VirtualDevice.shown_s, now_s
        self._on_passed(Passed(*times_s, time.process_time(), style, scale, newest.captured, newest.dropped))

    def patches(self, sinks: Collection[str]) -> Iterator[AbstractContextManager[object]]:
        """What makes a session of `allaprima cam` ours: the device below it, and ears at its joints."""
        keep, paint, make_sinks = NewestFrame._keep, Rack.paint, _Session._sinks

        def noted_keep(newest: NewestFrame, capture: Capture) -> None:
            self._device.note(capture.time_s)
            keep(newest, capture)

        def noted_paint(rack: Rack, photo: Frame) -> Frame:
            begun_s, scale, style = time.monotonic(), self.session.quality.scale, rack.name
            self._device.taken.release()
            painting = self._paint(photo) if self._paint else paint(rack, photo)
            self._painted.append((begun_s, time.monotonic(), style, scale))
            return painting

        yield patch("allaprima.infer.device._open_device", return_value=self._device)
        yield patch.object(NewestFrame, "_keep", noted_keep)
        yield patch.object(Rack, "paint", noted_paint)
        yield patch.object(_Session, "_sinks", lambda session: [*(make_sinks(session) if sinks else ()), self._last])
        yield patch("allaprima.infer.mjpeg_server.MjpegServer", ReadServer)
        yield patch("allaprima.commands.cam.console", Console(quiet=True))
        if "virtual-camera" in sinks:
            yield from _virtual_device()


@contextmanager
def cam(
    style: str,
    pictures: Sequence[Frame],
    fps: float,
    on_passed: Callable[[Passed], None],
    *,
    sinks: Collection[str] = (),
    seconds: float | None = None,
    threads: int = 2,
    quality: str = "100",
    paint: Paint | None = None,
) -> Iterator[Cam]:
    """Make a session of `allaprima cam`.

    Args:
        style: a style that ships, or a style file.
        pictures: (H, W, 3) uint8 BGR, which the camera gives in turn.
        fps: pictures per second; 0: one is due when the last one was taken.
        on_passed: is told each frame that all sinks have, on the thread of the sinks.
        sinks: of `SINKS`; a recording goes into a temporary folder.
        seconds: ends the session.
        threads: ONNX Runtime's.
        quality: as `--quality`.
        paint: in place of the style.

    Raises:
        InputError: no such style, or a sink that cannot be had here.
    """
    check_sinks(sinks)
    one = Cam(SyntheticDevice(pictures, fps), on_passed, paint)
    VirtualDevice.shown_s = float("nan")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        stack.enter_context(patch("allaprima.remembered.config_folder", return_value=folder))
        for patched in one.patches(sinks):
            stack.enter_context(patched)
        config = Config(
            source="0",
            style=style,
            provider="cpu",
            threads=threads,
            window="window" in sinks or not sinks,
            record=str(folder / "painted.mp4") if "record" in sinks else None,
            virtual_camera="virtual-camera" in sinks,
            serve=0 if "serve" in sinks else None,
            snapshots=str(folder),
            fps=fps or None,
            quality=quality,
            seconds=seconds,
        )
        one.session = _Session(config, stack)
        yield one


def check_sinks(sinks: Collection[str]) -> None:
    """See whether this machine can have them.

    Raises:
        InputError: it cannot.
    """
    if "window" in sinks and (problem := display_problem()):
        raise InputError(f"no window: {problem}; start a virtual display: xvfb-run scripts/bench ...")
    if "virtual-camera" in sinks and find_spec("pyvirtualcam") is None:
        raise InputError("no virtual camera: pip install 'allaprima[vcam]'")


def _virtual_device() -> Iterator[AbstractContextManager[object]]:
    """The only one that pyvirtualcam knows."""
    pyvirtualcam: Any = import_module("pyvirtualcam")
    yield patch.dict(pyvirtualcam.camera.BACKENDS, {"synthetic": VirtualDevice}, clear=True)


def memory_mb(field: str = "VmRSS") -> float:
    """The resident set of this process (its peak: VmHWM) as Linux says it; elsewhere not a number."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), float("nan"))


def need_memory() -> None:
    """See whether the system tells it.

    Raises:
        InputError: it does not.
    """
    if math.isnan(memory_mb()):
        raise InputError("memory: only Linux tells the memory of a process in /proc")


@contextmanager
def process_of(script: str, *words: object) -> Iterator[Iterator[str]]:
    """Run one of these scripts in a process of its own, which ends with the block; gives its lines.

    Ctrl-C ends that process in good order, and its lines.

    Raises:
        InputError: at the end, it failed.
        KeyboardInterrupt: at the end, it was ended so.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, script, *map(str, words)]
    interrupted = Event()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None

        def end() -> None:
            interrupted.set()
            process.terminate()

        try:
            with on_interrupt(end):
                yield iter(process.stdout)
        except BaseException:
            process.terminate()
            raise
    if interrupted.is_set():
        raise KeyboardInterrupt
    if process.returncode:
        raise InputError("the session failed")
