"""Tensors and a few words about them in one safetensors file, which is whole or absent; nothing is pickled."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ..files import replacing


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors by name, and the metadata.

    Raises:
        InputError: the disk is full or the place cannot be written.
    """
    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, dict(metadata))
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata, and tensors by name.

    Raises:
        SafetensorError, OSError: missing, or not such a file.
    """
    with safe_open(path, framework="pt") as opened:
        return opened.metadata() or {}, {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
