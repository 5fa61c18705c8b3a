"""What the compact loss network costs: paintings learnt with it and with VGG-19, both judged by VGG-19.

    python scripts/loss_networks.py PAINTING ... --photos DIR --val-photos DIR --out RUNS    # goes on where it stopped

Each training finds the k of strength 1 with its own loss network, as a user's does; J is weighed with the k of VGG-19.
Take paintings that the compact network has not learnt from (`KEPT_OUT` in scripts/make_base.py). With `--last N`, the
compact network judges all steps of a third training but the last N, and VGG-19 those.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from rich.table import Table
from trainings import comparison_parser, config_of, report_of

from allaprima.models.features import weights_hash
from allaprima.terminal import console, show_table
from allaprima.train.config import COMPACT, LossNetwork
from allaprima.train.evaluate import YARDSTICK_LAYERS
from allaprima.train.loss_network import read_compact


def main() -> None:
    """Parse the arguments, train what is missing, show the table."""
    parser = comparison_parser(str(__doc__))
    parser.add_argument(
        "--last", type=int, default=0, metavar="N", help="steps that VGG-19 judges after the compact one"
    )
    arguments = parser.parse_args()
    judges = ["VGG-19", "compact", *(["compact, then VGG-19"] if arguments.last else [])]
    table, ratios = Table("painting", "k", "k, compact", *(f"J, {judge}" for judge in judges)), list[list[float]]()
    seconds = list[list[float]]()
    for painting in arguments.paintings:
        reports = trainings(painting, arguments)
        weights = [report["configuration"]["style_weight"] for report in reports[:2]]
        j = [report["figures"]["content"] + weights[0] * report["figures"]["style"] for report in reports]
        ratios.append([value / j[0] for value in j])
        seconds.append([report["seconds"] for report in reports])
        cells = (f"{value:.3f} ({ratio:.3f})" for value, ratio in zip(j, ratios[-1], strict=True))
        table.add_row(painting.stem, *(f"{k:g}" for k in weights), *cells)
    means = (f"{statistics.fmean(column):.3f}" for column in zip(*ratios, strict=True))
    table.add_row("mean of the ratios", "", "", *means)
    table.add_row(
        "seconds, median", "", "", *(f"{statistics.median(column):.0f}" for column in zip(*seconds, strict=True))
    )
    console.print(f"{arguments.steps} steps at {arguments.size} px; J (and over VGG-19's)")
    show_table(table)


def trainings(painting: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The reports of a painting's, which are done if they are not there: by VGG-19, compact, with `--last` by both."""
    which = weights_hash(read_compact(YARDSTICK_LAYERS))[:8]  # there may be others

    def by(network: LossNetwork, name: str, **settings: Any) -> dict[str, Any]:
        return report_of(config_of(arguments, painting, f"{painting.stem}-{name}", loss_network=network, **settings))

    reports = [by("vgg19", "vgg19"), by(COMPACT, f"compact-{which}")]
    if arguments.last:
        steps = arguments.steps - arguments.last
        begin = by(COMPACT, f"compact-{which}-{steps}", steps=steps)
        start = begin["configuration"]["out"]
        end = by("vgg19", f"compact-{which}-{steps}-vgg19-{arguments.last}", from_=start, steps=arguments.last)
        reports.append(end | {"seconds": begin["seconds"] + end["seconds"]})
    return reports


if __name__ == "__main__":
    main()
