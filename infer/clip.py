"""Moving pictures in: a clip or a network camera as RGB frames with their exact times. FFmpeg, through PyAV, decodes.

A clip is hostile until read: a file may reach for no other file, no network and no size beyond ``MAX_SIDE_PX``, and
a network camera for nothing but its own protocol.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..contract import MIN_SIZE_PX
from ..errors import InputError
from ..pictures import Frame
from .colour import Colour

MAX_SIDE_PX = 8192
"""Larger frames are refused before they are decoded: a small file can claim any size."""

CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,flv,ogg,asf,gif,mxf,dv,ivf,nut,wtv,rm"
"""FFmpeg's names of the formats that are read. Playlists and scripts, which name other files, are not among them."""
LIVE_CONTAINERS = f"mpjpeg,mjpeg,rtsp,sdp,{CONTAINERS}"

PROTOCOLS = {"http": "http,tcp", "https": "https,tls,tcp", "rtsp": "rtsp,rtp,udp,tcp"}
"""Scheme of a network camera -> the protocols it may use."""
OPEN_TIMEOUT_S = READ_TIMEOUT_S = 10

Matrix = npt.NDArray[np.int32]
_SLACK_S = Fraction(1, 2)


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame and its time."""

    picture: Frame
    """(H, W, 3) uint8 RGB, upright."""
    pts: int
    """When it is shown, in ticks of the clip's `time_base`."""
    duration: int
    """For how long, in the same ticks; 0: not known."""


class Clip:
    """The video of an open file or network camera. A context manager.

    Args:
        container: what PyAV opened.
        name: what the user calls it, with what it is, for messages: "clip 'me.mp4'".
        finite: whether it has an end, which a camera has not.

    Raises:
        InputError: no video in it, none that decodes, or of a size that cannot be painted.
    """

    time_base: Fraction
    """Seconds per tick."""
    rate: Fraction
    """Frames per second, on average or as claimed."""
    frames: int | None
    """How many frames, where that is known; an estimate in some formats."""
    width: int
    height: int
    """Size of the upright picture, px."""
    aspect: Fraction | None
    """Width over height of a pixel of the upright picture; None: not known."""
    colour: Colour
    """What its YUV means."""
    shortfall: str | None = None
    """After the last frame: what a truncated clip lacks, for people."""

    def __init__(self, container: InputContainer, name: str, *, finite: bool) -> None:
        self._container, self.name, self.finite = container, name, finite
        self._stream = stream = _video_stream(container, name)
        assert stream.time_base is not None
        self.time_base = stream.time_base
        self.rate = (stream.average_rate or stream.guessed_rate or Fraction(25)).limit_denominator(1001)
        self._duration_s = _duration_s(container, stream)
        self.frames = stream.frames or (round(self._duration_s * self.rate) if self._duration_s else None)
        # Frame threads decode several frames at a time: quick for a file, late for a camera.
        stream.thread_type = "AUTO" if finite else "SLICE"
        self._frames = self._decode()
        self._first = first = next(self._frames, None)
        if first is None:
            raise InputError(f"{name} holds no picture that can be decoded: it may be damaged, use another copy")
        _check_size(name, first.width, first.height)
        self.colour = Colour.of(stream.codec_context)
        self.width, self.height, self.aspect = first.width, first.height, stream.sample_aspect_ratio or None
        if _is_sideways(_display_matrix(first)):
            self.width, self.height, self.aspect = first.height, first.width, self.aspect and 1 / self.aspect

    @property
    def metadata(self) -> dict[str, str]:
        """Title, date and so on."""
        return dict(self._container.metadata)

    def __enter__(self) -> "Clip":
        return self

    def __exit__(self, *_: object) -> None:
        self._frames.close()
        self._container.close()

    def shots(self) -> Generator[Shot, None, None]:
        """Yield, once, every frame that decodes: upright, all of the first one's size; of a file, with rising times.

        Raises:
            InputError: a network camera fails.
        """
        assert self._first is not None
        size = self._first.width, self._first.height
        last_pts, end = -(2**63), 0
        for frame in chain([self._first], self._frames):
            _check_size(self.name, frame.width, frame.height)
            pts = end if frame.pts is None else frame.pts
            if self.finite and pts <= last_pts:
                continue  # damaged: two frames cannot have one time; but a camera may set its clock back
            last_pts, end = pts, pts + (frame.duration or round(1 / (self.rate * self.time_base)))
            yield Shot(upright(self.colour.to_rgb(frame, *size), _display_matrix(frame)), pts, frame.duration)
        self._note_shortfall(end * self.time_base)

    def _decode(self) -> Generator[VideoFrame, None, None]:
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = self._stream.decode(packet)
                except av.error.InvalidDataError:
                    continue  # one damaged packet; later ones may decode
                yield from frames
        except (av.FFmpegError, OSError) as error:
            if not self.finite:
                raise InputError(f"{self.name} stopped sending pictures ({reason(error)})") from error
            self.shortfall = f"it cannot be read to its end ({reason(error)})"

    def _note_shortfall(self, end_s: Fraction) -> None:
        if self._duration_s is None or self.shortfall:
            return
        start_s = (self._stream.start_time or 0) * self.time_base
        shown_s = max(end_s, end_s - start_s)  # some formats claim the duration, some the end
        if self._duration_s - shown_s > _SLACK_S:
            self.shortfall = f"it ends after {float(shown_s):.1f} s of {float(self._duration_s):.1f} s"


class Sound:
    """The sound of a clip as packets that are copied, never decoded. A context manager.

    It reads the file a second time, so that sound and painted frames meet in order however far apart they lie in it.
    """

    def __init__(self, path: Path) -> None:
        self._container = _open_file(path)
        self.streams: tuple[Stream, ...] = tuple(self._container.streams.audio)
        self._packets = self._read()
        self._next = next(self._packets, None)

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        self._packets.close()
        self._container.close()

    def until(self, time_s: Fraction | None) -> Iterator["Packet[Stream]"]:
        """Yield the packets that follow, up to `time_s` seconds; None: all."""
        while self._next is not None and (time_s is None or _time_s(self._next) <= time_s):
            packet, self._next = self._next, next(self._packets, None)
            yield packet

    def _read(self) -> Generator["Packet[Stream]", None, None]:
        try:
            for packet in self._container.demux(*self.streams) if self.streams else ():
                if packet.dts is not None:  # None: the end of a stream
                    yield packet
        except (av.FFmpegError, OSError):
            return  # truncated: the pictures end here as well, and tell


def open_clip(path: Path) -> Clip:
    """Open a video file.

    Raises:
        InputError: missing, not a video, without pictures, or too small or large to paint.
    """
    return _clip(_open_file(path), f"clip '{path}'", finite=True)


def open_stream(url: str) -> Clip:
    """Open a network camera: http, https (MJPEG or any clip) or rtsp.

    PyAV and not OpenCV, which reads the same streams as quickly (both 2 to 5 ms behind an MJPEG camera that says how
    long each picture is): it can be held to its protocol, gives up in time, and says why it failed.

    Raises:
        InputError: another scheme, or nothing answers there.
    """
    parts = urlsplit(url)
    name = f"camera '{without_password(url)}'"
    if parts.scheme not in PROTOCOLS or not parts.hostname:
        raise InputError(f"{name} is no address of a camera: expected http://, https:// or rtsp://")
    options = {
        "protocol_whitelist": PROTOCOLS[parts.scheme],
        "format_whitelist": LIVE_CONTAINERS,
        # Over UDP lost packets smear the picture; some cameras know nothing else.
        **({"rtsp_flags": "prefer_tcp"} if parts.scheme == "rtsp" else {}),
    }
    try:
        container = av.open(url, options=options, metadata_errors="replace", timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S))
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{name} cannot be opened ({reason(error)}): check the address and that the camera is on"
        ) from error
    return _clip(container, name, finite=container.duration is not None)  # an address can also lead to a clip


def upright(picture: Frame, matrix: Matrix) -> Frame:
    """Turn and mirror a picture as a display matrix says.

    Args:
        picture: (H, W, 3) uint8.
        matrix: (3, 3) int32; the point (x, y, 1) of the picture is shown at (x, y, 1) @ matrix. Only turns by 90
            degrees and mirrors are made; another angle goes to the nearest.
    """
    (a, b), (c, d) = matrix[:2, :2]
    rightwards, downwards = a, d
    if _is_sideways(matrix):
        picture, rightwards, downwards = picture.swapaxes(0, 1), c, b
    turned = picture[:: -1 if downwards < 0 else 1, :: -1 if rightwards < 0 else 1]
    return np.ascontiguousarray(turned)


def reason(error: BaseException) -> str:
    """FFmpeg's reason without the file's name, in a few words."""
    if isinstance(error, av.error.ExitError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__)


def without_password(url: str) -> str:
    """An address that may be shown: user and password hidden."""
    return re.sub(r"//[^/@]*@", "//...@", url)


def _open_file(path: Path) -> InputContainer:
    if not path.exists():
        raise InputError(f"clip '{path}' does not exist: check the path")
    if path.is_dir():
        raise InputError(f"clip '{path}' is a folder: give a video file")
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS, "max_pixels": str(MAX_SIDE_PX**2)}
    try:
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except PermissionError as error:
        raise InputError(f"clip '{path}' may not be read: change its permissions") from error
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"clip '{path}' is not a video that can be read ({reason(error)}): it may be damaged or incomplete, "
            "use another copy or convert it to .mp4"
        ) from error


def _clip(container: InputContainer, name: str, *, finite: bool) -> Clip:
    try:
        return Clip(container, name, finite=finite)
    except BaseException:
        container.close()
        raise


def _check_size(name: str, width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE_PX:
        raise InputError(f"{name} is {width}x{height} px: expected at most {MAX_SIDE_PX} a side, scale it down first")
    if min(width, height) < MIN_SIZE_PX:
        raise InputError(f"{name} is {width}x{height} px: expected at least {MIN_SIZE_PX} a side, choose a larger one")


def _is_sideways(matrix: Matrix) -> bool:
    """Whether width and height change places."""
    return abs(int(matrix[0, 1])) > abs(int(matrix[0, 0]))


def _display_matrix(frame: VideoFrame) -> Matrix:
    data = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    return np.eye(3, dtype=np.int32) if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3)


def _time_s(packet: "Packet[Stream]") -> Fraction:
    assert packet.dts is not None
    assert packet.time_base is not None
    return packet.dts * packet.time_base


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    """The first video stream that is no cover picture.

    Raises:
        InputError: there is none, its codec is unknown, or its claimed size cannot be painted.
    """
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise InputError(f"{name} has no video stream: choose a file with moving pictures")
    codec = streams[0].codec_context
    if codec is None:
        raise InputError(f"{name} has video that cannot be decoded here: convert it to H.264 first")
    if codec.width:  # 0: not known before a frame is there
        _check_size(name, codec.width, codec.height)
    return streams[0]


def _duration_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """How long the video claims to be, its sound aside."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    if (tag := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))) is not None:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])  # Matroska
    if container.duration and len(container.streams) == 1:
        return Fraction(container.duration, av.time_base)
    return None
