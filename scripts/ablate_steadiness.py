"""What each part of the training for steadiness brings: short trainings, measured side by side.

    python scripts/ablate_steadiness.py PAINTING ... --photos DIR --val-photos DIR --out RUNS --page PAGE.md \
        --yardstick-photos DIR --motion PAN.mp4 --still CLIP.mp4      # goes on where it was stopped
    python scripts/ablate_steadiness.py ... --clips DIR --clip scene.mp4      # and shows it: all variants side by side

Each figure is the mean over the paintings; those of steadiness stand beside what they are without the training for it.
J has k of strength 1 and is taken on photos that no network saw. Short trainings tell variants apart. The base was
trained for steadiness itself, and some of it stays: what the whole of it brings, trainings `--from scratch` show.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from norms import SteadyNorms
from trainings import add_loss_network, add_places, config_of, network_of, report_of
from yardstick import Yardstick, add_arguments, read_yardstick

from allaprima.commands.video import Config as VideoConfig
from allaprima.files import replacing
from allaprima.infer.clip import open_clip
from allaprima.infer.overlay import draw_lines
from allaprima.infer.scene_cuts import SceneCuts
from allaprima.infer.smoothing import Smoothed
from allaprima.infer.writer import VideoWriter
from allaprima.models.transformer import ImageTransformer, build
from allaprima.pictures import Frame, find_pictures, read_picture
from allaprima.terminal import console
from allaprima.train.artefacts import Stylize
from allaprima.train.config import BASE, SCRATCH, TrainConfig
from allaprima.train.evaluate import stylize
from allaprima.train.photos import middle_crop, resize
from allaprima.train.start import start_from
from allaprima.train.steadiness import Amplitudes, Disturbance

WITHOUT, DEFAULT = "without", "default"
FIGURES = ("noise", "flicker", "motion", "lamp", "enters", "alive", "tint")
RELATIVE = ("noise", "flicker", "motion", "lamp", "enters")
"""Those that also stand as shares of what they are without the training for steadiness."""


@dataclass(frozen=True)
class Variant:
    """One training."""

    what: str
    weight: float = TrainConfig.motion_weight
    amplitudes: Amplitudes = field(default_factory=Amplitudes)
    frozen_norms: bool = False
    """Statistics are those of typical photos, in training as well."""
    norms_rate: float = 1
    """By which statistics move to those of the next frame of a film, once trained."""
    smooth: float = 0
    """How much the film is smoothed, once trained."""

    @property
    def is_trained_apart(self) -> bool:
        """Else the default's training serves."""
        return self.norms_rate == 1 and not self.smooth


WHOLE = Amplitudes(still=0, whole=1, noisy=0, lit=0, entered=0)
VARIANTS = {
    WITHOUT: Variant("no training for steadiness", weight=0),
    DEFAULT: Variant("what trainings do"),
    "whole": Variant("moved by whole pixels, nothing else", amplitudes=WHOLE),
    "still": Variant("noise on still scenes, nothing else", amplitudes=Amplitudes(still=1, lit=0, entered=0)),
    "no-noise": Variant("all but noise", amplitudes=Amplitudes(noisy=0)),
    "no-light": Variant("all but light", amplitudes=Amplitudes(lit=0)),
    "near": Variant("nothing moves far", amplitudes=Amplitudes(still=0.3, whole=0.3, far=0)),
    "everywhere": Variant("where much moves, all is compared", amplitudes=Amplitudes(far_depth_px=float("inf"))),
    "alike": Variant("what moves far counts no more than the rest", amplitudes=Amplitudes(far_weight=1)),
    "no-entry": Variant("all but things that enter", amplitudes=Amplitudes(entered=0)),
    "half": Variant("half the weight", weight=TrainConfig.motion_weight / 2),
    "twice": Variant("twice the weight", weight=TrainConfig.motion_weight * 2),
    "frozen": Variant("norms with the statistics of typical photos", frozen_norms=True),
    "slow": Variant("the default, its norms' statistics moved by a tenth with each frame", norms_rate=0.1),
    "four": Variant("four times the weight", weight=TrainConfig.motion_weight * 4),
    "smoothed": Variant("slow norms, and smoothed as `video` does", norms_rate=0.1, smooth=VideoConfig.smooth),
}
TYPICAL_PHOTOS = 16
CLIP_S = 10


def main() -> None:
    """Train what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", type=Path, nargs="+")
    add_places(parser)
    parser.add_argument("--page", type=Path, required=True, help="the .md file to write")
    parser.add_argument("--variant", choices=VARIANTS, nargs="+", default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--from", dest="from_", choices=(BASE, SCRATCH), default=BASE)
    add_arguments(parser)
    add_loss_network(parser)
    parser.add_argument("--clips", type=Path, metavar="DIR", help="also write PAINTING.mp4 there, of --clip")
    parser.add_argument("--clip", type=Path, help="the clip that they paint; its first 10 s at most")
    parser.add_argument("--clip-height", type=int, default=240, metavar="PX", help="of each picture in them")
    arguments = parser.parse_args()
    if bool(arguments.clips) != bool(arguments.clip):
        parser.error("--clips DIR and --clip CLIP.mp4 belong together")
    yardstick = read_yardstick(arguments)
    names = list(dict.fromkeys([WITHOUT, *arguments.variant]))
    measured = {name: [measure(arguments, yardstick, p, name) for p in arguments.paintings] for name in names}
    page = "\n".join([*head(arguments), *rows(measured), ""])
    with replacing(arguments.page) as temporary:
        temporary.write_text(page, encoding="utf-8")
    if arguments.clips:
        arguments.clips.mkdir(parents=True, exist_ok=True)
        for painting in arguments.paintings:
            show(arguments, painting, names)
    console.print(page, markup=False, soft_wrap=True)


def measure(arguments: argparse.Namespace, yardstick: Yardstick, painting: Path, name: str) -> dict[str, float]:
    """Figures of one training, which is done if it is not there."""
    variant = VARIANTS[name]
    report, network = train(arguments, painting, name)
    return {"J": report["figures"]["j"]} | yardstick.measure(filmed(network, variant.norms_rate), variant.smooth)


def train(arguments: argparse.Namespace, painting: Path, name: str) -> tuple[dict[str, Any], ImageTransformer]:
    """Report and network of one training, which is done if it is not there."""
    variant = VARIANTS[name]
    config = config_of(
        arguments,
        painting,
        f"{painting.stem}-{name if variant.is_trained_apart else DEFAULT}",
        motion_weight=variant.weight,
        from_=arguments.from_,
        loss_network=arguments.loss_network,
    )
    assert config.out is not None
    start, empty = (frozen_start(config) if variant.frozen_norms else None for _ in range(2))
    report = report_of(config, start, disturbance=Disturbance(variant.amplitudes))
    return report, network_of(config.out, empty)


def show(arguments: argparse.Namespace, painting: Path, names: Sequence[str]) -> None:
    """Write the clip of a painting: the scene, and beside it what each variant makes of it."""
    film: dict[str, Stylize] = {"the clip": np.copy} | {name: painter(arguments, painting, name) for name in names}
    with (
        open_clip(arguments.clip) as clip,
        replacing(arguments.clips / f"{painting.stem}.mp4") as temporary,
        VideoWriter(temporary, time_base=1 / clip.rate, rate=clip.rate) as writer,
    ):
        for number, shot in enumerate(islice(clip.shots(), round(CLIP_S * clip.rate))):
            (height, width), shown_px = shot.picture.shape[:2], arguments.clip_height
            photo = resize(shot.picture, shown_px, round(width * shown_px / height))
            pictures = [paint(photo) for paint in film.values()]
            for picture, name in zip(pictures, film, strict=True):
                draw_lines(picture, [name])
            writer.write(np.concatenate(pictures, axis=1), number)
    console.print(f"wrote {arguments.clips / painting.stem}.mp4")


def painter(arguments: argparse.Namespace, painting: Path, name: str) -> Stylize:
    """Of the frames of one clip, as a variant paints them."""
    variant = VARIANTS[name]
    paint = filmed(train(arguments, painting, name)[1], variant.norms_rate)
    return Smoothed(paint, variant.smooth) if variant.smooth else paint


@torch.no_grad()
def frozen_start(config: TrainConfig) -> ImageTransformer:
    """What a training starts from, its norms' statistics set for good by some of the photos."""
    network = build(config.build)
    start_from(config.start, network, build=config.build)
    SteadyNorms(network, 0)
    files = find_pictures(Path(str(config.photos)))[:TYPICAL_PHOTOS]
    network(torch.cat([middle_crop(read_picture(file), config.size) for file in files]))
    return network


def filmed(network: ImageTransformer, norms_rate: float) -> Stylize:
    """A painter of frames, one after the other; with a rate below 1 its norms remember those before, up to a cut."""
    if norms_rate == 1:
        return lambda frame: stylize(network, frame)
    norms, is_cut = SteadyNorms(network, norms_rate), SceneCuts()

    def paint(frame: Frame) -> Frame:
        if is_cut(frame):
            norms.forget()
        return stylize(network, frame)

    return paint


def head(arguments: argparse.Namespace) -> list[str]:
    """What stands over the table."""
    paintings = ", ".join(path.stem for path in arguments.paintings)
    return [
        "# What makes paintings steady",
        "",
        f"Made by `scripts/ablate_steadiness.py`: {paintings}; {arguments.steps} steps "
        f"from {arguments.from_} at {arguments.size} px, {arguments.loss_network} as the loss network.",
        "",
        f"    python scripts/ablate_steadiness.py PAINTING ... --from {arguments.from_} --steps {arguments.steps} "
        f"--size {arguments.size} --loss-network {arguments.loss_network} \\",
        f"        --variant {' '.join(arguments.variant)} \\",
        "        --photos DIR --val-photos DIR --yardstick-photos DIR --motion PAN.mp4 --motion FLOW ... \\",
        "        --still CLIP.mp4 --page PAGE.md --out RUNS",
        "",
        "J is over that of the first row; the other columns are the figures of `scripts/yardstick.py`, means over the",
        "paintings: change of the painting over that of the photo, except that of `lamp` and `enters`, where the photo",
        "stands still and the painting should, and `tint`. All but J and `alive` should be small; `alive` should be 1.",
        "In brackets: over what it is in the first row, mean of the paintings' ratios.",
        "",
        f"| variant | weight | J | {' | '.join(FIGURES)} |",
        f"|---|---|---|{'---|' * len(FIGURES)}",
    ]


def rows(measured: dict[str, list[dict[str, float]]]) -> Iterable[str]:
    """Of the table, one for each variant."""
    first = [figures["J"] for figures in measured[WITHOUT]]
    for name, figures in measured.items():
        j = mean(f["J"] / without for f, without in zip(figures, first, strict=True))
        cells = (cell(key, figures, measured[WITHOUT]) for key in FIGURES)
        yield f"| {name}: {VARIANTS[name].what} | {VARIANTS[name].weight:g} | {j:.3f} | {' | '.join(cells)} |"


def cell(key: str, figures: list[dict[str, float]], without: list[dict[str, float]]) -> str:
    """The mean of a figure, and where it is to fall, of its ratios to those without; empty where none was measured."""
    if key not in figures[0]:
        return ""
    shown = f"{mean(f[key] for f in figures):.2f}"
    if key not in RELATIVE or figures is without:
        return shown
    return f"{shown} ({mean(f[key] / before[key] for f, before in zip(figures, without, strict=True)):.2f})"


if __name__ == "__main__":
    main()
