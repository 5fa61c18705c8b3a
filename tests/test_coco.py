"""`allaprima photos --coco`: real downloads from servers on loopback, well-behaved and otherwise."""

import hashlib
import http.server
import io
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from test_photos_command import scene

from allaprima.cli import main
from allaprima.errors import InputError
from allaprima.pictures import read_picture, write_picture
from allaprima.train.coco import SHA256, SIZE, fetch_photos, unpack
from allaprima.train.download import download

Answer = Callable[[Any, bytes], None]
"""What a server does with one request: (handler, the file's content)."""


def answer(handler: Any, status: int, body: bytes = b"", **headers: object) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def honest(handler: Any, content: bytes, *, breaks_after: int | None = None) -> None:
    """A server as it should be: ranges, unless the file is another one by now. It may break off all the same."""
    start = int((handler.headers["Range"] or "bytes=0-")[6:-1])
    if handler.headers["If-Range"] not in {None, etag(content)}:
        start = 0
    last = len(content) - 1
    extent = {"Content_Range": f"bytes {start}-{last}/{len(content)}"} if start else {}
    if start > last:
        answer(handler, 416)
    else:
        body = content[start:][:breaks_after]
        length = len(content) - start
        answer(handler, 206 if start else 200, body, Content_Length=length, ETag=etag(content), **extent)


def breaks_off(after: int) -> Answer:
    return lambda handler, content: honest(handler, content, breaks_after=after)


def knows_no_ranges(handler: Any, content: bytes) -> None:
    answer(handler, 200, content, Content_Length=len(content))


def knows_no_ranges_and_breaks_off(handler: Any, content: bytes) -> None:
    answer(handler, 200, content[:1000], Content_Length=len(content))


def announces(length: int) -> Answer:
    """Whatever it sends."""
    return lambda handler, content: answer(handler, 200, content, Content_Length=length)


def says_no_length(handler: Any, content: bytes) -> None:
    answer(handler, 200, content)


def status(code: int) -> Answer:
    return lambda handler, content: answer(handler, code)


def sends(other: bytes) -> Answer:
    return lambda handler, content: knows_no_ranges(handler, other)


def another_range(handler: Any, content: bytes) -> None:
    extent = f"bytes {len(content) - 5}-{len(content) - 1}/{len(content)}"
    answer(handler, 206, content[-5:], Content_Range=extent, Content_Length=5)


class Server:
    """Gives `answers` in turn, the last one for ever; `requests` holds the headers of what it was asked."""

    def __init__(self, content: bytes, answers: Sequence[Answer] = (honest,)) -> None:
        self.content, self.requests = content, list[dict[str, str]]()
        server, left = self, list(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *words: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.requests.append(dict(self.headers))
                with suppress(OSError):  # the other side has gone
                    (left.pop(0) if len(left) > 1 else left[0])(self, server.content)

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_port}/val2017.zip"

    def __enter__(self) -> "Server":
        self._thread = threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()
        self._thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as bundle:
        for name, content in files.items():
            bundle.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("jpeg") / "a.jpg"
    write_picture(path, scene(0))
    return path.read_bytes()


@pytest.fixture(scope="module")
def photos(jpeg: bytes) -> bytes:
    """An archive like COCO's: one folder with photos in it."""
    return archive({"val2017/": b"", "val2017/1.jpg": jpeg, "val2017/2.JPG": jpeg, "val2017/notes.txt": b"x"})


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def fetch(server: Server, folder: Path, *, attempts: int = 5, **others: Any) -> Path:
    digest = others.pop("sha256", sha256(server.content))
    return fetch_photos(folder, url=server.url, sha256=digest, pauses_s=[0] * (attempts - 1), **others)


UNPACKED = {"val2017", "val2017/1.jpg", "val2017/2.JPG"}
PART = "val2017.zip.part"


# What goes well.


def test_command(photos: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(photos) as server:
        words = ["photos", "--coco", str(tmp_path / "coco"), "--url", server.url, "--sha256", sha256(photos)]
        assert main(words) == 0
        assert main(words) == 0  # there already: no second request
        assert len(server.requests) == 1
    output, errors = capsys.readouterr()
    assert errors == ""
    assert f"2 photos in {tmp_path / 'coco' / 'val2017'}" in output
    assert "allaprima train PAINTING --photos" in output
    assert files(tmp_path / "coco") == UNPACKED
    assert read_picture(tmp_path / "coco" / "val2017" / "2.JPG").shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("answers", "ranges"),
    [
        ([honest], [None]),
        ([breaks_off(1000), honest], [None, "bytes=1000-"]),
        ([breaks_off(700)] * 9 + [honest], [None, *(f"bytes={700 * n}-" for n in range(1, 10))]),
        ([breaks_off(0), status(503), status(429), honest], [None] * 4),
        ([breaks_off(1000), knows_no_ranges], [None, "bytes=1000-"]),
        ([knows_no_ranges_and_breaks_off, knows_no_ranges], [None, "bytes=1000-"]),
        ([says_no_length], [None]),
    ],
    ids=["honest", "breaks off", "breaks off often", "is busy", "forgets ranges", "knows no ranges", "no length"],
)
def test_servers_that_come_round(
    answers: list[Answer], ranges: list[str | None], photos: bytes, tmp_path: Path
) -> None:
    with Server(photos, answers) as server:
        assert fetch(server, tmp_path) == tmp_path / "val2017"
        assert [request.get("Range") for request in server.requests] == ranges
    assert files(tmp_path) == UNPACKED


def test_one_that_announces_too_much(photos: bytes, tmp_path: Path) -> None:
    with Server(photos, [announces(len(photos) + 500), honest]) as server:  # 416: there is no more
        fetch(server, tmp_path)
    assert files(tmp_path) == UNPACKED


def test_a_file_that_changes_on_the_way_starts_anew(photos: bytes, tmp_path: Path) -> None:
    def changes(handler: Any, content: bytes) -> None:
        honest(handler, bytes(len(photos)), breaks_after=1000)

    with Server(photos, [changes, honest]) as server:
        fetch(server, tmp_path)
        assert server.requests[1]["If-Range"] == etag(bytes(len(photos)))
    assert files(tmp_path) == UNPACKED


def test_progress(photos: bytes, tmp_path: Path) -> None:
    loaded: list[tuple[int, int | None]] = []
    unpacked: list[tuple[int, int]] = []
    with Server(photos, [breaks_off(1000), honest]) as server:
        fetch(
            server,
            tmp_path,
            on_bytes=lambda done, total: loaded.append((done, total)),
            on_photo=lambda done, total: unpacked.append((done, total)),
        )
    assert loaded[0] == (1000, len(photos))
    assert loaded[-1] == (len(photos), len(photos))
    assert unpacked == [(1, 2), (2, 2)]


# What breaks off is gone on with by the next call.


def test_the_next_call_goes_on(photos: bytes, tmp_path: Path) -> None:
    with Server(photos, [breaks_off(1000), breaks_off(0), breaks_off(0), honest]) as server:
        with pytest.raises(InputError, match=r"it broke off after 1,000 of .*val2017.zip.part' is kept, the same"):
            fetch(server, tmp_path, attempts=2)
        assert files(tmp_path) == {PART}
        assert (tmp_path / PART).read_bytes() == photos[:1000]
        fetch(server, tmp_path)
        assert server.requests[-1]["Range"] == "bytes=1000-"
    assert files(tmp_path) == UNPACKED


def test_a_complete_part_needs_no_server(photos: bytes, tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(photos)
    fetch_photos(tmp_path, url="http://127.0.0.1:1/", sha256=sha256(photos), pauses_s=[])
    assert files(tmp_path) == UNPACKED


def test_ctrl_c_keeps_the_part(photos: bytes, tmp_path: Path) -> None:
    waiting = threading.Event()

    def stalls(handler: Any, content: bytes) -> None:
        answer(handler, 200, bytes(1 << 20), Content_Length=1 << 24)
        waiting.wait()

    with Server(photos, [stalls]) as server:
        words = ["photos", "--coco", "coco", "--url", server.url, "--sha256", sha256(photos)]
        with subprocess.Popen(
            [sys.executable, "-m", "allaprima", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            part = tmp_path / "coco" / PART
            while not (part.exists() and part.stat().st_size):
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        waiting.set()
    assert (process.returncode, errors) == (130, "allaprima: stopped\n")
    assert output == f"'{Path('coco') / PART}' is kept: the same command goes on with it\n"
    assert files(tmp_path / "coco") == {PART}


# What does not go well: one line, and nothing wrong is left.


@pytest.mark.parametrize(
    ("answers", "message", "left"),
    [
        ([sends(b"<html>please log in</html>")], "sent another file than expected", set()),
        ([announces(1000)], "sent another file than expected", set()),
        ([sends(b"")], "sent another file than expected", set()),
        ([status(404)], "answers 404 Not Found: give another address", set()),
        ([status(500)], "cannot be read to the end .Internal Server Error.: try again later", set()),
        ([breaks_off(0)], "it broke off after 0 of", {PART}),
        ([announces(10**18)], "not enough space in .*: 2,000,000,000,000 MB needed", set()),
        ([breaks_off(1000), another_range], "sends another part than asked for", {PART}),
        ([lambda handler, content: handler.wfile.write(b"\x00nonsense\r\n\r\n")], "cannot be read to the end", set()),
    ],
    ids=["other", "too short", "empty", "404", "500", "nothing", "disk", "range", "no HTTP"],
)
def test_servers_that_do_not(
    answers: list[Answer], message: str, left: set[str], photos: bytes, tmp_path: Path
) -> None:
    with Server(photos, answers) as server, pytest.raises(InputError, match=message) as caught:
        fetch(server, tmp_path, attempts=2)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == left


def test_a_login_page_does_not_replace_what_is_there(tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(bytes(5000))
    with (
        Server(b"", [sends(b"<html>please log in</html>")]) as server,
        pytest.raises(InputError, match=f"has a file of 26 bytes, expected {SIZE:,}: try again from another network"),
    ):
        fetch(server, tmp_path, sha256=SHA256)
    assert (tmp_path / PART).read_bytes() == bytes(5000)


def test_nobody_there(tmp_path: Path) -> None:
    with Server(b"") as server:
        pass
    with pytest.raises(InputError, match=r"cannot be read to the end .*refused.*: try again later"):
        fetch(server, tmp_path, attempts=2)


def test_one_line_and_code_2(photos: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(photos, [sends(b"something else")]) as server:
        assert main(["photos", "--coco", str(tmp_path), "--url", server.url, "--sha256", sha256(photos)]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"allaprima: '{server.url}' sent another file than expected (SHA-256 ")
    assert errors.count("\n") == 1


@contextmanager
def certified(folder: Path, server: Server) -> Iterator[str]:
    """The server with a certificate that nobody vouches for; yields its address."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    words = ["openssl", "req", *options, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.httpd.socket = context.wrap_socket(server.httpd.socket, server_side=True)
    with server:
        yield server.url.replace("http:", "https:")


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_a_certificate_that_nobody_vouches_for(photos: bytes, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    server = Server(photos)
    with certified(tmp_path, server) as url, pytest.raises(InputError, match=r"cannot be trusted .*certificate"):
        download(url, tmp_path / "in" / "a.part", sha256=sha256(photos))
    assert server.requests == []
    assert files(tmp_path / "in") == set()


# Archives.

BAD_ARCHIVES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "up": (lambda jpeg: archive({"a.jpg": jpeg, "val2017/../../b.jpg": jpeg}), "outside of its own folder"),
    "root": (lambda jpeg: archive({"/tmp/b.jpg": jpeg}), "outside of its own folder"),
    "backslash": (lambda jpeg: archive({"..\\b.jpg": jpeg}), "outside of its own folder"),
    "drive": (lambda jpeg: archive({"C:b.jpg": jpeg}), "outside of its own folder"),
    "bomb": (lambda jpeg: archive({"b.jpg": bytes(10**7)}, zipfile.ZIP_DEFLATED), "would unpack to 10,000,000 bytes"),
    "twice": (lambda jpeg: archive({"a/b.jpg": jpeg, "c/b.jpg": jpeg}), "file name that cannot be used"),
    "long": (lambda jpeg: archive({"b" * 300 + ".jpg": jpeg}), "file name that cannot be used"),
    "control": (lambda jpeg: archive({"b\x1b.jpg": jpeg}), "file name that cannot be used"),
    "lzma": (lambda jpeg: archive({"b.jpg": jpeg}, zipfile.ZIP_LZMA), "packed in an unusual way .method 14."),
    "no photos": (lambda jpeg: archive({"b.exe": jpeg, ".c.jpg": jpeg}), "holds no JPEG, PNG or WebP"),
    "nothing": (lambda jpeg: archive({}), "holds no JPEG, PNG or WebP"),
    "no zip": (lambda jpeg: jpeg, "is damaged"),
    "truncated": (lambda jpeg: archive({"b.jpg": jpeg})[:-100], "is damaged"),
    "bits": (lambda jpeg: archive({"a.jpg": jpeg, "b.jpg": jpeg}).replace(jpeg[-99:], bytes(99)), "is damaged"),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_bad_archives(name: str, jpeg: bytes, tmp_path: Path) -> None:
    make, message = BAD_ARCHIVES[name]
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with Server(make(jpeg)) as server, pytest.raises(InputError, match=message) as caught:
        fetch(server, folder)
    assert str(caught.value).isprintable()
    assert files(tmp_path) == {"a", "a/b"}


def test_a_size_that_lies_is_not_exceeded(tmp_path: Path) -> None:
    content = bytearray(archive({"b.jpg": bytes(10**7)}, zipfile.ZIP_DEFLATED))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (1000).to_bytes(4, "little")  # it would unpack to ten million
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert files(tmp_path) == {"a.zip"}


def test_damage_anywhere_is_one_line(jpeg: bytes, tmp_path: Path) -> None:
    whole = archive({"a.jpg": jpeg[:300], "b.jpg": jpeg[:200]})
    path, problems = tmp_path / "a.zip", list[str]()
    places = [*range(0, whole.index(b"PK\x01\x02"), 10), *range(whole.index(b"PK\x01\x02"), len(whole))]
    for place in places:  # all of the directory, some of the photos
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        try:
            unpack(path, tmp_path / "out")
        except InputError as error:
            problems.append(str(error))
        else:
            shutil.rmtree(tmp_path / "out")
        assert files(tmp_path) == {"a.zip"}
    assert len(problems) > len(places) / 2
    assert all(problem.isprintable() for problem in problems)
