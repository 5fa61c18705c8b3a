"""What a training starts from: the base that ships, another training, or nothing.

A network that has learnt one painting already sees photos and draws; from there it is not far to another painting. The
base has learnt many (scripts/make_base.py), and stands where all of them are near.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import InputError
from .checkpoint import load_checkpoint
from .config import BASE, SCRATCH
from .tensor_files import read_tensors, write_tensors

BASE_FILE = Path(__file__).with_name("base.safetensors")
FORMAT = "allaprima-base/1"


def start_from(source: str, network: nn.Module, *, build: str) -> None:
    """Give a fresh `network` of the build the weights that `source` names.

    Args:
        source: `base`; `scratch`, which leaves it as it is; or a run or checkpoint.
        network: is changed in place.
        build: its name.

    Raises:
        InputError: no such run, its network is another, or the base is missing or damaged.
    """
    if source == SCRATCH:
        return
    weights = read_base() if source == BASE else load_checkpoint(Path(source)).network
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        what = "the base is a 'realtime' network" if source == BASE else f"its network is another than '{build}'"
        raise InputError(f"--from {source}: {what}: give a run of this build, or --from scratch") from error


def read_base() -> dict[str, Tensor]:
    """The base's weights, in fp32.

    Raises:
        InputError: missing or damaged.
    """
    try:
        metadata, tensors = read_tensors(BASE_FILE)
        if metadata.get("format") != FORMAT:
            raise SafetensorError("not a base")
    except (SafetensorError, OSError) as error:
        raise InputError(f"the base '{BASE_FILE}' is missing or damaged: reinstall, or --from scratch") from error
    return {name: value.float() for name, value in tensors.items()}


def digest_of_base() -> str:
    """Twelve digits that tell one base from another."""
    return hashlib.sha256(BASE_FILE.read_bytes()).hexdigest()[:12]


def write_base(weights: Mapping[str, Tensor]) -> None:
    """Put weights where `read_base` finds them, in fp16: half the size, and nothing that a step would not change."""
    write_tensors(BASE_FILE, {name: value.half() for name, value in weights.items()}, {"format": FORMAT})
