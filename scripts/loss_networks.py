"""What the compact loss network costs: paintings learnt with it and with VGG-19, both judged by VGG-19.

    python scripts/loss_networks.py PAINTING ... --photos DIR --val-photos DIR --out RUNS    # goes on where it stopped

Each training finds the k of strength 1 with its own loss network, as a user's does; J is weighed with the k of VGG-19.
Take paintings that the compact network has not learnt from (`KEPT_OUT` in scripts/make_base.py).
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from rich.table import Table
from trainings import config_of, parse_comparison, report_of

from allaprima.models.features import weights_hash
from allaprima.terminal import console, show_table
from allaprima.train.config import COMPACT, LossNetwork
from allaprima.train.evaluate import YARDSTICK_LAYERS
from allaprima.train.loss_network import read_compact

NETWORKS: tuple[LossNetwork, ...] = ("vgg19", COMPACT)


def main() -> None:
    """Parse the arguments, train what is missing, show the table."""
    arguments = parse_comparison(str(__doc__))
    table, ratios = Table("painting", "k", "k, compact", "J", "J, compact", "ratio", "s", "s, compact"), []
    for painting in arguments.paintings:
        reports = [train(painting, network, arguments) for network in NETWORKS]
        weights = [report["configuration"]["style_weight"] for report in reports]
        j = [report["figures"]["content"] + weights[0] * report["figures"]["style"] for report in reports]
        ratios.append(j[1] / j[0])
        seconds = [f"{report['seconds']:.0f}" for report in reports]
        table.add_row(
            painting.stem, *(f"{k:g}" for k in weights), *(f"{value:.3f}" for value in (*j, ratios[-1])), *seconds
        )
    console.print(f"{arguments.steps} steps at {arguments.size} px")
    show_table(table)
    console.print(f"mean of the ratios: {statistics.fmean(ratios):.3f}")


def train(painting: Path, network: LossNetwork, arguments: argparse.Namespace) -> dict[str, Any]:
    """The report of one training, which is done if it is not there."""
    which = f"-{weights_hash(read_compact(YARDSTICK_LAYERS))[:8]}" if network == COMPACT else ""  # there may be others
    return report_of(config_of(arguments, painting, f"{painting.stem}-{network}{which}", loss_network=network))


if __name__ == "__main__":
    main()
