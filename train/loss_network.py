"""The network that judges while a painting is learnt, and the one that judges in the end: VGG, or one of our own.

A training with the compact network needs no download. The yardstick stays VGG-19; where no weights of it are at hand,
such a training does without its figures.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError

from ..errors import InputError
from ..models.compact import CompactFeatures
from ..models.features import Features, weights_hash
from ..models.vgg import ENVIRONMENT_VARIABLE, VGGFeatures, load_vgg, weights_at_hand
from .config import COMPACT, LossNetwork, TrainConfig
from .evaluate import YARDSTICK_LAYERS
from .tensor_files import read_tensors, write_tensors

COMPACT_FILE = Path(__file__).with_name("compact.safetensors")
FORMAT = "allaprima-compact/1"
NO_YARDSTICK = (
    f"no figures on the yardstick: no VGG-19 weights at hand, give --vgg-weights or set {ENVIRONMENT_VARIABLE}"
)


def load_loss_network(
    name: LossNetwork, layers: Iterable[str], *, average_pooling: bool = False, weights: Path | None = None
) -> tuple[Features, dict[str, str]]:
    """The loss network with its trained weights, and who it is: `architecture` and `sha256`.

    Args:
        name: which.
        layers: what the losses look at.
        average_pooling: of VGG.
        weights: file with those of VGG.

    Raises:
        InputError: it does not have a layer, or no weights could be had.
    """
    features: Features
    if name == COMPACT:
        features = read_compact(layers)
        sha256 = weights_hash(features)
    else:
        features, sha256 = load_vgg(layers, architecture=name, average_pooling=average_pooling, weights=weights)
    return features, {"architecture": name, "sha256": sha256}


def load_yardstick(config: TrainConfig) -> tuple[VGGFeatures, str] | None:
    """The VGG that judges in the end, whatever layers and pooling the training uses, and the SHA-256 of its weights.

    None where the training gets by without VGG and no weights are at hand: for figures alone nothing is downloaded.

    Raises:
        InputError: the weights at hand cannot be used.
    """
    if config.loss_network != COMPACT:
        return load_vgg(YARDSTICK_LAYERS, architecture=config.loss_network, weights=config.vgg_weights)
    if not weights_at_hand("vgg19", config.vgg_weights):
        return None
    return load_vgg(YARDSTICK_LAYERS, weights=config.vgg_weights)


def read_compact(layers: Iterable[str]) -> CompactFeatures:
    """The network in the package, in fp32.

    Raises:
        InputError: missing or damaged, or it does not have a layer.
    """
    try:
        metadata, tensors = read_tensors(COMPACT_FILE)
        if metadata.get("format") != FORMAT:
            raise SafetensorError("not a compact loss network")
        features = CompactFeatures(layers, tuple(tuple(stage) for stage in json.loads(metadata["widths"])))
        features.load(tensors)
    except InputError:
        raise
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the compact loss network '{COMPACT_FILE}' is missing or damaged: make it with scripts/make_compact.py, "
            "or give --loss-network vgg19"
        ) from error
    return features


def write_compact(features: CompactFeatures) -> None:
    """Put a network where `read_compact` finds it, in fp16: half the size, and nothing that a loss would notice."""
    weights = {name: value.half() for name, value in features.state_dict().items()}
    write_tensors(COMPACT_FILE, weights, {"format": FORMAT, "widths": json.dumps(features.widths)})
