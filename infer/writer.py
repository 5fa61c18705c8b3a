"""The one writer of video files: painted frames as H.264, sound copied or as AAC, all through PyAV (FFmpeg)."""

import math
import os
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType
from av.video.stream import VideoStream

from ..errors import InputError
from ..files import require_folder
from ..pictures import Frame
from .clip import reason
from .colour import Colour
from .microphone import RATE

MP4_SUFFIXES = (".mp4", ".m4v", ".mov")
VIDEO_SUFFIXES = (*MP4_SUFFIXES, ".mkv")
_MAX_TIMESCALE = 2**31 - 1
_LIVE_KEY_S = 1  # between two key frames
_LIVE_PIECE_S = 0.5  # written at once: what a kill may cost
_INTERLEAVE_US = 500_000  # for so long do live frames wait for their sound
_SOUND_BITS_PER_S = 128_000


class VideoWriter:
    """An .mp4, .m4v, .mov or .mkv file with H.264 (libx264, 4:2:0) and sound, copied or encoded. A context manager.

    4:2:0 stores colours for squares of 2x2 px: where a side is odd, the last row or column is written twice, so that
    nothing is lost and the video is 1 px larger.

    Times are kept to the tick in the MP4 family; Matroska rounds them to the millisecond.

    Args:
        path: the file; the first frame creates it.
        time_base: seconds per tick of the times given to `write`.
        rate: frames per second, about; the encoder budgets with it.
        colour: matrix and tags to write colours with; None: the usual ones of that size.
        aspect: width over height of a pixel; None: 1.
        sound: streams of an open clip whose packets will come to `copy`.
        microphone: "mono" or "stereo": so many channels will come to `write_sound`; None: none will.
        metadata: title, date and so on.
        crf: x264's quality, 0 (lossless) to 51.
        live: write at once what arrives, so that the file plays even if the process is killed, at some cost in size.
    """

    def __init__(
        self,
        path: Path,
        *,
        time_base: Fraction,
        rate: Fraction,
        colour: Colour | None = None,
        aspect: Fraction | None = None,
        sound: Sequence[Stream] = (),
        microphone: str | None = None,
        metadata: Mapping[str, str] | None = None,
        crf: int = 20,
        live: bool = False,
    ) -> None:
        self.path = path
        self._time_base, self._rate, self._aspect = time_base, rate, aspect
        self._colour = colour
        self._sound, self._microphone, self._metadata = sound, microphone, dict(metadata or {})
        self._crf, self._live = crf, live
        self._container: OutputContainer | None = None
        self._copies: dict[int, Stream] = {}
        self._heard: AudioStream | None = None
        self._next_key_pts = 0

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the file; after an exception close it as it is, which leaves a live recording playable."""
        if self._container is None:
            return
        try:
            try:
                if kind is None:
                    self._container.mux(self._video.encode())
                    self._container.mux(self._heard.encode() if self._heard else ())
            finally:
                self._container.close()
        except (av.FFmpegError, OSError):
            if kind is None:
                raise
        finally:
            if self._live and self.path.suffix.lower() in MP4_SUFFIXES:
                _drop_torn_piece(self.path)

    def write(self, picture: Frame, pts: int, duration: int = 0) -> None:
        """Encode a frame; all have one size.

        Args:
            picture: (H, W, 3) uint8 RGB.
            pts: its time in ticks, later than the one before.
            duration: ticks; 0: not known.

        Raises:
            InputError: such sound or video cannot stand in such a file.
            OSError: the file cannot be written.
        """
        even = _even(picture)
        height, width = even.shape[:2]
        self._colour = self._colour or Colour.usual(width, height)
        container = self._container or self._open(width, height)
        frame = self._colour.to_yuv(even)
        frame.pts, frame.duration, frame.time_base = pts, duration, self._time_base
        if self._live and pts >= self._next_key_pts:
            frame.pict_type = PictureType.I
            self._next_key_pts = pts + round(_LIVE_KEY_S / self._time_base)
        container.mux(self._video.encode(frame))

    def copy(self, packet: "Packet[Stream]") -> None:
        """Write a packet of one of the `sound` streams as it is; after the first frame."""
        assert self._container is not None
        packet.stream = self._copies[packet.stream.index]
        self._container.mux(packet)

    def write_sound(self, samples: AudioFrame) -> None:
        """Encode some of the microphone's sound, which follows what came before; after the first frame.

        Args:
            samples: fltp at `microphone.RATE`, its times counted from the same zero as the frames'.

        Raises:
            OSError: the file cannot be written.
        """
        assert self._container is not None
        assert self._heard is not None
        self._container.mux(self._heard.encode(samples))

    def _open(self, width: int, height: int) -> OutputContainer:
        self._container = container = av.open(str(self.path), "w", container_options=self._container_options())
        container.metadata.update(self._metadata)
        self._video = self._add_video(container, width, height)
        self._copies = {stream.index: self._add_sound(container, stream) for stream in self._sound}
        self._heard = self._add_heard(container, self._microphone) if self._microphone else None
        try:
            container.start_encoding()
        except (av.error.ArgumentError, av.error.InvalidDataError) as error:
            raise InputError(
                f"a {self.path.suffix} file cannot hold such video or sound ({reason(error)}): try a .mkv"
            ) from error
        return container

    def _container_options(self) -> dict[str, str]:
        is_mp4 = self.path.suffix.lower() in MP4_SUFFIXES
        if self._live:
            fragments = {
                "movflags": "frag_keyframe+empty_moov+default_base_moof",
                "frag_duration": f"{_LIVE_PIECE_S * 1e6:.0f}",
            }
            pieces = fragments if is_mp4 else {"cluster_time_limit": f"{_LIVE_PIECE_S * 1e3:.0f}"}
            return {"flush_packets": "1", "max_interleave_delta": f"{_INTERLEAVE_US}", **pieces}
        return {"movflags": "faststart", "movie_timescale": str(self._movie_timescale())} if is_mp4 else {}

    def _movie_timescale(self) -> int:
        """Ticks per second in which MP4 says how late a stream starts; its own default, 1000, would round that."""
        rates = [stream.time_base.denominator for stream in self._sound if stream.time_base]
        common = math.lcm(self._time_base.denominator, *rates)
        return common if common <= _MAX_TIMESCALE else self._time_base.denominator

    def _add_video(self, container: OutputContainer, width: int, height: int) -> VideoStream:
        # Brush strokes are hard to encode: x264's own "medium" would cost as much time as the painting.
        speed = {"preset": "veryfast", "tune": "zerolatency", "forced-idr": "1"} if self._live else {"preset": "faster"}
        stream = container.add_stream("libx264", rate=self._rate, options={"crf": str(self._crf), **speed})
        codec = stream.codec_context
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base = stream.time_base = self._time_base
        codec.flags |= Flags.frame_duration
        if self._aspect:
            codec.sample_aspect_ratio = self._aspect
        assert self._colour is not None
        self._colour.tag(codec)
        return stream

    def _add_heard(self, container: OutputContainer, layout: str) -> AudioStream:
        stream = container.add_stream("aac", rate=RATE, layout=layout)
        stream.bit_rate = _SOUND_BITS_PER_S
        return stream

    def _add_sound(self, container: OutputContainer, source: Stream) -> Stream:
        try:
            stream = container.add_stream_from_template(source)
        except (ValueError, av.FFmpegError) as error:
            codec = source.codec_context.name if source.codec_context else "unknown"
            raise InputError(
                f"a {self.path.suffix} file cannot hold the clip's sound ({codec}): choose a name ending in .mkv"
            ) from error
        stream.metadata.update(source.metadata)
        return stream


def _drop_torn_piece(path: Path) -> None:
    """Cut off what a full disk left of the last piece of a fragmented MP4: decoders take offence at half a frame."""
    with suppress(OSError), path.open("rb+") as file:
        size, position, end = file.seek(0, os.SEEK_END), 0, 0
        while position + 8 <= size:
            file.seek(position)
            length, kind = struct.unpack(">I4s", file.read(8))
            position += max(length, 8)
            if kind in {b"moov", b"mdat", b"mfra"} and position <= size:  # header, frames, index
                end = position
        file.truncate(end)


def check_video_path(path: Path, flag: str) -> None:
    """Check the name of a video file that is to be written.

    Args:
        path: the file.
        flag: the flag it came from, for the message.

    Raises:
        InputError: an unknown suffix, or no such folder.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise InputError(f"{flag}: '{path}' ends in '{path.suffix}', expected {' '.join(VIDEO_SUFFIXES)}")
    require_folder(path)


def _even(picture: Frame) -> Frame:
    """Repeat the last row or column where their number is odd."""
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    grown: Any = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return np.asarray(grown, dtype=np.uint8)
