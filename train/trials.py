"""What a search minimises: J of every painting, trained from nothing else than a trial's settings.

The paintings are trained side by side, a tenth of the steps each in turn, so that each look at a trial is at all of
them and a bad one is given up early.
"""

import hashlib
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .checkpoint import FOLDER
from .config import TrainConfig
from .photos import middle_crop
from .run_folder import EVENTS
from .space import SMALL_TERMS, steps_for_equal_work
from .trainer import Progress, Trainer
from .tune import Attempt

LOOKS = 10
"""Parts of a training, with a look at photos that are not trained on after each."""


@dataclass(frozen=True)
class Goal:
    """What the paintings and photos are, measured before the search."""

    k: dict[str, float]
    """Weight of the style by painting, at strength 1: fixed, or the search would win by lowering it."""
    facts: dict[str, Any]
    """What must be the same for trials to be comparable, by flag."""


def measure_goal(configs: Mapping[str, TrainConfig]) -> Goal:
    """Look at paintings, photos and loss network as a training does.

    Raises:
        InputError: a training could not begin with them, or no photo is left to judge by.
    """
    k, paintings = {}, {}
    for name, config in configs.items():
        trainer = Trainer(config)
        if not trainer.val_photos:
            raise InputError("no photo can be decoded to judge by: give other --val-photos")
        if (yardstick := trainer.yardstick) is None:
            raise InputError("a search is judged by VGG-19, which is not here: give --vgg-weights")
        _, vgg_sha256 = yardstick
        k[name] = trainer.objective.k
        paintings[name] = _digest(trainer.painting.tobytes())
    facts = {
        "PAINTING": paintings,
        "--photos": trainer.photos.fingerprint,
        "--val-photos": _digest(b"".join(photo.tobytes() for photo in trainer.val_photos)),
        "--loss-network": trainer.loss_network["sha256"][:12],
        "--vgg-weights": vgg_sha256[:12],
    }
    return Goal(k, facts)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


@dataclass(frozen=True)
class PaintingTrials:
    """The function to minimise: trains each painting with the trial's settings and returns J on photos it never saw.

    Where the search varies the weight of a small term (`SMALL_TERMS`), J alone would set it to 0. Then what these terms
    come to, at their default weights, is added to J.
    """

    configs: Mapping[str, TrainConfig]
    """By name of the painting, with `style_weight` and `steps` given."""
    with_small_terms: bool = False
    keep: bool = False
    """Keep checkpoints and TensorBoard events, not only reports and previews."""
    on_progress: Callable[[Attempt, str, Progress], None] = lambda attempt, name, progress: None
    stopped: Callable[[], bool] = lambda: False

    def __call__(self, attempt: Attempt) -> dict[str, float]:
        """J by painting. Raises as `tune.Objective` says."""
        configs = {name: self._configure(config, name, attempt) for name, config in self.configs.items()}
        try:
            with ExitStack() as stack:
                trainings = {
                    name: _Training(stack.enter_context(Trainer(config)), self.configs[name].size)
                    for name, config in configs.items()
                }
                return self._train(trainings, attempt)
        except torch.OutOfMemoryError as error:
            raise InputError("out of GPU memory: try a smaller --batch or --size") from error
        finally:
            if not self.keep:
                _tidy(attempt.folder)

    def _configure(self, base: TrainConfig, name: str, attempt: Attempt) -> TrainConfig:
        config = replace(base, out=attempt.folder / name, early_stop=False, keep_checkpoints=1, **attempt.settings)
        assert base.steps is not None
        steps = steps_for_equal_work(base.steps, base, config)
        return replace(config, steps=steps, checkpoint_every=steps, preview_every=steps)

    def _train(self, trainings: "dict[str, _Training]", attempt: Attempt) -> dict[str, float]:
        seen = 0
        for look in range(1, LOOKS + 1):
            for name, training in trainings.items():
                for progress in training.advance(look / LOOKS):
                    self.on_progress(attempt, name, progress)
                    if self.stopped():
                        raise KeyboardInterrupt
            steps = sum(training.trainer.step for training in trainings.values())
            if look < LOOKS and steps > seen:  # a short training is not looked at twice after the same step
                seen = steps
                values = [training.look(with_small_terms=self.with_small_terms) for training in trainings.values()]
                attempt.report(look, statistics.fmean(values))
        return {name: t.measure(with_small_terms=self.with_small_terms) for name, t in trainings.items()}


class _Training:
    """One painting's, in parts, judged on crops that are the same whatever size it trains at."""

    def __init__(self, trainer: Trainer, crop_px: int) -> None:
        self.trainer, self.run = trainer, trainer.run()
        self.crops = [middle_crop(photo, crop_px).to(trainer.device) for photo in trainer.val_photos]

    def advance(self, share: float) -> Iterator[Progress]:
        """Train until that share of the steps is done; a share of 1 also writes the last checkpoint."""
        while share >= 1 or self.trainer.step < share * self.trainer.steps:
            progress = next(self.run, None)
            if progress is None:
                return
            yield progress

    def look(self, *, with_small_terms: bool) -> float:
        """J of the crops, as training goes on."""
        js = [self.trainer.objective.j(self.trainer.network, crop) for crop in self.crops]
        return statistics.fmean(js) + (self._small_terms() if with_small_terms else 0.0)

    def measure(self, *, with_small_terms: bool) -> float:
        """J by the yardstick, which the run's report holds too."""
        figures = self.trainer.finish()
        assert figures is not None
        return figures.j + (self._small_terms() if with_small_terms else 0.0)

    @torch.no_grad()
    def _small_terms(self) -> float:
        photos: Tensor = (torch.cat(self.crops) * 255).round().to(torch.uint8)
        parts = self.trainer.objective.losses(self.trainer.network, photos, 0)
        return sum(float(getattr(TrainConfig, weight) * parts[part]) for weight, part in SMALL_TERMS.items())


def _tidy(trial: Path) -> None:
    for run in trial.iterdir():
        for folder in (FOLDER, EVENTS):
            shutil.rmtree(run / folder, ignore_errors=True)
