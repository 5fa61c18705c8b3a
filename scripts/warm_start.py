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
from trainings import add_places, config_of, report_of

from allaprima.terminal import console, show_table


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("painting", type=Path)
    add_places(parser)
    parser.add_argument("--scratch-steps", type=int, default=2000)
    parser.add_argument("--steps", type=int, nargs="+", default=[400, 250, 150, 75], help="from the base")
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    if arguments.painting.stem not in KEPT_OUT:
        console.print(f"{arguments.painting.stem} is in the base: its figures will flatter")
    plan = [("scratch", arguments.scratch_steps), *(("base", steps) for steps in arguments.steps)]
    reports = [train(arguments, start, steps) for start, steps in plan]
    whole = reports[0]["figures"]["j"]
    table = Table("from", "steps", "content", "style", "J", "J over scratch", "minutes")
    for (start, steps), report in zip(plan, reports, strict=True):
        figures = report["figures"]
        table.add_row(
            start,
            str(steps),
            *(f"{figures[name]:.3f}" for name in ("content", "style", "j")),
            f"{figures['j'] / whole:.3f}",
            f"{report['seconds'] / 60:.1f}",
        )
    console.print(
        f"{arguments.painting.stem}, {arguments.size} px, k = {reports[0]['configuration']['style_weight']:g}"
    )
    show_table(table)


def train(arguments: argparse.Namespace, start: str, steps: int) -> dict[str, Any]:
    """The report of one training, which is done if it is not there."""
    config = config_of(
        arguments, arguments.painting, f"{arguments.painting.stem}-{start}-{steps}", from_=start, steps=steps
    )
    return report_of(config)


if __name__ == "__main__":
    main()
