"""What the commands show: one console on stdout, tables, a progress bar with time left, Ctrl-C that asks first."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

console = Console(soft_wrap=True, highlight=False, markup=False)
_ENDLESS = 10_000  # characters; wider than any table


def printable(value: object) -> str:
    """Text from outside, such that no control code acts on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def show_table(table: Table) -> None:
    """As wide as the terminal; into a pipe, which has no width, each line as wide as it wants to be."""
    if console.is_terminal:
        console.print(table, soft_wrap=False, crop=False)
        return
    table.width = console.measure(table, options=console.options.update_width(_ENDLESS)).maximum
    with console.capture() as captured:
        console.print(table, soft_wrap=False, crop=False)
    console.print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def progress_bar() -> Progress:
    """A bar for steps or frames, with a text at its right (`text`); on something other than a terminal, nothing."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        disable=not console.is_terminal,
    )


class Work(Protocol):
    """How far something is."""

    @property
    def done(self) -> int:
        """Steps."""

    @property
    def total(self) -> int:
        """Steps."""

    @property
    def what(self) -> str:
        """What is being done, in words."""


def follow(work: Iterable[Work]) -> bool:
    """See work through to its end, with a bar or, into a pipe, a line for each new thing; False after Ctrl-C."""
    stopped: list[bool] = []
    said = ""
    with on_interrupt(lambda: stopped.append(True)), progress_bar() as bar:
        task = bar.add_task("steps", total=None, text="")
        for progress in work:
            bar.update(task, completed=progress.done, total=progress.total, text=progress.what)
            if not console.is_terminal and progress.what != said:
                said = progress.what
                console.print(f"step {progress.done}/{progress.total}  {said}")
            if stopped:
                break
    return not stopped


@contextmanager
def on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C or termination signal calls `stop`, so that work ends in good order; the second one ends it."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop()
        signal.signal(number, signal.default_int_handler)

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
