"""Ctrl-C keeps what is done and tells how to go on. Takes minutes at 512 px: for more than one photo, train."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..infer.keep_colours import KeepColours
from ..pictures import write_picture
from ..terminal import console, on_interrupt, progress_bar
from ..train.config import OptimizeConfig as Config

if TYPE_CHECKING:
    from ..train.optimize import Optimization, Progress

LINE_EVERY = 50  # steps between two lines where there is no terminal to draw a bar on


def run(config: Config) -> None:
    """Paint, and write the picture.

    Raises:
        InputError: something in the configuration cannot be used, there is too little memory or disk, or the loss is
            not a number any more; the last good picture is written then.
        KeyboardInterrupt: stopped by the user, with picture and state written.
    """
    try:
        from ..train.optimize import Optimization
    except ModuleNotFoundError as error:
        raise InputError(f"optimize needs {error.name}: pip install 'allaprima[cpu,train]'") from error
    painter = Optimization(config)
    _introduce(painter)
    with on_interrupt(painter.stop):
        _paint(painter)
    _write(painter)
    if not painter.finished:
        state = painter.save_state()
        console.print(f"{painter.output} as far as it is; go on with: allaprima optimize --resume {state}")
        raise KeyboardInterrupt
    _forget(painter.config.resume)
    console.print(f"{painter.output} painted, {painter.size_name(-1)}")


def _introduce(painter: "Optimization") -> None:
    c, sizes = painter.config, ", ".join(painter.size_name(i) for i in range(len(painter.sizes)))
    console.print(
        f"{painter.output.name}: {c.steps} steps of {c.optimizer} at {sizes}, "
        f"about {painter.memory_bytes / 1e9:.1f} GB of memory, {painter.device.type}"
    )
    for note in painter.notes:
        print(f"allaprima: {note}", file=sys.stderr)


def _paint(painter: "Optimization") -> None:
    c = painter.config
    try:
        with progress_bar() as bar:
            # A bar for each size: steps of a larger one take longer, and would spoil the time left.
            bars = {i: bar.add_task(painter.size_name(i), total=c.steps, start=False, text="") for i in _ahead(painter)}
            for progress in painter.run():
                task = bars[progress.scale]
                bar.start_task(task)
                bar.update(task, completed=progress.step, text=_losses(progress))
                if c.show_every and progress.step % c.show_every == 0:
                    _write(painter)
                if not console.is_terminal and (progress.step % LINE_EVERY == 0 or progress.step == c.steps):
                    size = painter.size_name(progress.scale)
                    console.print(f"{size}, step {progress.step}/{c.steps}  {_losses(progress)}")
    except InputError:
        if painter.scale or painter.step:
            _write(painter)
        raise


def _ahead(painter: "Optimization") -> range:
    """Numbers of the sizes yet to be painted."""
    return range(painter.scale, len(painter.sizes))


def _losses(progress: "Progress") -> str:
    values = progress.losses
    return f"loss {values['total']:.4f}  content {values['content']:.4f}  style {values['style']:.5f}"


def _write(painter: "Optimization") -> None:
    picture = painter.picture
    if painter.config.keep_colours:
        picture = KeepColours()(picture, painter.photo_at(*picture.shape[:2]))
    write_picture(painter.output, picture)


def _forget(state: Path | None) -> None:
    """A file to go on from is of no use once the picture is done."""
    if state is not None:
        state.unlink(missing_ok=True)
