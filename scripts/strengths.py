"""Does --strength move the picture evenly? Short trainings at five strengths, in one picture with the figures.

    python scripts/strengths.py PAINTING ... --photos DIR --val-photos DIR --out RUNS --picture docs/strength.jpg

The picture has a row for each painting: the frame as it is, then what the trainings make of it, weakest first. `step`
is how far apart two neighbours are: the relative distance of their VGG-19 features where content is judged.
"""

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from make_demo_clip import frame_at
from PIL import Image
from rich.table import Table
from trainings import add_places, config_of, network_of, report_of

from allaprima.models.vgg import VGGFeatures, load_vgg
from allaprima.pictures import Frame, write_picture
from allaprima.terminal import console, show_table
from allaprima.train.config import CONTENT_LAYER
from allaprima.train.evaluate import stylize
from allaprima.train.losses import relative_distance
from allaprima.train.photos import to_tensor

STRENGTHS = (0.25, 0.5, 1.0, 1.5, 2.0)
DEMO_FRAME = 24
ROW_PX = 240


def main() -> None:
    """Train what is missing, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", type=Path, nargs="+")
    add_places(parser)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--size", type=int, default=160)
    arguments = parser.parse_args()
    frame = frame_at(DEMO_FRAME)
    vgg, _ = load_vgg([CONTENT_LAYER], weights=arguments.vgg_weights)
    table, rows = Table("painting", "strength", "k", "content", "style", "step"), []
    for painting in arguments.paintings:
        reports = [train(arguments, painting, strength) for strength in STRENGTHS]
        pictures = [frame, *(paint(arguments.out / name(painting, s), frame) for s in STRENGTHS)]
        rows.append(np.concatenate([fit(picture) for picture in pictures], axis=1))
        for strength, report, step in zip(STRENGTHS, reports, steps(vgg, pictures), strict=True):
            k, figures = report["configuration"]["style_weight"], report["figures"]
            cells = (f"{figures['content']:.3f}", f"{figures['style']:.4f}", f"{step:.3f}")
            table.add_row(painting.stem, f"{strength:g}", f"{k:g}", *cells)
    show_table(table)
    write_picture(arguments.picture, np.concatenate(rows), quality=85)
    console.print(f"{arguments.picture} written")


def name(painting: Path, strength: float) -> str:
    """Of the run folder."""
    return f"{painting.stem}-{strength:g}"


def train(arguments: argparse.Namespace, painting: Path, strength: float) -> dict[str, Any]:
    """The report of one training."""
    config = config_of(arguments, painting, name(painting, strength), strength=strength)
    return report_of(config)


def paint(run: Path, frame: Frame) -> Frame:
    """What a trained run makes of a frame."""
    return stylize(network_of(run), frame)


@torch.inference_mode()
def steps(vgg: VGGFeatures, pictures: list[Frame]) -> list[float]:
    """How far each picture is from the one before."""
    features = [vgg(to_tensor(picture))[CONTENT_LAYER] for picture in pictures]
    return [relative_distance(after, before).item() ** 0.5 for before, after in pairwise(features)]


def fit(picture: Frame) -> Frame:
    """Scaled to the height of a row."""
    width = round(picture.shape[1] * ROW_PX / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, ROW_PX), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
