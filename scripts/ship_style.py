"""Put a trained run into the package: style file, thumbnail and model card.

    python scripts/ship_style.py runs/starry_night --photos-note "1,849 photos of public research collections"

The thumbnail is made from a photograph that may be passed on: NASA's of Eileen Collins, in scikit-image's wheel.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from make_demo_clip import photographs
from PIL import Image

from allaprima import load
from allaprima.cli import main as allaprima
from allaprima.contract import StyleCard
from allaprima.gallery import STYLES_FOLDER
from allaprima.infer.stylefile import read_card
from allaprima.pictures import read_picture, write_picture

THUMBNAIL_BOX = (60, 0, 380, 240)  # face and flag


def main() -> int:
    """Parse the arguments; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--photos-note", required=True, help="what it was trained on, in words")
    options = parser.parse_args()
    return ship_style(options.run, options.photos_note)


def ship_style(run: Path, photos_note: str) -> int:
    """Export, paint the thumbnail, write the card; returns the exit code."""
    name = json.loads((run / "report.json").read_text())["configuration"]["name"] or run.name
    style = STYLES_FOLDER / f"{name}.onnx"
    if code := allaprima(["export", str(run), "-o", str(style), "--int8"]):
        return code
    card = read_card(style)
    assert card is not None
    photo = read_picture(photographs() / "astronaut.png")
    thumbnail = Image.fromarray(load(style)(photo)).crop(THUMBNAIL_BOX)
    write_picture(style.with_suffix(".jpg"), np.asarray(thumbnail), quality=88)
    style.with_suffix(".md").write_text(model_card(card, photos_note), encoding="utf-8")
    return 0


def model_card(card: StyleCard, photos: str) -> str:
    """The card in Markdown: what the style is, what made it, what it measures."""
    training = card.training
    loss_network = card.loss_network["architecture"].replace("vgg", "VGG-")
    figures = card.figures
    known = (name for name in ("content", "style", "J") if name in figures)  # not without VGG-19's weights
    measured = ", ".join(f"{name} {figures[name]:.3f}" for name in known) or "not measured"
    ratio = f"{figures['optimality_ratio']:.2f}" if "optimality_ratio" in figures else "not measured"
    steady = "{flicker:.2f}, {motion:.2f}".format_map(figures) if "motion" in figures else "not measured"
    painting = ", ".join(part for part in (f"*{card.title}*", card.artist, card.year) if part)
    told = ("steps", "size", "style_weight", "motion_weight", "learning_rate")
    flags = " ".join(f"--{name.replace('_', '-')} {training[name]:g}" for name in told)
    flags += f" --loss-network {card.loss_network['architecture']}"
    return f"""# {card.name}

| | |
|---|---|
| painting | {painting}; {card.licence} |
| network | `{card.network["build"]}`, {card.network["parameters"]:,} parameters, {card.network["precision"]} |
| trained on | {photos}; {training["steps"]:,} steps of {training["batch"]} crops at {training["size"]} px |
| loss | content + {training["style_weight"]:g} x style, seed {training["seed"]} |
| loss network | {loss_network}, SHA-256 {card.loss_network["sha256"][:16]} |
| figures | {measured} (fp32; means over 8 unseen photos, shorter side 384 px) |
| optimality ratio | {ratio} (J over the least that the slow method finds on the same photos, 256 px) |
| flicker, error along motion | {steady} (of a still photo with noise and of a moved one, over the photo's own) |
| int8 | {figures["int8_psnr_db"]:.1f} dB from fp32, J {figures["int8_J_ratio"]:.3f} of its own, on 4 other photos |
| made with | `allaprima train {training["painting"]} --photos PHOTOS {flags}` |
| licence of this file | MIT |

The painting itself and the photos are not part of this package. Strokes, palette and texture are learnt from the
painting; faces and text may lose detail, and small objects may turn into strokes.
"""


if __name__ == "__main__":
    sys.exit(main())
