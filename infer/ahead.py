"""Stages that overlap: each runs on a thread of its own, joined by short queues.

    with closing(ahead(paint(ahead(decode())))) as painted:      # decode | paint | the caller writes
        for frame in painted:
            write(frame)

Whichever stage raises, decoding, painting or the caller, the whole ends: its exception reaches the caller, every
thread stops and every generator is closed.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


@dataclass
class _End:
    error: BaseException | None


def ahead(source: Iterable[T], *, depth: int = 2) -> Generator[T, None, None]:
    """Iterate over `source` on another thread; at most `depth` finished items wait for the consumer.

    A generator: close it (``contextlib.closing``) where it is not run to its end. That closes `source` as well.

    Raises:
        BaseException: what `source` raised, after the items before it.
    """
    ready: SimpleQueue[T | _End] = SimpleQueue()
    room = Semaphore(depth - 1)
    stopped = Event()

    def work() -> None:
        error = None
        try:
            for item in source:
                ready.put(item)
                room.acquire()
                if stopped.is_set():
                    break
        except BaseException as caught:  # also what is not an Exception: it belongs to the consumer
            error = caught
        try:
            if close := getattr(source, "close", None):
                close()
        except BaseException as caught:
            error = error or caught
        ready.put(_End(error))

    thread = Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            room.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        room.release()
        thread.join()
