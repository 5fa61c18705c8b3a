"""Network cameras that speak RTSP (RFC 2326) on loopback: H.264 (RFC 6184) over the same connection, or over UDP."""

import base64
import itertools
import re
import socket
import socketserver
import struct
import threading
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import pytest
from av.video.frame import VideoFrame
from clips import Picture
from mjpeg import Served

CLOCK = 90_000  # RTP's ticks per second for video
START_CODE = re.compile(rb"\x00\x00\x00?\x01")


class RtspCamera(Served):
    """Serves `pictures`, (H, W, 3) uint8 RGB, at `fps`.

    Args:
        pictures: what it sees.
        fps: pictures per second.
        end: after the last picture start anew (`repeat`), keep silent (`hold`) or hang up (`die`).
        port: where it listens; 0: anywhere.
    """

    def __init__(self, pictures: Sequence[Picture], *, fps: int = 30, end: str = "repeat", port: int = 0) -> None:
        self._closed = closed = threading.Event()
        coded = encode(pictures, fps)

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    while (request := self.request_words()) and not closed.is_set():
                        self.answer(*request)
                        if request[0] == "PLAY":
                            return self.play()
                except OSError:  # the other side has gone
                    return None
                return None

            def request_words(self) -> tuple[str, str] | None:
                """The method and the sequence number of the next request."""
                lines = []
                while line := self.rfile.readline().decode().strip():
                    lines.append(line)
                numbers = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("cseq")]
                return (lines[0].split()[0], numbers[0]) if lines else None

            def answer(self, method: str, number: str) -> None:
                body = description(coded[0]) if method == "DESCRIBE" else ""
                head = {
                    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n",
                    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
                    "PLAY": "Session: 1\r\n",
                }.get(method, "")
                self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{head}\r\n{body}".encode())

            def play(self) -> None:
                packets = itertools.count()
                for number in itertools.count() if end == "repeat" else range(len(coded)):
                    units = coded[number % len(coded)]
                    for unit in units:
                        marker = 0x80 * (unit is units[-1])
                        time = number * CLOCK // fps % 2**32
                        head = struct.pack(">BBHII", 0x80, marker | 96, next(packets) % 2**16, time, 1)
                        self.wfile.write(struct.pack(">cBH", b"$", 0, len(head + unit)) + head + unit)
                    if closed.wait(1 / fps):
                        return
                if end == "hold":
                    closed.wait()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"rtsp://127.0.0.1:{self.port}/video"


class OthersRtspCamera:
    """The same, again and again, by another project's server (rtsp-rs), which sends over UDP only."""

    def __init__(self, pictures: Sequence[Picture], *, fps: int = 30, port: int = 0) -> None:
        rtsp = pytest.importorskip("rtsp", reason="needs rtsp-rs")
        self._coded, self._fps = encode(pictures, fps), fps
        with socket.create_server(("127.0.0.1", port)) as free:
            self.port = int(free.getsockname()[1])
        self._server = rtsp.Server(f"127.0.0.1:{self.port}")
        self._closed = threading.Event()
        self.url = f"rtsp://127.0.0.1:{self.port}/stream"

    def __enter__(self) -> "OthersRtspCamera":
        self._server.start()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()
        self._server.stop()

    def _play(self) -> None:
        """From the first viewer on."""
        while not self._server.get_viewers():
            if self._closed.wait(0.01):
                return
        for units in itertools.cycle(self._coded):
            self._server.send_frame(b"".join(b"\0\0\0\1" + unit for unit in units), CLOCK // self._fps)
            if self._closed.wait(1 / self._fps):
                return


def encode(pictures: Sequence[Picture], fps: int) -> list[list[bytes]]:
    """Pictures -> the H.264 units of each; the first picture's begin with those that describe the stream."""
    codec: Any = av.CodecContext.create("libx264", "w")
    codec.height, codec.width, _ = pictures[0].shape
    codec.pix_fmt, codec.time_base = "yuv420p", Fraction(1, fps)
    codec.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "crf": "10",
        "x264-params": "keyint=10:annexb=1:repeat-headers=1:slices=1",
    }
    coded = []
    for number, picture in enumerate(pictures):
        frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        [packet] = codec.encode(frame)
        coded.append([unit for unit in START_CODE.split(bytes(packet)) if unit])
    return coded


def description(units: list[bytes]) -> str:
    """What a camera says of its stream (SDP), with the parameter sets (units of type 7 and 8)."""
    sets = ",".join(base64.b64encode(unit).decode() for unit in units if unit[0] & 31 in {7, 8})
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=camera", "c=IN IP4 127.0.0.1", "t=0 0", "m=video 0 RTP/AVP 96"]
    lines += [
        "a=rtpmap:96 H264/90000",
        f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}",
        "a=control:video",
    ]
    return "\r\n".join([*lines, ""])
