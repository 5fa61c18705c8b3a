"""Paint a camera live. q, Esc, closing the window or Ctrl-C ends it.

allaprima cam --style starry_night
allaprima cam 1 --style great_wave --size 1280x720 --mirror
allaprima cam http://192.168.0.20:8080/video --style great_wave --record evening.mp4
allaprima cam clip.mp4 --style starry_night --no-window --record painted.mkv --seconds 10
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ..errors import InputError
from ..style_flags import StyleFlags
from ..terminal import console, on_interrupt

if TYPE_CHECKING:
    from ..infer.live import LiveReport
    from ..infer.sinks import Sink


@dataclass(kw_only=True)
class Config(StyleFlags):
    """Paint a camera live, in a window, into a recording, or both."""

    source: str = field(default="0", metadata={"positional": "?"})
    """Camera: an index (0 is the first), an address (http, https or rtsp), or a video file, played at its own speed."""
    record: str | None = None
    """Record what is painted to this file: .mp4, .m4v, .mov or .mkv. It plays even after a crash."""
    window: bool = True
    """Show what is painted."""
    mirror: bool = False
    """Swap left and right, as in a mirror."""
    size: str | None = None
    """Size to ask the camera for, such as 640x480; what it gives is said at the start."""
    fps: float | None = None
    """Frames per second to ask the camera for."""
    seconds: float | None = None
    """Stop after so many seconds."""

    def __post_init__(self) -> None:
        for name in ("fps", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"--{name}: got {value}, expected more than 0")
        if not (self.window or self.record):
            raise InputError("--no-window without --record leaves nothing to do: add --record FILE")


def run(config: Config) -> None:
    """Paint until the user has seen enough, and print the figures.

    Raises:
        InputError: camera, style, window or recording cannot be used, or the camera failed on the way.
    """
    from ..infer.camera import NewestFrame, open_camera, parse_size
    from ..infer.live import Tally, run_live

    size = parse_size(config.size) if config.size else None
    sinks = _sinks(config)
    stylizer = config.open_style()
    camera = open_camera(config.source, size=size, fps=config.fps)
    for line in (f"{camera.description}, {stylizer.name} on {stylizer.provider}", *camera.notes):
        console.print(line)
    tally, newest, stop = Tally(), NewestFrame(camera, mirror=config.mirror), Event()
    try:
        with ExitStack() as stack:
            stack.enter_context(on_interrupt(stop.set))
            stack.enter_context(newest)  # first: whatever fails from here on, the camera is given back
            for sink in sinks:
                stack.enter_context(sink)
            run_live(newest, stylizer, sinks, tally, seconds=config.seconds, stopped=stop.is_set)
    finally:
        if tally.frames:
            console.print(_summary(tally.report(dropped=newest.dropped), config.record))


def _sinks(config: Config) -> "list[Sink]":
    """Window and recording, as asked for; nothing is opened before the first frame."""
    from ..infer.sinks import Recording
    from ..infer.window import Window, display_problem
    from ..infer.writer import check_video_path

    sinks: list[Sink] = []
    if config.record:
        path = Path(config.record)
        check_video_path(path, "--record")
        if path.exists() and Path(config.source).exists() and path.samefile(config.source):
            raise InputError(f"--record: '{path}' is the camera's own file, choose another name")
        sinks.append(Recording(path))
    problem = display_problem() if config.window else None
    if problem and not sinks:
        raise InputError(f"no display: {problem}; paint into a file instead: --record FILE --no-window")
    if problem:
        print(f"allaprima: no display: {problem}; recording without a window", file=sys.stderr)
    elif config.window:
        sinks.append(Window("Allaprima"))
    return sinks


def _summary(report: "LiveReport", record: str | None) -> str:
    return (
        f"{report.frames} frames painted in {report.seconds:.1f} s, {report.fps:.1f} fps, {report.dropped} dropped, "
        f"latency p50 {report.latency_p50_ms:.0f} ms, p95 {report.latency_p95_ms:.0f} ms"
        + (f": {record}" if record else "")
    )
