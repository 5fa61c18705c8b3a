"""A network that looks at pictures for the losses: a plain stack of layers, some of whose activations are named."""

import hashlib
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from ..errors import InputError
from .normalisation import register_statistics


class Features(nn.Module):
    """RGB pictures (B, 3, H, W) in 0..1 -> the activations of the named layers, e.g. {"relu1_1": (B, C, H, W)}.

    Args:
        layers: what is named, each once.
        stack: modules by name, up to the last of these.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Iterable[str], stack: nn.Sequential) -> None:
        super().__init__()
        self.layers, self.features = tuple(dict.fromkeys(layers)), stack
        register_statistics(self)
        self.requires_grad_(False).eval()

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) RGB in 0..1 -> activations by layer name."""
        x = ((picture - self.mean) / self.std).to(next(self.parameters()).dtype)
        found = {}
        for name, module in self.features.named_children():
            x = module(x)
            if name in self.layers:
                found[name] = x
        return found


def depth_of(layers: Iterable[str], known: Sequence[str], *, network: str) -> int:
    """How many of the `known` layers of a network have to run for `layers`.

    Raises:
        InputError: it does not have one of them.
    """
    for layer in layers:
        if layer not in known:
            raise InputError(f"{network} layer: got '{layer}', expected one of {', '.join(known)}")
    return max(map(known.index, layers)) + 1


def weights_hash(features: Features) -> str:
    """SHA-256 over the parameters in use, in order, as little-endian float32."""
    digest = hashlib.sha256()
    for parameter in features.parameters():
        digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
