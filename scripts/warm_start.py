"""What the base saves: one painting from scratch, and from the base in fewer and fewer steps.

    python scripts/warm_start.py PAINTING --photos DIR --val-photos DIR --out RUNS      # goes on where it was stopped

All trainings weigh content and style alike, with the k of the painting at strength 1, and are judged on photos that
they never saw. Take a painting that the base was not made with (`KEPT_OUT` in scripts/make_base.py).
"""

import argparse
from pathlib import Path
from typing import Any

from make_base import KEPT_OUT
from rich.table import Table
from trainings import add_loss_network, add_places, config_of, report_of

from allaprima.terminal import console, show_table
from allaprima.train.config import BASE, SCRATCH, TrainConfig


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("painting", type=Path)
    add_places(parser)
    parser.add_argument("--scratch-steps", type=int, default=2000)
    parser.add_argument("--steps", type=int, nargs="+", default=[400, 250, 150, 75], help="from the base")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[TrainConfig.batch], help="photos a step, from the base"
    )
    add_loss_network(parser)
    arguments = parser.parse_args()
    if arguments.painting.stem not in KEPT_OUT:
        console.print(f"{arguments.painting.stem} is in the base: its figures will flatter")
    plan = [(SCRATCH, arguments.scratch_steps, TrainConfig.batch)]
    plan += [(BASE, steps, batch) for batch in arguments.batch for steps in arguments.steps]
    reports = [train(arguments, *planned) for planned in plan]
    whole = reports[0]["figures"]["j"]
    table = Table("from", "steps", "batch", "content", "style", "J", "J over scratch", "minutes")
    for (start, steps, batch), report in zip(plan, reports, strict=True):
        figures = report["figures"]
        table.add_row(
            start,
            str(steps),
            str(batch),
            *(f"{figures[name]:.3f}" for name in ("content", "style", "j")),
            f"{figures['j'] / whole:.3f}",
            f"{report['seconds'] / 60:.1f}",
        )
    console.print(
        f"{arguments.painting.stem}, {arguments.size} px, k = {reports[0]['configuration']['style_weight']:g}"
    )
    show_table(table)


def train(arguments: argparse.Namespace, start: str, steps: int, batch: int) -> dict[str, Any]:
    """The report of one training, which is done if it is not there."""
    run = f"{arguments.painting.stem}-{start}-{steps}" + (f"-batch-{batch}" if batch != TrainConfig.batch else "")
    loss_network = arguments.loss_network
    config = config_of(
        arguments, arguments.painting, run, from_=start, steps=steps, batch=batch, loss_network=loss_network
    )
    return report_of(config)


if __name__ == "__main__":
    main()
