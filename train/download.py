"""One large file from a server: gone on with where it broke off, and accepted only by its checksum.

Nothing here is called unless the user asks for a download.
"""

import hashlib
import re
import shutil
import ssl
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from time import sleep
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from ..errors import InputError
from ..files import writing

PAUSES_S = (1.0, 3.0, 10.0, 30.0)
"""Before the connection is opened again; from the first anew whenever some bytes came."""
_TIMEOUT_S = 30.0
_CHUNK = 1 << 18
_MOST_BYTES = 4_000_000_000  # from a server that does not say how many there are
_BUSY = (408, 429)  # answers that, like those from 500 on, may be others in a while

OnBytes = Callable[[int, int | None], None]
"""Called with how many bytes are there, and how many there will be (None: not known)."""


def download(
    url: str,
    part: Path,
    *,
    sha256: str,
    size: int | None = None,
    copies: int = 1,
    on_bytes: OnBytes = lambda done, total: None,
    pauses_s: Sequence[float] = PAUSES_S,
) -> None:
    """Fetch `url` into `part`, and go on with what an earlier attempt left there.

    Args:
        url: http or https; certificates are verified.
        part: the file to write. It stays when the download fails, for the next attempt, unless its content is wrong.
        sha256: of the whole file, in hexadecimal.
        size: of the whole file in bytes, where known.
        copies: how many times the size has to be free on the disk.
        on_bytes: progress.
        pauses_s: how long to wait before each further attempt.

    Raises:
        InputError: an address that cannot be used, no connection, another file than expected, or no space left.
    """
    _check_address(url)
    if part.exists() and _sha256(part) == sha256:
        return
    source, pauses = _Source(url, size, copies), iter(pauses_s)
    while True:
        before = _size(part)
        try:
            source.fetch(part, on_bytes)
            break
        except (OSError, HTTPException) as error:
            if _size(part) > before:
                pauses = iter(pauses_s)
            pause_s = next(pauses, None)
            if pause_s is None:
                kept = f"'{part}' is kept, the same command goes on with it" if _size(part) else "try again later"
                raise InputError(f"'{url}' cannot be read to the end ({_reason(error)}): {kept}") from error
        sleep(pause_s)
    if (got := _sha256(part)) != sha256:
        part.unlink()
        raise InputError(
            f"'{url}' sent another file than expected (SHA-256 {got[:12]}..., expected {sha256[:12]}...), "
            "it is removed: try again, or give another address (--url)"
        )


class _Source:
    """A file on a server."""

    def __init__(self, url: str, size: int | None, copies: int) -> None:
        self._url, self._size, self._copies = url, size, copies
        self._etag: str | None = None

    def fetch(self, part: Path, on_bytes: OnBytes) -> None:
        """Read on from the end of `part`; from the start where the server wants it so.

        Raises:
            OSError, HTTPException: the connection failed, another attempt may not.
            InputError: another attempt would fail too.
        """
        response = self._open(_size(part))
        if response is None:
            return
        with response:
            start, total = self._extent(response, _size(part))
            self._require_space(part, start, total)
            done, most = start, total or _MOST_BYTES
            with writing(part), part.open("r+b" if part.exists() else "wb") as file:
                file.truncate(start)
                file.seek(start)
                while done < most and (chunk := self._read(response, most - done)):
                    file.write(chunk)
                    done += len(chunk)
                    on_bytes(done, total)
        if total is not None and done < total:
            raise ConnectionError(f"it broke off after {done:,} of {total:,} bytes")

    def _open(self, start: int) -> HTTPResponse | None:
        """The server's answer to a request for all from byte `start` on; None: there is no more."""
        headers = {"User-Agent": "allaprima"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self._etag:
                headers["If-Range"] = self._etag  # should the file have changed meanwhile, all of it is sent
        try:
            response: HTTPResponse = urlopen(Request(self._url, headers=headers), timeout=_TIMEOUT_S)
        except HTTPError as error:
            error.close()
            if error.code == 416 and start:
                return None
            if error.code in _BUSY or error.code >= 500:
                raise
            raise InputError(f"'{self._url}' answers {error.code} {_reason(error)}: give another address") from error
        except InvalidURL as error:
            raise InputError(f"address '{self._url}' cannot be used ({_reason(error)}): give another") from error
        except URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                problem = error.reason.verify_message
                raise InputError(f"'{self._url}' cannot be trusted ({problem}): give another address") from error
            raise
        etag = response.headers.get("ETag", "")
        self._etag = etag if etag.startswith('"') else None  # a weak one does not stand for the bytes
        return response

    def _extent(self, response: HTTPResponse, asked: int) -> tuple[int, int | None]:
        """Where in the file the answer begins, and how long the file is, where it says so."""
        start, total = 0, response.length
        if response.status == 206:
            says = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if says is None or int(says[1]) > asked:
                raise InputError(f"'{self._url}' sends another part than asked for: give another address")
            start, total = int(says[1]), int(says[2])
        if self._size is not None and total not in {None, self._size}:
            raise InputError(
                f"'{self._url}' has a file of {total:,} bytes, expected {self._size:,}: "
                "try again from another network, or give another address (--url)"
            )
        return start, total

    def _require_space(self, part: Path, start: int, total: int | None) -> None:
        free, needed = shutil.disk_usage(part.parent).free, self._copies * (total or 0) - start
        if free < needed:
            raise InputError(
                f"not enough space in '{part.parent}': {needed / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free"
            )

    def _read(self, response: HTTPResponse, most: int) -> bytes:
        """The next bytes, at most `most`; an OSError of the network is not to be taken for one of the disk."""
        try:
            return response.read(min(_CHUNK, most))
        except OSError as error:
            raise ConnectionError(_reason(error)) from error


def _check_address(url: str) -> None:
    try:
        address = urlsplit(url)
        usable = address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"address '{url}' cannot be used: expected one that begins with http:// or https://")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: BaseException) -> str:
    """What went wrong, in one line; a server's words may hold anything."""
    words = str(getattr(error, "reason", "") or error) or type(error).__name__
    return "".join(c if c.isprintable() else " " for c in " ".join(words.split()))[:200]
