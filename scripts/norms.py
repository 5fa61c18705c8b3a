"""Norms with other statistics than the frame's own, to measure what instance norm does to a film.

What enters at one corner changes the statistics of the frame, and so repaints the other corners. Statistics that stand
still cannot do that; slow ones spread it over many frames.
"""

from functools import partial

import torch
from torch import Tensor, nn

from allaprima.models.transformer import ImageTransformer


class SteadyNorms:
    """Takes the place of all instance norms of a network: their statistics move towards those of each batch by `rate`.

    The first batch sets them: with a rate of 0 they stay as typical photos have them, with one of 1 they are the
    batch's own.

    Args:
        network: is changed in place; its parameters stay as they are.
        rate: 0..1.
    """

    def __init__(self, network: ImageTransformer, rate: float) -> None:
        self.rate = rate
        self._statistics: dict[nn.Module, Tensor] = {}  # variance and mean: (2, 1, C, 1, 1)
        for module in network.modules():
            if isinstance(module, nn.InstanceNorm2d):
                module.forward = partial(self._normalise, module)  # type: ignore[method-assign]

    def forget(self) -> None:
        """The next batch sets the statistics anew."""
        self._statistics.clear()

    def _normalise(self, norm: nn.InstanceNorm2d, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same, and its dtype."""
        own = torch.stack(torch.var_mean(x.detach().float(), (0, 2, 3), correction=0, keepdim=True))
        self._statistics[norm] = statistics = self._statistics.get(norm, own).lerp(own, self.rate)
        variance, mean = statistics
        scale = norm.weight[:, None, None] / (variance + norm.eps).sqrt()
        normalised: Tensor = (x.float() - mean) * scale + norm.bias[:, None, None]
        return normalised.to(x.dtype)
