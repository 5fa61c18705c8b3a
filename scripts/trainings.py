"""Trainings for the scripts that compare some: each is done once, goes on where it was stopped, and leaves a report."""

import json
from dataclasses import replace
from typing import Any

from allaprima.models.transformer import ImageTransformer
from allaprima.terminal import console
from allaprima.train.config import TrainConfig
from allaprima.train.run_folder import CHECKPOINTS, REPORT
from allaprima.train.trainer import Trainer

LINE_EVERY = 100


def report_of(config: TrainConfig, network: ImageTransformer | None = None) -> dict[str, Any]:
    """The report of this training, which is done now if it was not; `network` in place of the configuration's build."""
    run = config.out
    assert run is not None
    if not (run / REPORT).exists():
        if (run / CHECKPOINTS).is_dir():
            config = replace(config, resume=run)
        with Trainer(config, network) as trainer:
            for progress in trainer.run():
                if progress.step % LINE_EVERY == 0:
                    console.print(f"{run.name}  step {progress.step}  loss {progress.losses['total']:.3f}")
            trainer.finish()
    report: dict[str, Any] = json.loads((run / REPORT).read_text())
    return report
