"""The MJPEG server, over real sockets: browsers, slow and stubborn clients, and our own camera reading it back."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import islice, pairwise
from time import monotonic, sleep
from urllib.error import HTTPError
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
from clips import Picture, distance
from conftest import wait_for
from mjpeg import number_of, numbered_pictures

from allaprima.errors import InputError
from allaprima.infer import mjpeg_server
from allaprima.infer.camera import open_camera
from allaprima.infer.mjpeg_server import MAX_CLIENTS, MjpegServer

PICTURES = numbered_pictures(200)


def server_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name == "server" or "process_request" in name]


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer(0) as server:
        yield server
    assert not [
        thread for thread in threading.enumerate() if thread.name == "server" or "process_request" in thread.name
    ]


@contextmanager
def playing(server: MjpegServer, fps: float = 100) -> Iterator[None]:
    """Frame after frame, from another thread."""
    stopped = threading.Event()

    def play() -> None:
        for number in range(100_000):
            server.write(PICTURES[number % len(PICTURES)], monotonic())
            if stopped.wait(1 / fps):
                return

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def decode(jpeg: bytes) -> Picture:
    """(H, W, 3) uint8 RGB."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return picture.astype(np.uint8)


def status(server: MjpegServer, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    with closing(connection):
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


def look(server: MjpegServer) -> socket.socket:
    """A client that asks for the stream, and reads nothing by itself."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    client.sendall(b"GET /stream HTTP/1.0\r\nHost: localhost\r\n\r\n")
    return client


# What it serves.


def test_the_page_and_the_newest_frame(server: MjpegServer) -> None:
    assert server.description == f"serving http://127.0.0.1:{server.port}/"
    server.write(PICTURES[3], 1.0)
    server.write(PICTURES[7], 2.0)
    server.idle()
    with urlopen(server.url, timeout=20) as page:
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert 'src="/stream"' in page.read().decode()
    with urlopen(f"{server.url}frame.jpg?{monotonic()}", timeout=20) as answer:
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Cache-Control"] == "no-store"
        picture = decode(answer.read())
    assert number_of(picture) == 7
    assert distance(picture, PICTURES[7]) < 3  # and red is red


def test_our_own_camera_reads_the_stream(server: MjpegServer) -> None:
    with playing(server):
        camera = open_camera(f"{server.url}stream")
        with closing(camera.frames()) as frames:
            pictures = list(islice((frame for frame in frames if frame is not None), 20))
        camera.close()
    assert camera.description == f"camera '{server.url}stream': 256x192"
    assert all(0 < (b - a) % 200 < 100 for a, b in pairwise(map(number_of, pictures)))
    assert distance(pictures[5], PICTURES[number_of(pictures[5])]) < 3


def test_a_frame_is_whole_before_the_next_one_comes(server: MjpegServer) -> None:
    """Browsers show a frame when they see the boundary behind it."""
    with closing(look(server)) as client:
        server.write(PICTURES[5], 1.0)
        got = b""
        while b"\r\n--frame\r\n" not in got.partition(b"\xff\xd9")[2]:
            got += client.recv(1 << 16)
        head, _, body = got.partition(b"\r\n\r\n--frame\r\n")
        assert b"Content-Type: multipart/x-mixed-replace; boundary=frame" in head
        part, _, rest = body.partition(b"\r\n\r\n")
        length = int(part.rpartition(b"Content-Length: ")[2])
        assert number_of(decode(rest[:length])) == 5
        assert rest[length:] == b"\r\n--frame\r\n"


def test_a_frame_is_encoded_once_for_all_and_never_for_nobody(
    server: MjpegServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    to_jpeg = mjpeg_server._to_jpeg

    def counted(picture: Picture) -> bytes:
        encoded.append(number_of(picture))
        return to_jpeg(picture)

    monkeypatch.setattr(mjpeg_server, "_to_jpeg", counted)
    for picture in PICTURES[:10]:
        server.write(picture, 1.0)
    assert encoded == []
    cameras = []
    for _ in range(3):  # each gets the newest frame at once
        cameras.append(look(server))
        cameras[-1].recv(1 << 16)
    wait_for(lambda: encoded == [9])
    seen: list[list[int]] = [[], [], []]

    def watch(client: socket.socket, numbers: list[int]) -> None:
        got = b""
        while len(numbers) < 9:
            got += client.recv(1 << 16)
            while (end := got.find(b"\xff\xd9\r\n--frame")) >= 0:
                numbers.append(number_of(decode(got[got.index(b"\xff\xd8") : end + 2])))
                got = got[end + 2 :]

    threads = [threading.Thread(target=watch, args=pair) for pair in zip(cameras, seen, strict=True)]
    for thread in threads:
        thread.start()
    for number in range(20, 30):
        server.write(PICTURES[number], 1.0)
        wait_for(lambda: encoded[-1] == number)  # noqa: B023, it is called at once
        sleep(0.05)
    for thread in threads:
        thread.join()
    for camera in cameras:
        camera.close()
    assert encoded == [9, *range(20, 30)]


# Clients as they are.


def backlog(client: socket.socket) -> int:
    """How many bytes there are to read, until a second brings no more."""
    client.settimeout(1)
    received = 0
    with suppress(TimeoutError):
        while True:
            received += len(client.recv(1 << 20))
    return received


def test_a_slow_client_skips_frames_and_holds_nobody_up(server: MjpegServer) -> None:
    """One that reads nothing at all, beside one that reads everything."""
    big = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)  # no JPEG is small
    with closing(look(server)) as slow, closing(look(server)) as quick:
        longest_s, received = 0.0, 0
        for _ in range(40):
            start_s = monotonic()
            server.write(big, start_s)
            longest_s = max(longest_s, monotonic() - start_s)
            until = received + 100_000
            while received < until:
                received += len(quick.recv(1 << 20))
        assert longest_s < 1
        assert backlog(slow) < received / 2  # it was left behind: it has what the buffers hold, and no more


def test_no_more_than_eight_streams_and_a_free_place_is_taken(server: MjpegServer) -> None:
    with playing(server), ExitStack() as stack:
        clients = [stack.enter_context(closing(look(server))) for _ in range(MAX_CLIENTS)]
        for client in clients:
            assert client.recv(15) == b"HTTP/1.0 200 OK"
        with pytest.raises(HTTPError, match="8 are looking already"):
            urlopen(f"{server.url}stream", timeout=20)
        assert status(server, "/frame.jpg") == 200
        clients[0].close()
        wait_for(lambda: can_look(server))


def test_clients_that_left_while_no_frame_came_free_their_places(server: MjpegServer) -> None:
    server.write(PICTURES[0], monotonic())
    with ExitStack() as stack:
        for client in [stack.enter_context(closing(look(server))) for _ in range(MAX_CLIENTS)]:
            assert client.recv(15) == b"HTTP/1.0 200 OK"
    wait_for(lambda: can_look(server))


def can_look(server: MjpegServer) -> bool:
    with closing(look(server)) as client:
        return client.recv(15) == b"HTTP/1.0 200 OK"


def test_it_closes_at_once_with_clients_of_every_kind() -> None:
    big = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    with ExitStack() as stack:
        with MjpegServer(0) as server:
            with playing(server):
                stack.enter_context(closing(look(server)))  # stuck: it reads nothing
                stack.enter_context(closing(socket.create_connection(("127.0.0.1", server.port))))  # asks nothing
                sleep(0.3)
                for _ in range(20):
                    server.write(big, 1.0)
                    sleep(0.01)
            stack.enter_context(closing(look(server)))  # waits for the next frame
            sleep(0.1)
            start_s = monotonic()
        assert monotonic() - start_s < 1
    assert server_threads() == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port))
    with MjpegServer(server.port) as again:  # and its port is free at once
        assert again.port == server.port


# Who may not.


@pytest.mark.parametrize(("host", "expected"), [
    ("127.0.0.1", 200), ("localhost:8090", 200), ("[::1]:8090", 200), ("127.0.0.1:1", 200),
    ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("192.168.0.7", 403), ("", 403), ("[", 403),
])  # fmt: skip
def test_on_loopback_it_answers_to_loopbacks_names_only(server: MjpegServer, host: str, expected: int) -> None:
    """A page of evil.example, whose name leads to 127.0.0.1 meanwhile, would be of one origin with the server."""
    server.write(PICTURES[0], 1.0)
    for path in ("/", "/frame.jpg"):
        assert status(server, path, Host=host) == expected


def test_elsewhere_it_answers_to_any_name() -> None:
    with MjpegServer(0, "0.0.0.0") as server:
        assert server.description == f"serving http://0.0.0.0:{server.port}/ to everybody who reaches this machine"
        assert status(server, "/", Host="studio.example") == 200


@pytest.mark.parametrize("path", ["/etc/passwd", "/../setup.cfg", "/stream/", "/frame.jpg/..", "*"])
def test_there_is_nothing_else(server: MjpegServer, path: str) -> None:
    assert status(server, path) == 404


@pytest.mark.parametrize(("request_", "expected"), [
    (b"POST /stream HTTP/1.0\r\nHost: localhost\r\n\r\n", b"501"),
    (b"GET " + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n", b"414"),
    (b"GET http://[ HTTP/1.0\r\nHost: localhost\r\n\r\n", b"404"),
    (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
])  # fmt: skip
def test_requests_that_are_none(server: MjpegServer, request_: bytes, expected: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as client:
        client.sendall(request_)
        assert expected in client.recv(4096)


def test_before_the_first_frame(server: MjpegServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjpeg_server, "_TIMEOUT_S", 0.1)
    assert status(server, "/frame.jpg") == 503


@pytest.mark.parametrize(("port", "host", "reason"), [
    (None, "127.0.0.1", "in use"), (70_000, "127.0.0.1", "0-65535"), (0, "192.0.2.1", "assign"),
])  # fmt: skip
def test_where_it_cannot_listen(server: MjpegServer, port: int | None, host: str, reason: str) -> None:
    port = server.port if port is None else port
    with pytest.raises(InputError, match=rf"cannot serve at {host}:{port} \(.*{reason}.*\): choose another"):
        MjpegServer(port, host).__enter__()
