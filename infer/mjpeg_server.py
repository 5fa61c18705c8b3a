"""Shows what is painted to browsers and other programs: MJPEG over HTTP, as network cameras speak it.

    /              a page with the live picture
    /stream        multipart/x-mixed-replace, a JPEG per frame; also for VLC, OBS, OpenCV and `allaprima cam`
    /frame.jpg     the newest frame

A frame is encoded once for all who look, on the thread of the first who wants it, and not at all while nobody looks.
"""

import ipaddress
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import BoundedSemaphore, Condition, Lock, Thread
from typing import Any
from urllib.parse import urlsplit

import cv2

from ..errors import InputError
from ..pictures import Frame

MAX_CLIENTS = 8
_MAX_CONNECTIONS = 4 * MAX_CLIENTS  # pages, single frames and those that have asked for nothing yet
QUALITY = 85
_TIMEOUT_S = 10  # a client that takes or says nothing for so long is let go
_AGAIN_S = 1.0  # after so long without a new frame, clients get the last one again: so one that left is noticed
_SEND_BUFFER_BYTES = 1 << 17  # a few frames: what waits there is old when a slow client sees it
_BOUNDARY = "frame"
_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Allaprima</title>
<style>
html, body { margin: 0; height: 100%; background: #000 }
img { width: 100%; height: 100%; object-fit: contain }
</style>
</head>
<body><img src="/stream" alt="The painted camera"></body>
</html>
"""


class MjpegServer:
    """A sink that streams frames to at most `MAX_CLIENTS` at a time. Who is slow skips frames and holds nobody up.

    Where it listens to this machine alone, it answers only to this machine's own names: a web page elsewhere, whose
    name was made to lead here, cannot fetch the pictures.

    Args:
        port: where to listen; 0: any free one, which `port` then tells.
        host: an address of this machine. "127.0.0.1": only its own programs reach it; "0.0.0.0": everybody does.

    Raises:
        InputError: when entered, it cannot listen there.
    """

    closed = False
    problem: str | None = None
    """Clients come and go; the server stays."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port, self.host = port, host
        self._newest = _Newest()

    @property
    def url(self) -> str:
        """The page's address, once it is entered."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"

    @property
    def description(self) -> str:
        """What it does, for people, once it is entered."""
        return f"serving {self.url}" + ("" if _is_loopback(self.host) else " to everybody who reaches this machine")

    def __enter__(self) -> "MjpegServer":
        try:
            self._server = _Server(self.host, self.port, self._newest)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"cannot serve at {self.host}:{self.port} ({getattr(error, 'strerror', None) or error}): "
                "choose another port, or 0 for any free one"
            ) from error
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._newest.close()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def write(self, picture: Frame, time_s: float) -> None:
        """Show an (H, W, 3) uint8 RGB frame."""
        self._newest.put(picture)

    def idle(self) -> None:
        """The last frame stays."""


class _Newest:
    """The newest frame and, once somebody wanted it, its JPEG. Its users are on threads of their own."""

    def __init__(self) -> None:
        self.closed = False
        self._changed, self._encoding = Condition(), Lock()
        self._number = 0  # of the newest; the first frame is number 1
        self._picture: Frame | None = None
        self._encoded = 0, b""

    def put(self, picture: Frame) -> None:
        kept = picture.copy()
        with self._changed:
            self._number, self._picture = self._number + 1, kept
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def jpeg_after(self, number: int, timeout_s: float | None = None) -> tuple[int, bytes]:
        """Wait for a frame with a higher number; the newest one's number and JPEG. (0, b""): closed, or none yet."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > number or self.closed, timeout_s)
            newest, picture = self._number, self._picture
            if self.closed or picture is None:
                return 0, b""
        with self._encoding:
            if self._encoded[0] < newest:
                self._encoded = newest, _to_jpeg(picture)
            return self._encoded


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # they are waited for
    allow_reuse_address = sys.platform != "win32"  # there it would let two programs listen at one port

    def __init__(self, host: str, port: int, newest: _Newest) -> None:
        self.newest = newest
        self.only_loopback = _is_loopback(host)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.streams = BoundedSemaphore(MAX_CLIENTS)
        self._connections: set[socket.socket] = set()
        self._lock = Lock()
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Without the parent's question to a name server."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
            too_many = len(self._connections) > _MAX_CONNECTIONS
        if too_many:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Wake every thread that waits for its client."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):  # the client was quicker
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_S
    disable_nagle_algorithm = True
    server_version, sys_version = "Allaprima", ""

    def setup(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        super().setup()

    def do_GET(self) -> None:
        answers: dict[str, Callable[[], None]] = {"/": self._page, "/stream": self._stream, "/frame.jpg": self._frame}
        answer = answers.get(self.path.partition("?")[0])
        if self.server.only_loopback and not _is_loopback(_host_of(self.headers.get("Host", ""))):
            self.send_error(403, "Not under this name")
        elif answer is None:
            self.send_error(404)
        else:
            answer()

    def log_message(self, *_: Any) -> None:
        """Libraries do not print."""

    def _page(self) -> None:
        self._head("text/html; charset=utf-8", len(_PAGE))
        self.wfile.write(_PAGE)

    def _frame(self) -> None:
        _, jpeg = self.server.newest.jpeg_after(0, _TIMEOUT_S)
        if not jpeg:
            self.send_error(503, "No frame yet")
            return
        self._head("image/jpeg", len(jpeg))
        self.wfile.write(jpeg)

    def _stream(self) -> None:
        if not self.server.streams.acquire(blocking=False):
            self.send_error(503, f"{MAX_CLIENTS} are looking already")
            return
        try:
            self._send_frames()
        finally:
            self.server.streams.release()

    def _send_frames(self) -> None:
        self._head(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.wfile.write(f"--{_BOUNDARY}\r\n".encode())
        number, newest = 0, self.server.newest
        while not newest.closed:
            number, jpeg = newest.jpeg_after(number, _AGAIN_S)
            if not jpeg:
                continue
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            # The boundary goes with the frame that it ends: browsers show a frame when they see it.
            self.wfile.write(head.encode() + jpeg + f"\r\n--{_BOUNDARY}\r\n".encode())

    def _head(self, type_: str, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", type_)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'")
        self.end_headers()


def _to_jpeg(picture: Frame) -> bytes:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())


def _host_of(header: str) -> str:
    """ "127.0.0.1:8090" -> "127.0.0.1"; "" where it is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    """Whether it names this machine to itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
