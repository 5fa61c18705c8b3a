"""Checkpoints: one safetensors file holds all that a training needs to go on, or the exporter needs to export.

Tensors are named `network.*`, `optimizer.INDEX.*` and `random.torch`; configuration, step and the rest are JSON in the
file's metadata. Nothing is pickled. A file is written under a temporary name, flushed and renamed, so what carries a
checkpoint's name is whole, and a full disk leaves the older ones as they were.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import InputError
from .config import TrainConfig
from .schedule import Schedule
from .tensor_files import read_tensors, write_tensors

FORMAT = "allaprima-checkpoint/2"
FOLDER = "checkpoints"


@dataclass(kw_only=True)
class Checkpoint:
    """A training after `step` steps."""

    config: TrainConfig
    step: int
    schedule: Schedule
    """How the learning rate goes, and for how many steps."""
    rate_scale: float
    """What the guard has left of the learning rate."""
    loss_network: dict[str, Any]
    """Architecture and SHA-256 of the loss network's weights."""
    photos: str
    """Fingerprint of the photo list."""
    painting: str = ""
    """Digest of the painting; "" in checkpoints of before."""
    so_far: dict[str, Any] = field(default_factory=dict)
    """What the report has to say of the steps up to here: `seconds`, `rollbacks`, `notes`."""
    network: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    """Adam's state as `INDEX.KEY`; see `pack_optimizer`."""
    random: Tensor
    """torch's random state."""

    def save(self, folder: Path, *, keep: int) -> Path:
        """Write `folder`/step-NNNNNNN.safetensors and remove all but the last `keep`.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        path = folder / f"step-{self.step:07}.safetensors"
        tensors = {f"network.{k}": v for k, v in self.network.items()}
        tensors |= {f"optimizer.{k}": v for k, v in self.optimizer.items()}
        tensors["random.torch"] = self.random
        write_tensors(path, tensors, self._metadata())
        for old in checkpoints_in(folder)[:-keep]:
            old.unlink(missing_ok=True)
        return path

    def fill(self, network: nn.Module) -> None:
        """Give `network`, a fresh one of the configuration's build, the weights.

        Raises:
            InputError: they are another network's.
        """
        try:
            network.load_state_dict(self.network)
        except RuntimeError as error:
            raise InputError(
                f"this run's '{self.config.build}' is another network than today's: another version of Allaprima "
                "trained it; train it anew, or go on with that version"
            ) from error

    def _metadata(self) -> dict[str, str]:
        values = {
            "config": self.config.to_json(),
            "step": self.step,
            "schedule": asdict(self.schedule),
            "rate_scale": self.rate_scale,
            "position": self.step * self.config.batch,  # photos drawn from the stream so far
            "loss_network": self.loss_network,
            "photos": self.photos,
            "painting": self.painting,
            "so_far": self.so_far,
        }
        return {"format": FORMAT} | {key: json.dumps(value) for key, value in values.items()}


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint file, or the newest of a run folder; nothing in it is trusted to be code.

    Raises:
        InputError: missing, damaged, or not a checkpoint of this program.
    """
    file = newest_checkpoint(path)
    try:
        metadata, tensors = read_tensors(file)
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"'{file}' is not a checkpoint of this version of Allaprima: give one that is, or its run folder"
            )
        return _unpack(metadata, tensors)
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"checkpoint '{file}' is damaged: remove it to use the one before, or give another") from error


def _unpack(metadata: dict[str, str], tensors: dict[str, Tensor]) -> Checkpoint:
    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    config = TrainConfig.from_json(json.loads(metadata["config"]))
    if config.style_weight is None:  # a training settles it before its first step
        raise KeyError("style_weight")
    return Checkpoint(
        config=config,
        step=int(json.loads(metadata["step"])),
        schedule=Schedule(**json.loads(metadata["schedule"])),
        rate_scale=float(json.loads(metadata["rate_scale"])),
        loss_network=dict(json.loads(metadata["loss_network"])),
        photos=str(json.loads(metadata["photos"])),
        painting=str(json.loads(metadata.get("painting", '""'))),
        so_far=dict(json.loads(metadata.get("so_far", "{}"))),
        network=part("network."),
        optimizer=part("optimizer."),
        random=tensors["random.torch"],
    )


def checkpoints_in(folder: Path) -> list[Path]:
    """Whole checkpoints of a folder, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def newest_checkpoint(path: Path) -> Path:
    """`path` if it is a file, else the newest checkpoint of the run folder `path`.

    Raises:
        InputError: there is none.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"run or checkpoint '{path}' does not exist: check the path")
    if found := checkpoints_in(path / FOLDER):
        return found[-1]
    raise InputError(f"run folder '{path}' holds no checkpoint yet: train it first, or give another")


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's per-parameter tensors as `INDEX.KEY`; numbers as float64, lists of tensors as `INDEX.KEY.N`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, entry in state.items()
        for key, held in entry.items()
        for name, value in _flat(key, held)
    }


def _flat(key: str, held: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(held, Tensor):
        yield key, held.clone()
    elif not isinstance(held, list):
        yield key, torch.tensor(float(held), dtype=torch.float64)
    elif all(isinstance(value, Tensor) for value in held):  # L-BFGS's history, but not where it only scribbles
        for number, value in enumerate(held):
            yield f"{key}.{number}", value.clone()


def unpack_optimizer(optimizer: torch.optim.Optimizer, packed: dict[str, Tensor]) -> None:
    """Put back what `pack_optimizer` took."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in packed.items():
        index, key, *number = name.split(".")
        entry = state.setdefault(int(index), {})
        if number:
            entry.setdefault(key, []).append((int(number[0]), value.clone()))
        else:
            entry[key] = value.item() if value.dtype == torch.float64 else value.clone()
    for entry in state.values():
        for key, held in entry.items():
            if isinstance(held, list):
                entry[key] = [value for _, value in sorted(held, key=itemgetter(0))]
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
