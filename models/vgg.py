"""VGG-19 and VGG-16 features (Simonyan and Zisserman 2014, arXiv:1409.1556), cut off after the last layer needed.

Weights come from, in this order: the file given, the file named by ALLAPRIMA_VGG, torchvision's cache or download.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import InputError
from .features import Features, depth_of, weights_hash

Architecture = Literal["vgg19", "vgg16"]
CONVOLUTIONS: dict[Architecture, tuple[int, ...]] = {"vgg19": (2, 2, 4, 4, 4), "vgg16": (2, 2, 3, 3, 3)}
"""Convolutions in each of the five stages; a 2x2 pooling stands between stages."""
CHANNELS = (64, 128, 256, 512, 512)
ENVIRONMENT_VARIABLE = "ALLAPRIMA_VGG"


class VGGFeatures(Features):
    """RGB pictures (B, 3, H, W) in 0..1 -> the activations of the named layers, e.g. {"relu1_1": (B, 64, H, W)}."""

    def __init__(self, layers: Iterable[str], *, architecture: Architecture = "vgg19", average_pooling: bool = False):
        """Untrained; `load` brings the weights. Raises InputError for a layer that the architecture does not have."""
        layers = list(layers)
        pooling = nn.AvgPool2d if average_pooling else nn.MaxPool2d  # average pooling: Gatys et al. 2016
        depth = depth_of(layers, layer_names(architecture), network=architecture)
        super().__init__(layers, _stack(architecture, pooling, depth=depth))
        self.architecture = architecture

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take torchvision's `features.N.weight` and `features.N.bias`, N counted as there; more than needed is fine.

        Raises:
            InputError: an entry is missing or has another shape.
        """
        for number, module in enumerate(self.features):  # torchvision numbers convolutions, ReLUs and poolings alike
            if isinstance(module, nn.Conv2d):
                for kind in ("weight", "bias"):
                    _copy(getattr(module, kind), weights, f"features.{number}.{kind}", self.architecture)


def layer_names(architecture: Architecture) -> list[str]:
    """`relu1_1`, `relu1_2`, ... in order."""
    return [f"relu{s}_{c}" for s, n in enumerate(CONVOLUTIONS[architecture], 1) for c in range(1, n + 1)]


def load_vgg(
    layers: Iterable[str],
    *,
    architecture: Architecture = "vgg19",
    average_pooling: bool = False,
    weights: Path | None = None,
) -> tuple[VGGFeatures, str]:
    """VGG features with their trained weights, and the SHA-256 of those weights.

    Raises:
        InputError: no weights could be had, with the reason of each place that was tried.
    """
    vgg = VGGFeatures(layers, architecture=architecture, average_pooling=average_pooling)
    vgg.load(find_weights(architecture, weights))
    return vgg, weights_hash(vgg)


def find_weights(architecture: Architecture, file: Path | None = None) -> Mapping[str, Tensor]:
    """torchvision's state dict of `architecture`; see the module's first lines for where it is looked for.

    Raises:
        InputError: one line with what was tried and what to do.
    """
    if file is not None:
        return _read_weights(file, "--vgg-weights")
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return _read_weights(Path(named), ENVIRONMENT_VARIABLE)
    import torchvision

    try:
        weights = torchvision.models.get_model_weights(architecture).DEFAULT
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"no {architecture} weights: --vgg-weights not given, {ENVIRONMENT_VARIABLE} not set, and torchvision's "
            f"download failed ({' '.join(str(error).split())}): connect once, or give a .safetensors or .pth file "
            f"with torchvision's {architecture} weights"
        ) from error
    return state


def weights_at_hand(architecture: Architecture, file: Path | None = None) -> bool:
    """Whether `find_weights` would find any, right or wrong, without a download."""
    return bool(file or os.environ.get(ENVIRONMENT_VARIABLE)) or _downloaded(architecture).is_file()


def _downloaded(architecture: Architecture) -> Path:
    """Where torchvision keeps what it downloads (torch.hub's cache)."""
    import torchvision

    url = torchvision.models.get_model_weights(architecture).DEFAULT.url
    return Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(urlsplit(url).path).name)


def _stack(architecture: Architecture, pooling: Callable[[int], nn.Module], *, depth: int) -> nn.Sequential:
    """Convolutions, ReLUs (named `relu1_1`, ...) and poolings, down to the ReLU number `depth`."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    channels, relus = 3, 0
    for stage, count in enumerate(CONVOLUTIONS[architecture], 1):
        for index in range(1, count + 1):
            modules[f"conv{stage}_{index}"] = nn.Conv2d(channels, CHANNELS[stage - 1], 3, padding=1)
            modules[f"relu{stage}_{index}"] = nn.ReLU(inplace=True)
            channels, relus = CHANNELS[stage - 1], relus + 1
            if relus == depth:
                return nn.Sequential(modules)
        modules[f"pool{stage}"] = pooling(2)
    raise AssertionError(depth)


@torch.no_grad()
def _copy(target: Tensor, weights: Mapping[str, Tensor], key: str, architecture: str) -> None:
    if (source := weights.get(key)) is None or source.shape != target.shape:
        found = "nothing" if source is None else tuple(source.shape)
        raise InputError(
            f"the VGG weights hold {found} at '{key}', expected {tuple(target.shape)}: give torchvision's "
            f"{architecture} weights"
        )
    target.copy_(source)


def _read_weights(file: Path, given_by: str) -> Mapping[str, Tensor]:
    if not file.is_file():
        raise InputError(f"VGG weights '{file}' ({given_by}) do not exist: check the path")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state: Mapping[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        raise InputError(f"VGG weights '{file}' ({given_by}) cannot be read: use another copy") from error
    except Exception as error:  # pickle.UnpicklingError: the file holds more than tensors
        raise InputError(f"VGG weights '{file}' ({given_by}) are not a plain state dict: use another copy") from error
    return state
