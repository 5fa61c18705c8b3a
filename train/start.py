"""What a training starts from: another training, or nothing.

A network that has learnt one painting already sees photos and draws; from there it is not far to another painting.
"""

from pathlib import Path

from torch import nn

from ..errors import InputError
from .checkpoint import load_checkpoint

SCRATCH = "scratch"


def start_from(source: str, network: nn.Module, *, build: str) -> None:
    """Give a fresh `network` of the build the weights that `source` names.

    Args:
        source: `scratch`, which leaves it as it is, or a run or checkpoint.
        network: is changed in place.
        build: its name.

    Raises:
        InputError: no such run, or its network is another.
    """
    if source == SCRATCH:
        return
    try:
        network.load_state_dict(load_checkpoint(Path(source)).network)
    except RuntimeError as error:
        raise InputError(f"--from {source}: its network is another than '{build}': give a run of this build") from error
