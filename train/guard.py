"""Notices a training that has gone wrong and says what to do about it: roll back, slow down, or give up."""

import math
from collections.abc import Mapping, Sequence

from ..errors import InputError

SLOW_DOWN = 0.5
ATTEMPTS = 3
LEAST_CONTRAST = 0.01  # standard deviation of a picture in 0..1; a photo has about 0.2


class Guard:
    """Judges the log of the last few steps; counts the rollbacks."""

    def __init__(self, *, rate_scale: float = 1.0) -> None:
        self.rate_scale = rate_scale
        self.rollbacks = 0

    def trouble(self, log: Sequence[Mapping[str, float]], *, warming_up: bool) -> str | None:
        """What is wrong with these steps (`total` and `contrast` of each), or None.

        A fresh network may start out flat, so contrast counts only after the warm-up.
        """
        if not all(math.isfinite(value) for entry in log for value in entry.values()):
            return "the loss is not a number any more"
        if not warming_up and max(entry["contrast"] for entry in log) < LEAST_CONTRAST:
            return "the network paints one flat colour"
        return None

    def slow_down(self, trouble: str) -> str:
        """Lower the rate and return the words for it.

        Raises:
            InputError: it was lowered often enough.
        """
        self.rollbacks += 1
        if self.rollbacks > ATTEMPTS:
            raise InputError(
                f"training gave up: {trouble}, also after {ATTEMPTS} rollbacks: "
                "try a lower --learning-rate or --strength, or --precision fp32"
            )
        self.rate_scale *= SLOW_DOWN
        return f"{trouble}: back to the last good step, learning rate now {self.rate_scale:g} of the planned"
