"""The styles that ship: trained, exported, and shown in one picture.

scripts/gallery train PAINTINGS --photos DIR --val-photos DIR --out RUNS    # goes on where it was stopped
scripts/gallery sheet RUNS sheet.jpg --frame me.jpg # all that is trained, to look at and choose from
scripts/gallery ship RUNS --photos-note "..."       # allaprima/styles: style file, thumbnail and card of each
scripts/gallery draw docs/gallery.jpg               # what they make of one frame of the demo clip

`train --all` takes every painting of the folder, the gallery's and the others: does one setting do for all of them?
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from compare import DEMO_FRAME, fit, read_frame
from make_demo_clip import frame_at
from PIL import Image, ImageOps

from allaprima import load
from allaprima.cli import main as allaprima
from allaprima.commands.styles import contact_sheet
from allaprima.gallery import shipped_styles
from allaprima.pictures import find_pictures, read_picture, write_picture
from allaprima.terminal import console


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A painting that is worth a style, and how it is trained."""

    title: str
    artist: str = ""
    year: str = ""
    licence: str = "public domain"


# Udnie was trained too: on faces it is little more than a grey photo.
GALLERY = {
    "starry_night": Piece(title="The Starry Night", artist="Vincent van Gogh", year="1889"),
    "great_wave": Piece(title="The Great Wave off Kanagawa", artist="Katsushika Hokusai", year="c. 1831"),
    "composition_vii": Piece(title="Composition VII", artist="Wassily Kandinsky", year="1913"),
    "edtaonisl": Piece(title="Edtaonisl", artist="Francis Picabia", year="1913"),
    "delaunay_portrait": Piece(title="Portrait", artist="Robert Delaunay", year="1906"),
    "mondrian_cubist": Piece(title="Cubist composition", artist="Piet Mondrian", year="c. 1913"),
    "skeleton_spectre": Piece(
        title="Takiyasha the Witch and the Skeleton Spectre", artist="Utagawa Kuniyoshi", year="c. 1844"
    ),
    "macke_flower_box": Piece(title="Flower box", artist="August Macke", year=""),
    "cafe_terrace": Piece(title="Café Terrace at Night", artist="Vincent van Gogh", year="1888"),
    "the_scream": Piece(title="The Scream", artist="Edvard Munch", year="1893"),
    "water_lilies": Piece(title="Water Lilies", artist="Claude Monet", year="1919"),
    "stained_glass_synth": Piece(title="Stained glass", artist="made by a program", year="", licence="CC0"),
}


def main() -> int:
    """Run one verb; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    training = verbs.add_parser("train", help="train what is not trained yet")
    training.add_argument("paintings", type=Path, help="folder with a NAME.jpg for each")
    training.add_argument("--photos", required=True)
    training.add_argument("--val-photos", required=True)
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--only", nargs="+", metavar="NAME", default=list(GALLERY))
    training.add_argument("--all", action="store_true", help="every painting of the folder, the gallery's first")
    training.set_defaults(run=train)
    looking = verbs.add_parser("sheet", help="all that is trained, in one picture: the painting, then what it paints")
    looking.add_argument("runs", type=Path)
    looking.add_argument("picture", type=Path)
    looking.add_argument("--frame", action="append", default=[], help="a picture, or CLIP:NUMBER; default: demo clip")
    looking.add_argument("--columns", type=int, default=2, help="runs beside each other")
    looking.set_defaults(run=sheet)
    shipping = verbs.add_parser("ship", help="export what is trained, with thumbnails and cards")
    shipping.add_argument("runs", type=Path)
    shipping.add_argument("--photos-note", required=True, help="what they were trained on, in words")
    shipping.add_argument("--only", nargs="+", choices=GALLERY, default=list(GALLERY))
    shipping.set_defaults(run=ship)
    drawing = verbs.add_parser("draw", help="all that ship, in one picture")
    drawing.add_argument("picture", type=Path)
    drawing.set_defaults(run=draw)
    options, rest = parser.parse_known_args()
    options.rest = rest  # flags of `allaprima train`
    return int(options.run(options) or 0)


def train(options: argparse.Namespace) -> int:
    """One after the other, as a user would."""
    from allaprima.train.run_folder import can_be_resumed

    paintings = {path.stem: path for path in find_pictures(options.paintings)}
    if unknown := [name for name in options.only if name not in paintings]:
        sys.exit(f"no painting for {', '.join(unknown)} in {options.paintings}")
    for name in list(dict.fromkeys([*GALLERY, *paintings])) if options.all else options.only:
        piece, run = GALLERY.get(name, Piece(title=name.replace("_", " "))), options.out / name
        if (run / f"{name}.onnx").exists():
            continue
        words = (
            ["--resume", str(run)]
            if can_be_resumed(run)
            else [
                str(paintings[name]),
                *("--photos", options.photos, "--val-photos", options.val_photos, "--out", str(run)),
                *(word for key in ("title", "artist", "year", "licence") for word in (f"--{key}", getattr(piece, key))),
                *options.rest,
            ]
        )
        if code := allaprima(["train", *words]):
            return code
    return 0


def ship(options: argparse.Namespace) -> int:
    """Those that are trained."""
    from ship_style import ship_style

    for run in finished(options.runs):
        if run.name in options.only and (code := ship_style(run, options.photos_note)):
            return code
    return 0


def finished(runs: Path) -> list[Path]:
    """Run folders whose training has come to its style file."""
    return sorted(path.parent for path in runs.glob("*/*.onnx") if path.stem == path.parent.name)


def sheet(options: argparse.Namespace) -> None:
    """A row a run, in columns."""
    frames = [read_frame(name) for name in options.frame] or [frame_at(DEMO_FRAME)]
    rows = []
    for run in finished(options.runs):
        configuration = json.loads((run / "report.json").read_text())["configuration"]
        style = load(run / f"{run.name}.onnx")
        painting = read_picture(Path(configuration["painting"]), what="painting")
        tile = ImageOps.fit(Image.fromarray(painting), (480, 480))
        rows.append(np.concatenate([np.asarray(tile), *(fit(style(frame)) for frame in frames)], axis=1))
        console.print(f"row {len(rows)}: {run.name}, k = {configuration['style_weight']:g}")
    rows += [np.full_like(rows[0], 255)] * (-len(rows) % options.columns)
    high = len(rows) // options.columns
    columns = [np.concatenate(rows[i * high : (i + 1) * high]) for i in range(options.columns)]
    picture = Image.fromarray(np.concatenate(columns, axis=1))
    picture.thumbnail((picture.width // 2, picture.height // 2))
    write_picture(options.picture, np.asarray(picture), quality=88)


def draw(options: argparse.Namespace) -> None:
    """The thumbnails with their names, as `allaprima styles --contact-sheet` has them."""
    write_picture(options.picture, contact_sheet(shipped_styles()), quality=88)
    console.print(f"{options.picture}: {len(shipped_styles())} styles")


if __name__ == "__main__":
    sys.exit(main())
