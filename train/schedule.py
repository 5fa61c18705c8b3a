"""The learning rate by step: up, level, and down along a cosine; the way down begins early once nothing is gained."""

import math
from dataclasses import dataclass, field

from .config import TrainConfig

JUDGE_EVERY = 50
"""Steps between two looks at photos that are not trained on."""
WINDOW = 4  # looks averaged: a single one goes up and down by a few percent
LEAST_GAIN = 0.01  # of J, from one window to the next


@dataclass
class Schedule:
    """What a training has planned; a checkpoint keeps it, so that a resumed one goes on alike."""

    highest: float
    """Learning rate of the level part."""
    steps: int
    """Of the whole training; fewer once `judge` has seen enough."""
    warmup: float
    """Steps over which the rate rises."""
    decay: int
    """Steps over which it falls to zero, the last ones."""
    judged: list[float] = field(default_factory=list)
    """J of photos that are not trained on, every `JUDGE_EVERY` steps."""

    @classmethod
    def plan(cls, config: TrainConfig, steps: int) -> "Schedule":
        """As the configuration has it, for `steps` steps."""
        return cls(config.learning_rate, steps, config.warmup * steps, round(config.decay * steps))

    def rate(self, step: int) -> float:
        """Learning rate of the step numbered `step`, from 0."""
        if step < self.warmup:
            return self.highest * (step + 1) / (self.warmup + 1)
        down = max(0.0, (step - (self.steps - self.decay)) / max(1, self.decay))
        return self.highest * 0.5 * (1 + math.cos(math.pi * down))

    def wants_judgement(self, step: int) -> bool:
        """Whether a look after `step` steps can change anything."""
        return step % JUDGE_EVERY == 0 and self.warmup <= step < self.steps - self.decay

    def judge(self, step: int, j: float) -> bool:
        """Take J after `step` steps; where it no longer falls, the way down begins now, and the answer is True."""
        self.judged.append(j)
        if len(self.judged) < 2 * WINDOW:
            return False
        before, now = (sum(part) / WINDOW for part in (self.judged[-2 * WINDOW : -WINDOW], self.judged[-WINDOW:]))
        if not now >= (1 - LEAST_GAIN) * before:  # nor where there is nothing to judge by
            return False
        self.steps = step + self.decay
        return True
