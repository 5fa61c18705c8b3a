"""How the network takes its steps: Muon for the filters, Adam for biases and norms.

A bank of filters is a matrix, from what it reads to what it says. Adam scales each entry by itself, and the few
directions in which the loss is steep get most of the step. Muon takes the orthogonal matrix nearest to the momentum: a
step of the same length in every direction (Jordan et al. 2024, "Muon", kellerjordan.github.io/posts/muon). As long as
sqrt(outputs / inputs), it moves the answer of every layer alike, whatever its width (Bernstein and Newhouse 2024,
"Modular Duality in Deep Learning", arXiv:2410.21265). torch's own `Muon` takes matrices only, no filters.

What a ReLU gives is positive all over: a step that moves all weights of a filter the same way moves its answer by as
many times as it has weights, and a channel below zero everywhere is lost for good. In the blocks, whose filters have
the most, the mean of each filter is therefore taken out of its gradient (Yong et al. 2020, "Gradient Centralization",
arXiv:2004.01461); not in the end of the network, where it would keep the picture from becoming lighter or darker.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..models.transformer import ResidualBlock

VECTOR_SHARE = 1 / 18
"""Of the rate, for biases and norms."""
MOMENTUM = 0.9
BETAS = (0.9, 0.99)  # Adam's
EPSILON = 1e-8
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Jordan et al.'s: they take singular values not to 1 but into 0.7..1.2, in few rounds."""
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Steps of the same length in all directions for filters, Adam's for the rest.

    Args:
        network: whose parameters are trained; those with four dimensions are filters (outputs, inputs, h, w).
        rate: spectral norm of what a step adds to a bank of filters, over sqrt(outputs / (inputs * h * w)).
    """

    def __init__(self, network: nn.Module, rate: float) -> None:
        blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
        inner = {id(parameter) for block in blocks for parameter in block.parameters()}
        filters = [p for p in network.parameters() if p.dim() == 4]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in filters if id(p) not in inner], "step": _muon_step, "share": 1.0},
            {"params": [p for p in filters if id(p) in inner], "step": _centred_muon_step, "share": 1.0},
            {"params": [p for p in network.parameters() if p.dim() != 4], "step": _adam_step, "share": VECTOR_SHARE},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": rate})
        set_rate(self, rate)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    group["step"](parameter, parameter.grad, self.state[parameter], group["lr"])


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Of the filters; the others get their share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def _muon_step(filters: Tensor, gradient: Tensor, state: dict[str, Tensor], rate: float) -> None:
    momentum = state.setdefault("momentum", torch.zeros_like(filters))
    momentum.lerp_(gradient, 1 - MOMENTUM)
    ahead = gradient.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov's
    outputs, inputs = ahead.shape
    filters.sub_(orthogonal(ahead).reshape(filters.shape), alpha=rate * (outputs / inputs) ** 0.5)


def _centred_muon_step(filters: Tensor, gradient: Tensor, state: dict[str, Tensor], rate: float) -> None:
    _muon_step(filters, gradient - gradient.mean((1, 2, 3), keepdim=True), state, rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest (semi-)orthogonal matrix to a matrix (M, N), by Newton and Schulz's iteration."""
    if len(matrix) > matrix.shape[1]:
        return orthogonal(matrix.T).T
    x: Tensor = matrix / (matrix.norm() + EPSILON)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


def _adam_step(vector: Tensor, gradient: Tensor, state: dict[str, Tensor], rate: float) -> None:
    if not state:
        state |= {"steps": torch.zeros(()), "mean": torch.zeros_like(vector), "square": torch.zeros_like(vector)}
    state["steps"] += 1
    state["mean"].lerp_(gradient, 1 - BETAS[0])
    state["square"].lerp_(gradient.square(), 1 - BETAS[1])
    unbiased = [1 - beta ** state["steps"] for beta in BETAS]
    size = (state["square"] / unbiased[1]).sqrt_().add_(EPSILON)
    vector.sub_(rate / unbiased[0] * state["mean"] / size)
