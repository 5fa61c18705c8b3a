"""Trainings for the scripts that compare some: each is done once, goes on where it was stopped, and leaves a report."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from allaprima.models.transformer import ImageTransformer, build
from allaprima.terminal import console
from allaprima.train.checkpoint import load_checkpoint
from allaprima.train.config import COMPACT, DEFAULT_STEPS, TrainConfig
from allaprima.train.run_folder import REPORT, can_be_resumed
from allaprima.train.steadiness import Disturbance
from allaprima.train.trainer import Trainer

LINE_EVERY = 100


def add_places(parser: argparse.ArgumentParser) -> None:
    """The flags that say what trainings read, and where they leave what they come to."""
    parser.add_argument("--photos", required=True)
    parser.add_argument("--val-photos", type=Path, required=True)
    parser.add_argument("--vgg-weights", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")


def add_loss_network(parser: argparse.ArgumentParser) -> None:
    """The flag that says what a training minimises; what it comes to, VGG-19 judges."""
    parser.add_argument(
        "--loss-network", choices=("vgg19", COMPACT), default="vgg19", help="what trains; VGG-19 judges"
    )


def comparison_parser(description: str) -> argparse.ArgumentParser:
    """Of a script that trains some paintings in several ways: them, the places, `steps` and `size`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", type=Path, nargs="+")
    add_places(parser)
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    parser.add_argument("--size", type=int, default=TrainConfig.size)
    return parser


def config_of(arguments: argparse.Namespace, painting: Path, run: str, **settings: Any) -> TrainConfig:
    """Of a training with what the flags say, `--steps` and `--size` among them, to its last step, without the proof.

    VGG-19 judges, unless told otherwise: what is compared are not the loss networks.

    Args:
        arguments: those of `add_places`, and `size` and `steps`.
        painting: the file.
        run: name of the run's folder.
        settings: what differs.
    """
    usual = {
        "painting": painting,
        "photos": arguments.photos,
        "val_photos": arguments.val_photos,
        "loss_network": "vgg19",
        "vgg_weights": arguments.vgg_weights,
        "out": arguments.out / run,
        "steps": arguments.steps,
        "size": arguments.size,
        "early_stop": False,
        "proof": 0,
    }
    return TrainConfig(**(usual | settings))


def report_of(
    config: TrainConfig, network: ImageTransformer | None = None, *, disturbance: Disturbance | None = None
) -> dict[str, Any]:
    """The report of this training, which is done now if it was not.

    Args:
        config: of the training.
        network: in place of the configuration's build.
        disturbance: what the training for steadiness has happen, in place of the usual.
    """
    run = config.out
    assert run is not None
    if not (run / REPORT).exists():
        if can_be_resumed(run):
            config = replace(config, resume=run)
        with Trainer(config, network) as trainer:
            trainer.objective.disturbance = disturbance or trainer.objective.disturbance
            for progress in trainer.run():
                if progress.step % LINE_EVERY == 0:
                    console.print(f"{run.name}  step {progress.step}  loss {progress.losses['total']:.3f}")
            trainer.finish()
    report: dict[str, Any] = json.loads((run / REPORT).read_text())
    return report


def network_of(run: Path, network: ImageTransformer | None = None) -> ImageTransformer:
    """What a training has made: in `network`, or in one of its configuration's build."""
    checkpoint = load_checkpoint(run)
    network = network or build(checkpoint.config.build)
    checkpoint.fill(network)
    return network.eval()
