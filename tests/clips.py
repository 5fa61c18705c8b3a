"""Clips that tests make, and what there is to read in a finished one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
TICK = Fraction(1, 30000)  # seconds
UNEVEN_TICKS = [1001, 2002, 3005, 3999, 6007, 7001, 9009, 9010, 12345, 13000, 15999, 17017]
RATE = 44100


def moving_picture(number: int, width: int, height: int) -> Picture:
    """A different colour in each corner, and a white bar that moves: (H, W, 3) uint8 RGB."""
    picture = np.full((height, width, 3), (200, 40, 40), dtype=np.uint8)
    picture[: height // 2, width // 2 :] = 40, 180, 60
    picture[height // 2 :, : width // 2] = 40, 60, 200
    picture[height // 2 :, width // 2 :] = 220, 200, 60
    start = 2 * number % (width - 4)
    picture[:, start : start + 4] = 255
    return picture


def make_clip(
    path: Path,
    *,
    size: tuple[int, int] = (64, 48),
    ticks: Sequence[int] = UNEVEN_TICKS,
    time_base: Fraction = TICK,
    last_duration: int = 1500,
    sound: Sequence[str] = (),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    tags: dict[str, Any] | None = None,
    rotation: float | None = None,
    aspect: Fraction | None = None,
    picture: Callable[[int, int, int], Picture] = moving_picture,
) -> Path:
    """Write a moving picture with its frames at `ticks`, and a tone for each codec in `sound`."""
    options = {"crf": "4", "preset": "veryfast"} if codec == "libx264" else {}
    movie_timescale = {"movie_timescale": str(time_base.denominator)} if path.suffix in {".mp4", ".mov"} else {}
    with av.open(str(path), "w", container_options=movie_timescale) as container:
        stream: Any = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.time_base = stream.time_base = time_base
        stream.codec_context.flags |= av.codec.context.Flags.frame_duration
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        tones = [container.add_stream(name, rate=RATE, layout="mono") for name in sound]
        for number, pts in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24").reformat(
                format=pix_fmt, dst_colorspace=5, src_color_range=2, dst_color_range=2 if "j" in pix_fmt else 1
            )
            following = ticks[number + 1] if number + 1 < len(ticks) else pts + last_duration
            frame.pts, frame.time_base, frame.duration = pts, time_base, following - pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        seconds = float((ticks[-1] + last_duration) * time_base)
        for pitch, tone in enumerate(tones, start=1):
            _add_tone(container, tone, seconds, 220.0 * pitch)
    return path


def patches(number: int, width: int, height: int) -> Picture:
    """The four colours alone."""
    return np.delete(moving_picture(0, width + 4, height), slice(4), axis=1)


def patch_means(picture: Picture) -> npt.NDArray[np.float64]:
    """The mean colour inside each corner of `patches`: (4, 3)."""
    quarters = [half for rows in np.split(picture, 2, axis=0) for half in np.split(rows, 2, axis=1)]
    return np.array([quarter[6:-6, 6:-6].mean(axis=(0, 1)) for quarter in quarters])


def make_sound(path: Path) -> Path:
    """A file with a tone and no picture."""
    with av.open(str(path), "w") as container:
        _add_tone(container, container.add_stream("aac", rate=RATE, layout="mono"), 0.5, 440)
    return path


def _add_tone(container: Any, stream: Any, seconds: float, hertz: float) -> None:
    samples = np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)
    resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=RATE)
    for start in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        for converted in resampler.resample(frame):
            container.mux(stream.encode(converted))
    container.mux(stream.encode())


@dataclass
class Contents:
    """What a clip holds; times in seconds, exact."""

    codec: str
    size: tuple[int, int]
    times: list[Fraction]
    duration: Fraction | None
    pictures: list[Picture]
    """As decoded, not turned; RGB by the file's own tags."""
    rotation: int
    aspect: Fraction | None
    tags: tuple[int, int, int, int]
    """Matrix, range, primaries, transfer."""
    sound: list[list[tuple[bytes, Fraction, Fraction]]]
    """For each stream its packets: bytes, time, duration."""
    sound_codecs: list[str]


def read_clip(path: Path) -> Contents:
    """Decode the video and read the packets of the sound."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        frames = list(container.decode(stream))
        codec = stream.codec_context
        contents = Contents(
            codec=codec.name,
            size=(frames[0].width, frames[0].height),
            times=[Fraction(f.pts or 0) * (f.time_base or 0) for f in frames],
            duration=stream.duration and stream.duration * stream.time_base,
            pictures=[rgb(f) for f in frames],
            rotation=frames[0].rotation,
            aspect=stream.sample_aspect_ratio,
            tags=(codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc),
            sound=[],
            sound_codecs=[s.codec_context.name for s in container.streams.audio],
        )
        count = len(container.streams.audio)
    for index in range(count):
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(container.streams.audio[index]) if p.dts is not None]
            contents.sound.append(
                [(bytes(p), Fraction(p.pts or 0) * p.time_base, (p.duration or 0) * p.time_base) for p in packets]
            )
    return contents


def rgb(frame: av.VideoFrame) -> Picture:
    """4:2:0 to RGB by the textbook, in floating point: an oracle that shares nothing with swscale."""
    yuv = frame.to_ndarray().astype(np.float64)
    height, width = frame.height, frame.width
    assert height % 2 == width % 2 == 0
    luma = yuv[:height]
    chroma = yuv[height:].reshape(2, height // 2, width // 2).repeat(2, axis=1).repeat(2, axis=2) - 128
    red, blue = (0.2126, 0.0722) if frame.colorspace == 1 else (0.299, 0.114)
    if frame.color_range != 2:
        luma, chroma = (luma - 16) * 255 / 219, chroma * 255 / 224
    r, b = luma + 2 * (1 - red) * chroma[1], luma + 2 * (1 - blue) * chroma[0]
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], axis=2) + 0.5, 0, 255).astype(np.uint8)


def distance(a: Picture, b: Picture) -> float:
    """Mean absolute difference, of 255."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(np.int32) - b).mean())
