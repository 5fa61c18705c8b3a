"""What J does not see, for any style files: grids, tinted edges and steadiness (allaprima.train.artefacts).

    python scripts/yardstick.py starry_night other.onnx --yardstick-photos DIR --motion PAN.mp4 --still CLIP.mp4

A motion is a folder of the Middlebury flow benchmark (frame10.png, frame11.png, flow10.flo) or a clip with its affine
motions beside it, in CLIP.json. A still clip shows a scene in which nothing moves but the camera's noise.

Columns: grid at each period; tint: how much an edge is coloured for being one, in grey levels; motion: error along true
motion over the photo's; alive: change where the photo moves, over the photo's; flicker: change of a still clip, over
the photo's; and on clips made up from the first photos (allaprima.train.scenes): noise, flicker with stronger noise;
lamp and enters, change of the painting where the photo does not change, over the photo's change all in all, when a lamp
swells and when something enters at the edge. Films are painted with slow norms, as `cam` does, or with `--bare` as
photos are; `--smooth 0.7` shows what `video` makes of it, and strokes, how far they then still stand out where a clip
(`--moving`) is plain, over those not smoothed.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

import allaprima
from allaprima.errors import InputError
from allaprima.infer.clip import open_clip
from allaprima.infer.smoothing import Smoothed, Smoother
from allaprima.pictures import Frame, find_pictures, read_picture
from allaprima.terminal import show_table
from allaprima.train.artefacts import (
    GRID_PERIODS,
    Motion,
    Stylize,
    changes,
    fading,
    flicker,
    grid,
    liveliness,
    motion_error,
    tint,
)
from allaprima.train.photos import resize_shorter
from allaprima.train.scenes import entering, lamp, noisy

PHOTO_PX = 384
SCENES = 4
STRONG_NOISE = 6.0  # grey levels, standard deviation


@dataclass(frozen=True)
class Yardstick:
    """What networks are shown."""

    photos: Sequence[Frame]
    motions: Sequence[Motion]
    still: Sequence[Frame]
    moving: Sequence[Frame] = ()

    def measure(self, stylize: Stylize, smooth: float = 0, *, film: Stylize | None = None) -> dict[str, float]:
        """`grid/2`, `grid/4`, `grid/8` (medians over the photos), `tint` and so on; those there is material for.

        Moving pictures are smoothed as much as `smooth`, 0..1, and painted by `film`, by default as photos are.
        """
        paint = film or stylize
        film = Smoothed(paint, smooth) if smooth else paint
        figures: dict[str, float] = {}
        if self.photos:
            paintings = [stylize(photo) for photo in self.photos]
            grids = [grid(painting) for painting in paintings]
            figures |= {f"grid/{p}": float(np.median([g[p] for g in grids])) for p in GRID_PERIODS}
            figures["tint"] = tint(stylize, self.photos, paintings)
            figures |= measure_scenes(film, self.photos[:SCENES])
        if self.motions:
            figures["motion"] = motion_error(film, self.motions)
            figures["alive"] = liveliness(film, self.motions)
        if self.still:
            figures["flicker"] = flicker(film, self.still)
        if self.moving and smooth:
            smoother = Smoother()
            films = ((photo, p := paint(photo), smoother(lambda _: p.copy(), photo, smooth)) for photo in self.moving)
            figures["strokes"] = fading(films)
        return figures


def measure_scenes(stylize: Stylize, photos: Sequence[Frame]) -> dict[str, float]:
    """`noise`, `lamp` and `enters`: means over clips made up from the photos."""
    figures = {"noise": [flicker(stylize, noisy(photo, deviation=STRONG_NOISE)) for photo in photos]}
    for name, scene in (("lamp", lamp), ("enters", entering)):
        figures[name] = [changes(stylize, scene(photo)).spill for photo in photos]
    return {name: float(np.mean(values)) for name, values in figures.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `read_yardstick` reads."""
    parser.add_argument("--yardstick-photos", type=Path, help="folder of photos that no network was trained on")
    parser.add_argument("--yardstick-count", type=int, default=24, help="how many of them")
    parser.add_argument("--motion", type=Path, action="append", default=[], help="flow folder, or clip with CLIP.json")
    parser.add_argument("--still", type=Path, help="clip of a still scene with noise")
    parser.add_argument("--moving", type=Path, help="clip by a camera that moves")


def read_yardstick(arguments: argparse.Namespace) -> Yardstick:
    """The material that the flags name."""
    paths = find_pictures(arguments.yardstick_photos)[: arguments.yardstick_count] if arguments.yardstick_photos else []
    photos = [resize_shorter(read_picture(path), PHOTO_PX) for path in paths]
    motions = [m for path in arguments.motion for m in ([read_motion(path)] if path.is_dir() else read_pan(path))]
    still = frames_of(arguments.still)[:10] if arguments.still else []
    moving = [resize_shorter(frame, PHOTO_PX) for frame in frames_of(arguments.moving)[:60]] if arguments.moving else []
    return Yardstick(photos, motions, still, moving)


def read_motion(folder: Path) -> Motion:
    """A scene of the Middlebury flow benchmark (Baker et al. 2011): frame10.png, frame11.png, flow10.flo.

    Raises:
        InputError: a file is missing or is not what it should be.
    """
    path = folder / "flow10.flo"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"flow '{path}' cannot be read ({error.strerror})") from error
    width, height = np.frombuffer(data[4:12], np.int32) if len(data) >= 12 else (0, 0)
    if data[:4] != b"PIEH" or len(data) != 12 + 8 * int(width) * int(height):
        raise InputError(f"flow '{path}' is not a Middlebury .flo file")
    flow = np.frombuffer(data[12:], np.float32).reshape(height, width, 2).copy()
    flow[abs(flow) > 1e6] = np.nan
    return Motion(read_picture(folder / "frame10.png"), read_picture(folder / "frame11.png"), flow)


def read_pan(clip: Path, *, every: int = 30) -> list[Motion]:
    """Every `every`-th pair of frames of a clip whose motion stands beside it, in CLIP.json.

    There, `forward` holds a 2x3 affine matrix for each frame: its pixel (x, y) is at matrix @ (x, y, 1) in the next.

    Raises:
        InputError: the clip or its motion cannot be read.
    """
    path = clip.with_suffix(".json")
    try:
        affine = np.array(json.loads(path.read_text())["forward"], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"motion '{path}' cannot be read: {error}") from error
    frames = frames_of(clip)
    height, width = frames[0].shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    motions = []
    for index in range(every // 2, min(len(affine), len(frames) - 1), every):
        m = affine[index]
        flow = [row[0] * x + row[1] * y + row[2] - at for row, at in zip(m, (x, y), strict=True)]
        motions.append(Motion(frames[index], frames[index + 1], np.stack(flow, -1).astype(np.float32)))
    return motions


def frames_of(clip: Path) -> list[Frame]:
    """All frames of a clip, (H, W, 3) uint8 RGB."""
    with open_clip(clip) as opened:
        return [shot.picture for shot in opened.shots()]


def main() -> None:
    """Measure each style in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("styles", nargs="+", help="shipped styles or .onnx files")
    parser.add_argument("--smooth", type=float, default=0.0, metavar="0..1", help="as `allaprima video --smooth` does")
    parser.add_argument("--bare", action="store_true", help="paint films as photos, without slow norms")
    add_arguments(parser)
    arguments = parser.parse_args()
    if not 0 <= arguments.smooth <= 1:
        parser.error(f"--smooth: got {arguments.smooth:g}, expected 0 to 1")
    yardstick = read_yardstick(arguments)
    rows = {
        style: yardstick.measure(
            allaprima.load(style), arguments.smooth, film=allaprima.load(style, film=not arguments.bare)
        )
        for style in arguments.styles
    }
    rows["the photos themselves"] = yardstick.measure(lambda frame: frame)
    table = Table("style", *next(iter(rows.values())))
    for name, figures in rows.items():
        table.add_row(Path(name).name, *(f"{value:.2f}" for value in figures.values()))
    show_table(table)


if __name__ == "__main__":
    main()
