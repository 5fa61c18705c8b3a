"""A camera that comes back: a session goes on when its camera freezes, disappears, hangs up or changes its size.

    camera = SteadyCamera(lambda: open_camera("rtsp://..."))
    with NewestFrame(camera) as newest:
        ...

Meanwhile `camera.lost` says what is wrong, for as long as something is.
"""

from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from math import ceil
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from time import monotonic, sleep

from ..errors import InputError
from ..pictures import Frame
from .camera import Camera

SILENT_S = 4.0
"""A camera that gives neither a frame nor a sign of life for so long is frozen."""
OPENING_S = 20.0
"""How long opening it anew may take, to its first frame."""
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Before each attempt to reconnect; the last one again and again."""
_BEAT_S = 0.1


@dataclass(frozen=True)
class Lost:
    """What is wrong with a camera, and what is done about it."""

    reason: str
    """In a few words: "stopped sending pictures (no answer in time)"."""
    next_attempt_s: float
    """When it is opened anew, monotonic seconds; in the past: it is being opened."""

    @property
    def left_s(self) -> float:
        """Seconds until the next attempt; 0: it is under way."""
        return max(0.0, self.next_attempt_s - monotonic())

    def __str__(self) -> str:
        left_s = ceil(self.left_s)
        return f"{self.reason}; " + (f"next attempt in {left_s} s" if left_s else "connecting")


class SteadyCamera:
    """Any camera, reconnected whenever it fails, for as long as it takes.

    Its `description` and `notes` are those of the connection there is. A camera that ends (a clip that was played) ends
    this one too. Each connection is read on a thread of its own, and one that hangs is left to it: neither reconnecting
    nor closing waits.

    Args:
        opener: opens the camera, at once and then again after each failure.

    Raises:
        InputError: the first opening failed; later ones are repeated.
    """

    lost: Lost | None = None
    """What is wrong; None: frames come."""
    losses: int = 0
    """How often the camera was lost."""

    def __init__(self, opener: Callable[[], Camera]) -> None:
        self._opener, camera = opener, opener()
        self._first: Camera | None = camera
        self._describe(camera)

    def frames(self) -> Generator[Frame | None, None, None]:
        """Yield frames as they come, of any size; None now and then while there are none."""
        assert self._first is not None, "read once"
        first, self._first = self._first, None
        connection, attempt = _Connection(lambda: first), 0
        try:
            while (reason := (yield from self._relay(connection))) is not None:
                connection.leave()
                attempt = attempt + 1 if self.lost else 0
                self.losses += not self.lost
                self.lost = lost = Lost(reason, monotonic() + PAUSES_S[min(attempt, len(PAUSES_S) - 1)])
                while lost.left_s > 0:
                    sleep(min(lost.left_s, _BEAT_S))
                    yield None
                connection = _Connection(self._opener)
        finally:
            connection.leave()

    def close(self) -> None:
        """Give back a camera that was never read; each connection closes its own."""
        if self._first is not None:
            self._first.close()

    def _relay(self, connection: "_Connection") -> Generator[Frame | None, None, str | None]:
        """Pass on what comes, until the connection fails: returns why. None: the camera has ended."""
        limit_s, heard_s = OPENING_S, monotonic()
        while True:
            try:
                item = connection.next()
            except Empty:
                if monotonic() - heard_s > limit_s:
                    return f"no picture for {limit_s:g} s"
                yield None
                continue
            heard_s = monotonic()
            if isinstance(item, _End):
                return self._reason(item.error)
            if item is not None:
                assert connection.camera is not None
                self._describe(connection.camera)
                self.lost, limit_s = None, SILENT_S
            yield item

    def _describe(self, camera: Camera) -> None:
        self.name, self.description, self.notes = camera.name, camera.description, camera.notes

    def _reason(self, error: BaseException | None) -> str | None:
        """What a camera's message says before it goes on to the remedy, which is ours to apply."""
        if error is None:
            return None
        if not isinstance(error, InputError):
            raise error
        return _outside_brackets(str(error).removeprefix(self.name).strip())


class _Connection:
    """A camera on a thread of its own, which opens, reads and closes it; whoever waits for it may leave at any time."""

    camera: Camera | None = None
    """None: it is being opened."""

    def __init__(self, opener: Callable[[], Camera]) -> None:
        self._opener, self._left = opener, False
        self._items: SimpleQueue[Frame | _End | None] = SimpleQueue()
        self._taken = Semaphore(0)
        Thread(target=self._run, name="connection", daemon=True).start()

    def next(self) -> "Frame | _End | None":
        """What the camera yields, or its end.

        Raises:
            Empty: nothing yet.
        """
        item = self._items.get(timeout=_BEAT_S)
        self._taken.release()
        return item

    def leave(self) -> None:
        """Let the thread close the camera as soon as it can, and wait for nothing."""
        self._left = True
        self._taken.release()

    def _run(self) -> None:
        error = None
        try:
            self.camera = self._opener()
            self._read(self.camera)
        except BaseException as caught:  # it belongs to whoever takes the frames
            error = caught
        self._items.put(_End(error))

    def _read(self, camera: Camera) -> None:
        try:
            with closing(camera.frames()) as frames:
                for item in frames:
                    self._items.put(item)
                    self._taken.acquire()
                    if self._left:
                        break
        finally:
            with suppress(Exception):  # a camera that failed may also fail to close
                camera.close()


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def _outside_brackets(text: str) -> str:
    """A text up to its first ": " that stands in no brackets."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and text.startswith(": ", position):
            return text[:position]
    return text
