"""Ctrl-C saves and tells how to go on. Watch losses and pictures with: tensorboard --logdir runs"""

import math
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract import StyleCard
from ..errors import InputError
from ..terminal import console, follow, on_interrupt, progress_bar
from ..train.config import TrainConfig as Config

if TYPE_CHECKING:
    from ..train.trainer import Progress, Trainer

LINE_EVERY = 100  # steps between two lines where there is no terminal to draw a bar on


def run(config: Config) -> None:
    """Train, measure, export the style file.

    Raises:
        InputError: something in the configuration cannot be used, the disk is full, or the training gave up.
        KeyboardInterrupt: stopped by the user, with everything saved.
    """
    try:
        from ..models.export import export_style
        from ..train.trainer import Trainer
    except ModuleNotFoundError as error:
        raise InputError(f"training needs {error.name}: pip install 'allaprima[cpu,train]'") from error
    threading.excepthook = _ignore_event_writer
    with Trainer(config) as trainer:
        with on_interrupt(trainer.stop):
            _train(trainer)
        if not trainer.result.finished:
            if trainer.is_main:
                console.print(f"saved; go on with: allaprima train --resume {trainer.folder.path}")
            raise KeyboardInterrupt
        if trainer.is_main:
            trainer.finish()
            try:
                proved = follow(trainer.prove())
            except InputError as error:  # the style file is not to be lost for it
                print(f"allaprima: {error}", file=sys.stderr)
                proved = False
            if not proved:
                console.print("left out: how near it comes to the best possible; allaprima evaluate measures it")
            path = trainer.folder.path / f"{trainer.config.style_name}.onnx"
            export_style(trainer.bare_network, path, style_card(trainer))
            _summary(trainer, path, _export_int8(trainer, path))


def _export_int8(trainer: "Trainer", path: Path) -> Path | None:
    """The faster file beside `path`; None where there is none to be had, and why stands on stderr."""
    from ..train.int8 import export_int8

    config, faster = trainer.config, path.with_name(f"{path.stem}-int8.onnx")
    if config.build != "realtime" or not config.int8:
        return None
    assert config.photos is not None
    network = trainer.bare_network.cpu()
    try:
        export_int8(network, faster, style_card(trainer), config=config, photos=config.photos)
    except InputError as error:
        print(f"allaprima: no int8 file: {error}", file=sys.stderr)
        return None
    return faster


def style_card(trainer: "Trainer") -> StyleCard:
    """What the style file will say of itself."""
    from ..train.card import make_card

    figures = trainer.result.figures
    return make_card(trainer.config, trainer.bare_network, trainer.loss_network, figures, steps=trainer.step)


def _ignore_event_writer(problem: threading.ExceptHookArgs) -> None:
    """TensorBoard writes on a thread of its own; a full disk is raised there, printed, and raised again in the loop."""
    if not isinstance(problem.exc_value, OSError):
        threading.__excepthook__(problem)


def _train(trainer: "Trainer") -> None:
    if trainer.is_main:
        _introduce(trainer)
    with progress_bar() as bar:
        task = bar.add_task(trainer.config.style_name, total=trainer.steps, completed=trainer.step, text="")
        for progress in trainer.run():
            if not trainer.is_main:
                continue
            if progress.note:
                print(f"allaprima: {progress.note}", file=sys.stderr)
            bar.update(task, completed=progress.step, text=_losses(progress))
            if not console.is_terminal and (progress.step % LINE_EVERY == 0 or progress.step == progress.steps):
                console.print(f"step {progress.step}/{progress.steps}  {_losses(progress)}  {_time_left(progress)}")


def _introduce(trainer: "Trainer") -> None:
    from ..train.synthetic import what_they_are_worth

    made_up, skipped = trainer.config.made_up, len(trainer.photos.skipped)
    console.print(
        f"{trainer.config.style_name}: {trainer.config.build} network, {trainer.steps} steps of {trainer.config.batch} "
        f"photos at {trainer.config.size} px, {'synthetic' if made_up else len(trainer.photos)} photos"
        + (f" ({skipped} skipped)" if skipped else "")
        + f", {trainer.device.type} in {trainer.precision}"
    )
    if made_up:
        console.print(what_they_are_worth())
    for note in trainer.notes:
        print(f"allaprima: {note}", file=sys.stderr)


def _losses(progress: "Progress") -> str:
    values = progress.losses
    parts = f"loss {values['total']:.3f}  content {values['content']:.3f}  style {values['style']:.4f}"
    return f"{parts}  {progress.images_per_second:.1f} photos/s"


def _time_left(progress: "Progress") -> str:
    if math.isinf(progress.seconds_left):
        return ""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"{minutes}:{seconds:02} left"


def _summary(trainer: "Trainer", path: Path, faster: Path | None) -> None:
    result = trainer.result
    if f := result.figures:
        synthetic = "synthetic " if trainer.config.judged_by_made_up else ""
        photos = (
            f"unseen {synthetic}photos"
            if trainer.judged_on_unseen
            else "of the photos trained on, too few to spare any"
        )
        console.print(f"on {f.photos} {photos}: content {f.content:.3f}, style {f.style:.4f}, J {f.j:.3f}")
        if trainer.config.stroke_size != 1:
            console.print(
                f"(measured with strokes of size 1, as for every style, and not {trainer.config.stroke_size:g})"
            )
        if f.optimality_ratio is not None:
            console.print(f"J is {f.optimality_ratio:.2f} times the least possible, on {f.ratio_photos} of them")
    if trainer.photos.skipped:
        console.print(f"{len(trainer.photos.skipped)} photos were skipped; report.json names them")
    console.print(f"preview:    {trainer.folder.path / 'preview.jpg'}\nstyle file: {path}")
    if faster:
        console.print(f"for CPUs:   {faster} (int8: three times as fast there)")
    console.print(f"try it:     allaprima image PHOTO --style {faster or path} -o painted.jpg")
