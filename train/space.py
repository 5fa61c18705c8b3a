"""What a search may vary, and from where to where. Light: the command line reads it before anything is searched.

What defines the goal is not here: strength, stroke size, layers, the loss network. A search over those would move the
finish instead of getting there sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from .config import TrainConfig

Value = float | int | bool


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, even on a logarithmic scale where `log`, else in steps of `step`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (" (log)" if self.log else "")


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]

    def __str__(self) -> str:
        return ", ".join(str(value).lower() for value in self.values)


Space = dict[str, Range | Choice]
RANGES: Space = {
    "learning_rate": Range(6e-3, 0.2, log=True),
    "warmup": Range(0, 0.3, step=0.01),
    "decay": Range(0.1, 0.7, step=0.01),
    "clip": Range(0.1, 10, log=True),
    "flip": Choice((True, False)),
    "tv_weight": Range(0.005, 0.5, log=True),
    "grid_weight": Range(0.2, 20, log=True),
    "motion_weight": Range(0.1, 10, log=True),
}
"""Setting of `TrainConfig` -> where it is searched; its default lies within."""
FACTORS = {"batch": (0.5, 1, 2, 4), "size": (0.5, 0.75, 1, 1.5)}
"""Setting whose range goes by its own value -> the multiples of that."""
SMALL_TERMS = {"tv_weight": "tv", "grid_weight": "grid", "motion_weight": "motion"}
"""Weights of the terms that J leaves out -> the terms."""
KNOWN = (*RANGES, *FACTORS)
USUAL = ("learning_rate", "warmup", "decay", "clip")


def parse_names(text: str) -> tuple[str, ...]:
    """`learning-rate, clip` -> names of settings, each once.

    Raises:
        InputError: one that is not known, or none.
    """
    names = tuple(dict.fromkeys(word.strip().replace("-", "_") for word in text.split(",") if word.strip()))
    for name in names:
        if name not in KNOWN:
            raise InputError(f"--over: got '{name}', expected some of {', '.join(KNOWN)}")
    if not names:
        raise InputError(f"--over: got nothing, expected some of {', '.join(KNOWN)}")
    return names


def search_space(names: Sequence[str], *, batch: int, size: int) -> Space:
    """Each name's range; those of `batch` and `size` lie around the values given."""
    return {name: RANGES[name] if name in RANGES else _around(name, {"batch": batch, "size": size}) for name in names}


def _around(name: str, given: dict[str, int]) -> Choice:
    least = {"batch": 1, "size": 64}[name]
    return Choice(tuple(sorted({max(least, round(factor * given[name])) for factor in FACTORS[name]})))


def steps_for_equal_work(steps: int, base: TrainConfig, trial: TrainConfig) -> int:
    """Steps in which `trial` sees as many pixels as `base` in `steps`: larger batches must not win by more work."""
    pixels = base.batch * base.size**2 / (trial.batch * trial.size**2)
    return max(1, round(steps * pixels))


def readable(value: Value) -> Value:
    """A figure that people can read and type again: three digits."""
    return value if isinstance(value, bool | int) else float(f"{value:.3g}")
