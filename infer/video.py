"""Paint a clip, frame by frame: picture after picture, every time kept exactly, the sound copied untouched."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from ..errors import InputError
from ..files import replacing
from ..pictures import Frame
from .ahead import ahead
from .clip import Clip, Shot, Sound, open_clip
from .writer import MP4_SUFFIXES, VideoWriter, check_video_path

Paint = Callable[[Frame], Frame]
"""(H, W, 3) uint8 RGB in, the same out; a `Stylizer`, or any function."""


@dataclass(frozen=True)
class PaintedVideo:
    """What became of a clip."""

    frames: int
    """How many were painted."""
    of_frames: int | None
    """How many the clip has, where that is known."""
    stopped: bool
    """Whether it was stopped before its end."""
    shortfall: str | None
    """What a truncated clip lacks, for people; None: it was whole."""
    exact: bool
    """Whether the file could hold every time exactly. MP4 can; Matroska rounds to the millisecond."""


def paint_video(
    clip: Path,
    paint: Paint,
    output: Path,
    *,
    crf: int = 20,
    on_frame: Callable[[int, int | None], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> PaintedVideo:
    """Paint `clip` into `output` (.mp4, .m4v, .mov or .mkv), which appears once it is finished, or not at all.

    Decoding, painting and encoding overlap, on three threads. Rotated clips are written upright. Sound tracks are
    copied; subtitles and chapters are not.

    Args:
        clip: a video file.
        paint: the style.
        output: the file to write; an older one is replaced.
        crf: x264's quality, 0 (lossless) to 51.
        on_frame: called after each frame with how many are done, and how many there are (None: not known).
        stopped: asked after each frame; once true, the file is finished with the frames there are.

    Raises:
        InputError: the clip cannot be read, the output cannot be written or is the clip, or the style fails.
    """
    check_paths(clip, output)
    done, halted = 0, False
    with (
        open_clip(clip) as source,
        Sound(clip) as sound,
        replacing(output) as temporary,
        _writer(temporary, source, sound, crf) as writer,
        closing(ahead(_painted(source, paint))) as shots,
    ):
        for shot in shots:
            writer.write(shot.picture, shot.pts, shot.duration)
            _copy(sound, writer, (shot.pts + shot.duration) * source.time_base)
            done += 1
            on_frame(done, source.frames)
            if halted := stopped():
                break
        else:
            _copy(sound, writer, None)
    exact = output.suffix.lower() in MP4_SUFFIXES or 1000 % source.time_base.denominator == 0
    return PaintedVideo(done, source.frames, halted, source.shortfall, exact)


def check_paths(clip: Path, output: Path) -> None:
    """Check what can be checked before any work.

    Raises:
        InputError: the output has an unknown suffix, no folder to stand in, or is the clip.
    """
    check_video_path(output, "--output")
    if output.exists() and clip.exists() and output.samefile(clip):
        raise InputError(f"output '{output}' is the clip itself: choose another name")


def _painted(clip: Clip, paint: Paint) -> Generator[Shot, None, None]:
    with closing(ahead(clip.shots())) as shots:
        for shot in shots:
            yield replace(shot, picture=paint(shot.picture))


def _copy(sound: Sound, writer: VideoWriter, until_s: Fraction | None) -> None:
    for packet in sound.until(until_s):
        writer.copy(packet)


def _writer(path: Path, clip: Clip, sound: Sound, crf: int) -> VideoWriter:
    return VideoWriter(
        path,
        time_base=clip.time_base,
        rate=clip.rate,
        colour=clip.colour,
        aspect=clip.aspect,
        sound=sound.streams,
        metadata=clip.metadata,
        crf=crf,
    )
