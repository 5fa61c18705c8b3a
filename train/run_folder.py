"""The folder of one training run: checkpoints, TensorBoard events, preview.jpg, report.json and the style file.

One training at a time may write it; a lock that the operating system frees even after a kill sees to that.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import torch
from torch import nn

from .. import __version__
from ..errors import InputError
from ..files import replacing, writing
from ..pictures import Frame, write_picture
from .checkpoint import FOLDER, checkpoints_in
from .config import TrainConfig
from .evaluate import Figures, preview

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CHECKPOINTS, EVENTS, PREVIEW, REPORT = FOLDER, "events", "preview.jpg", "report.json"


class RunFolder:
    """Writes what a run leaves behind; with `write=False` (the other processes of a distributed run) writes nothing."""

    def __init__(self, path: Path, *, resume: bool, write: bool) -> None:
        self.path, self.resume, self.write = path, resume, write
        self._lock = filelock.FileLock(path / ".lock", timeout=0)
        self._events: SummaryWriter | None = None

    def open(self, config: TrainConfig, *, first_step: int, painting: Frame) -> None:
        """Make the folder, take its lock and start the event file; events after `first_step` are superseded.

        Raises:
            InputError: another training uses the folder, a finished or broken-off one lies there, or it cannot be
                written.
        """
        if not self.write:
            return
        from torch.utils.tensorboard import SummaryWriter

        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except filelock.Timeout as error:
                raise InputError(
                    f"run folder '{self.path}' is in use by another training: choose another --out"
                ) from error
            if not self.resume and checkpoints_in(self.path / CHECKPOINTS):
                self._lock.release()
                raise InputError(
                    f"run folder '{self.path}' already holds a training: "
                    f"go on with --resume {self.path}, or choose another --out"
                )
            (self.path / CHECKPOINTS).mkdir(exist_ok=True)
            self._events = SummaryWriter(self.path / EVENTS, purge_step=first_step + 1 if self.resume else None)
            self._events.add_text("configuration", f"```\n{json.dumps(config.to_json(), indent=2)}\n```")
            self._events.add_image("painting", painting, dataformats="HWC")

    def close(self) -> None:
        """Close the events and free the lock."""
        if self._events is not None:
            with writing(self.path):
                self._events.close()
        self._lock.release()

    def log(self, step: int, losses: Mapping[str, float], rate: float, images_per_second: float) -> None:
        """Scalars of one step."""
        if self._events is None:
            return
        with writing(self.path):
            for name, value in losses.items():
                self._events.add_scalar(f"loss/{name}", value, step)
            self._events.add_scalar("learning_rate", rate, step)
            self._events.add_scalar("images_per_second", images_per_second, step)

    def scalar(self, name: str, value: float, step: int) -> None:
        """One figure."""
        if self._events is not None:
            with writing(self.path):
                self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Bring the events to disk: a checkpoint must not be newer than the curve that leads to it."""
        if self._events is not None:
            with writing(self.path):
                self._events.flush()

    def show(self, network: nn.Module, painting: Frame, photos: Sequence[Frame], step: int) -> None:
        """The painting, fixed photos and what the network makes of them, into TensorBoard and preview.jpg."""
        if self._events is None or not photos:
            return
        picture = preview(network, painting, photos)
        with writing(self.path):
            self._events.add_image("preview", picture, step, dataformats="HWC")
        write_picture(self.path / PREVIEW, picture, quality=90)

    def hparams(self, config: TrainConfig, figures: Mapping[str, float]) -> None:
        """Configuration and final figures, for TensorBoard's table of runs."""
        if self._events is None:
            return
        from torch.utils.tensorboard.summary import hparams

        values = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in config.to_json().items()}
        with writing(self.path):
            writer = self._events._get_file_writer()  # type: ignore[no-untyped-call] # add_hparams would start a new run
            for summary in hparams(values, {f"final/{k}": float(v) for k, v in figures.items()}):  # type: ignore[no-untyped-call]
                writer.add_summary(summary)
            for name, value in figures.items():
                self._events.add_scalar(f"final/{name}", value)

    def report(self, config: TrainConfig, contents: Mapping[str, Any]) -> None:
        """report.json: configuration, figures, skipped photos, times, hash of the loss network."""
        if not self.write:
            return
        report = {
            "allaprima": __version__,
            "torch": torch.__version__,
            "machine": f"{platform.system()} {platform.machine()}",
            "configuration": config.to_json(),
            **contents,
        }
        with replacing(self.path / REPORT) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def can_be_resumed(run: Path) -> bool:
    """Whether a training has come to its first checkpoint there; one that was stopped before begins anew."""
    return bool(checkpoints_in(run / CHECKPOINTS))


def read_figures(run: Path, *, step: int) -> Figures | None:
    """The figures in a run's report, if it was measured after this very step."""
    report = (run if run.is_dir() else run.parent.parent) / REPORT
    try:
        contents = json.loads(report.read_text(encoding="utf-8"))
        return Figures(**contents["figures"]) if contents["step"] == step and contents["figures"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a style file can do without
