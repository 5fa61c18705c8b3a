"""Paint a video: every frame, at its own time, with the sound it came with.

allaprima video holiday.mp4 --style starry_night -o painted.mp4
allaprima video talk.mkv --style great_wave -o painted.mkv --crf 16
allaprima video dance.mp4 --style great_wave -o painted.mp4 --smooth 0.9   # where strokes still boil

Ctrl-C ends the painting, and the file plays up to there; a second Ctrl-C leaves nothing.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ..errors import InputError
from ..style_flags import StyleFlags
from ..terminal import console, on_interrupt, progress_bar

if TYPE_CHECKING:
    from ..infer.video import Paint, PaintedVideo

MAX_CRF = 51


@dataclass(kw_only=True)
class Config(StyleFlags):
    """Paint a video: H.264, sound copied untouched, every time kept exactly."""

    clip: str = field(metadata={"positional": ""})
    """The video to paint."""
    output: str
    """The file to write: .mp4, .m4v, .mov or .mkv. Matroska keeps times to the millisecond only."""
    crf: int = 20
    """Quality of H.264: 0 is lossless and huge, 20 is good, 51 is the worst and smallest."""
    smooth: float = 0.7
    """How much of the painting before stays, moved along with the clip, 0 (nothing) to 1; never over a scene cut."""

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= MAX_CRF:
            raise InputError(f"--crf: got {self.crf}, expected 0 (lossless) to {MAX_CRF}")
        if not 0 <= self.smooth <= 1:
            raise InputError(f"--smooth: got {self.smooth}, expected 0 to 1")


def run(config: Config) -> None:
    """Paint the clip, show how far it is, and say what came of it.

    Raises:
        InputError: the clip, the style or the output cannot be used.
        KeyboardInterrupt: stopped with Ctrl-C; the file is finished.
    """
    from ..infer.smoothing import Smoothed
    from ..infer.video import check_paths

    clip, output = Path(config.clip), Path(config.output)
    check_paths(clip, output)
    stylizer = config.open_style(film=True)
    started = time.perf_counter()
    result = _paint(clip, Smoothed(stylizer, config.smooth), output, config.crf)
    for line in _summary(result, clip, output, time.perf_counter() - started):
        console.print(line)
    if result.stopped:
        raise KeyboardInterrupt


def _paint(clip: Path, paint: "Paint", output: Path, crf: int) -> "PaintedVideo":
    from ..infer.video import paint_video

    stop, started = Event(), time.perf_counter()
    with on_interrupt(stop.set), progress_bar() as bar:
        task = bar.add_task(clip.name, total=None, text="")

        def show(done: int, total: int | None) -> None:
            fps = done / (time.perf_counter() - started)
            bar.update(task, completed=done, total=total and max(done, total), text=f"{fps:.1f} fps")

        return paint_video(clip, paint, output, crf=crf, on_frame=show, stopped=stop.is_set)


def _summary(result: "PaintedVideo", clip: Path, output: Path, seconds: float) -> Iterator[str]:
    of = f" of {result.of_frames}" if result.stopped and result.of_frames else ""
    yield f"{result.frames}{of} frames painted in {seconds:.1f} s, {result.frames / seconds:.1f} fps: {output}"
    if result.shortfall:
        yield f"warning: clip '{clip}' is not whole: {result.shortfall}"
    if not result.exact:
        yield f"warning: {output.suffix} rounds times to the millisecond: choose .mp4 to keep them exactly"
