"""How the network takes its steps: Adam, slower in wide layers; in blocks without what a filter's weights share.

What a ReLU gives is positive all over. A step that moves all weights of a filter the same way therefore moves its
answer by as many times as it has weights, and Adam's steps are as long for a filter of 864 weights as for one of 144.
With one rate for all, most channels of the wide layers fell silent for good within the first hundred steps. Two
remedies, each known by itself, keep them alive and reach the same loss in fewer steps:

- the rate of a layer falls with its fan-in (Yang et al. 2022, "Tensor Programs V", arXiv:2203.03466, table 3);
- the mean of each filter is taken out of its gradient (Yong et al. 2020, "Gradient Centralization", arXiv:2004.01461);
  not in the end of the network, where it would keep the picture from becoming lighter or darker.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..models.transformer import ResidualBlock

FULL_RATE_FAN_IN = 144
"""Weights of a filter up to which a layer learns at the full rate: those of the `realtime` network's end."""
VECTOR_SHARE = 1 / 6
"""Of the rate, for biases and norms."""


def make_optimizer(network: nn.Module, rate: float) -> torch.optim.Adam:
    """Adam over the network's parameters; each group's `share` says how much of the rate it gets."""
    inner = {id(p) for block in network.modules() if isinstance(block, ResidualBlock) for p in block.parameters()}
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for parameter in network.parameters():
        is_filter = parameter.dim() == 4
        share = min(1.0, FULL_RATE_FAN_IN / parameter[0].numel()) if is_filter else VECTOR_SHARE
        groups.setdefault((share, is_filter and id(parameter) in inner), []).append(parameter)
    described: Iterator[dict[str, Any]] = (
        {"params": parameters, "share": share, "centred": centred} for (share, centred), parameters in groups.items()
    )
    return torch.optim.Adam(described, lr=rate, betas=(0.9, 0.99))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Of the layers that learn at the full rate; the others get their share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def centralise(optimizer: torch.optim.Optimizer) -> None:
    """Take the mean of each filter of the blocks out of its gradient."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["centred"] else ():
            if parameter.grad is not None:
                parameter.grad -= parameter.grad.mean((1, 2, 3), keepdim=True)
