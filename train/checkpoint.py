"""Checkpoints: one safetensors file holds all that a training needs to go on, or the exporter needs to export.

Tensors are named `network.*`, `optimizer.INDEX.*` and `random.torch`; configuration, step and the rest are JSON in the
file's metadata. Nothing is pickled. A file is written under a temporary name, flushed and renamed, so what carries a
checkpoint's name is whole, and a full disk leaves the older ones as they were.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import InputError
from ..files import replacing
from .config import TrainConfig

FORMAT = "allaprima-checkpoint/1"
FOLDER = "checkpoints"


@dataclass(kw_only=True)
class Checkpoint:
    """A training after `step` steps."""

    config: TrainConfig
    step: int
    steps: int
    """Steps of the whole training."""
    rate_scale: float
    """What the guard has left of the learning rate."""
    loss_network: dict[str, Any]
    """Architecture and SHA-256 of the loss network's weights."""
    photos: str
    """Fingerprint of the photo list."""
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
        data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, self._metadata())
        with replacing(path) as temporary:
            temporary.write_bytes(data)
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
            "steps": self.steps,
            "scheduler": {"step": self.step, "rate_scale": self.rate_scale},
            "position": self.step * self.config.batch,  # photos drawn from the stream so far
            "loss_network": self.loss_network,
            "photos": self.photos,
        }
        return {"format": FORMAT} | {key: json.dumps(value) for key, value in values.items()}


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint file, or the newest of a run folder; nothing in it is trusted to be code.

    Raises:
        InputError: missing, damaged, or not a checkpoint of this program.
    """
    file = newest_checkpoint(path)
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - not a dict
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"'{file}' is not a checkpoint of this program: give a run folder or one of its checkpoints"
            )
        return _unpack(metadata, tensors)
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"checkpoint '{file}' is damaged: remove it to use the one before, or give another") from error


def _unpack(metadata: dict[str, str], tensors: dict[str, Tensor]) -> Checkpoint:
    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    return Checkpoint(
        config=TrainConfig.from_json(json.loads(metadata["config"])),
        step=int(json.loads(metadata["step"])),
        steps=int(json.loads(metadata["steps"])),
        rate_scale=float(json.loads(metadata["scheduler"])["rate_scale"]),
        loss_network=dict(json.loads(metadata["loss_network"])),
        photos=str(json.loads(metadata["photos"])),
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
    """The optimizer's per-parameter tensors as `INDEX.KEY`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": value.clone() for index, entry in state.items() for key, value in entry.items()}


def unpack_optimizer(optimizer: torch.optim.Optimizer, packed: dict[str, Tensor]) -> None:
    """Put back what `pack_optimizer` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in packed.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
