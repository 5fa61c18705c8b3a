"""A network camera: HTTP and multipart/x-mixed-replace, as real ones speak, on loopback."""

import http.server
import itertools
import socketserver
import threading
from collections.abc import Iterable
from typing import Any, Self

import cv2
import numpy as np
from clips import Picture

BITS = 12
BLOCK_PX = 16


class Served:
    """What a server in a thread of its own has in common, whatever it serves."""

    _server: socketserver.BaseServer
    _closed: threading.Event

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class MjpegCamera(Served):
    """Serves the JPEGs of `pictures`, (H, W, 3) uint8 RGB, at `fps`.

    Args:
        pictures: what it sees.
        fps: pictures per second.
        end: after the last picture start anew (`repeat`), keep silent (`hold`) or hang up (`die`).
        port: where it listens; 0: anywhere.
    """

    def __init__(self, pictures: Iterable[Picture], *, fps: float = 30, end: str = "repeat", port: int = 0) -> None:
        self._closed = closed = threading.Event()
        jpegs = [to_jpeg(picture) for picture in pictures]

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *words: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
                self.end_headers()
                try:
                    for jpeg in itertools.cycle(jpegs) if end == "repeat" else jpegs:
                        head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                        if closed.wait(1 / fps):
                            return
                    if end == "hold":
                        closed.wait()
                except OSError:  # the other side has gone
                    return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/video"


def to_jpeg(picture: Picture) -> bytes:
    """(H, W, 3) uint8 RGB as JPEG."""
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())


def numbered(number: int, picture: Picture) -> Picture:
    """Write `number` into a copy of the picture, as black and white blocks along its upper edge."""
    marked: Picture = picture.copy()
    for bit in range(BITS):
        marked[:BLOCK_PX, bit * BLOCK_PX : (bit + 1) * BLOCK_PX] = 255 * (number >> bit & 1)
    return marked


def number_of(picture: Picture) -> int:
    """The number that `numbered` wrote."""
    blocks = picture[4 : BLOCK_PX - 4, : BITS * BLOCK_PX].reshape(-1, BITS, BLOCK_PX, 3).mean(axis=(0, 2, 3))
    return int(sum(int(value > 127) << bit for bit, value in enumerate(blocks)))


def numbered_pictures(count: int, width: int = 256, height: int = 192) -> list[Picture]:
    """`count` pictures with their numbers."""
    base = np.full((height, width, 3), (200, 120, 40), dtype=np.uint8)
    return [numbered(number, base) for number in range(count)]
