"""What real photos are worth: paintings learnt from them and from synthetic ones, judged on real ones that neither saw.

    python scripts/without_photos.py PAINTING ... --photos DIR --val-photos DIR --out RUNS    # goes on where it stopped

Both trainings of a painting are by the default loss network, and weigh content and style with the k that strength 1 has
on the real photos. The mean of the ratios is what `J_RATIO` in train/synthetic.py says.
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table
from trainings import comparison_parser, config_of, report_of

from allaprima.models.vgg import find_weights
from allaprima.terminal import console, show_table
from allaprima.train.config import LOSS_NETWORK, SYNTHETIC


def main() -> None:
    """Parse the arguments, train what is missing, show the table."""
    arguments = comparison_parser(str(__doc__)).parse_args()
    find_weights("vgg19", arguments.vgg_weights)  # for the figures alone a training does not download them
    table, ratios = Table("painting", "k", "J, real photos", "J, synthetic ones", "ratio"), []
    for painting in arguments.paintings:
        real, synthetic = train(painting, arguments)
        j = [report["figures"]["j"] for report in (real, synthetic)]
        ratios.append(j[1] / j[0])
        k = real["configuration"]["style_weight"]
        table.add_row(painting.stem, f"{k:g}", *(f"{value:.3f}" for value in j), f"{ratios[-1]:.3f}")
    console.print(f"{arguments.steps} steps at {arguments.size} px")
    show_table(table)
    console.print(f"mean of the ratios: {statistics.fmean(ratios):.3f}")


def train(painting: Path, arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The reports of the trainings on real and on synthetic photos."""
    config = config_of(arguments, painting, f"{painting.stem}-real", loss_network=LOSS_NETWORK)
    real = report_of(config)
    k, run = real["configuration"]["style_weight"], arguments.out / f"{painting.stem}-{SYNTHETIC}"
    return real, report_of(replace(config, photos=SYNTHETIC, style_weight=k, out=run))


if __name__ == "__main__":
    main()
