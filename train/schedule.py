"""The learning rate as a function of the step alone, so that a resumed training needs no scheduler state."""

import math

from .config import TrainConfig


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Rate of the step numbered `step` (from 0) of `steps`: linear warm-up, then a cosine down to zero."""
    warmup = config.warmup * steps
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup)))
