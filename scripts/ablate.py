"""The search behind the `realtime` build, made again: variants of the network trained alike, measured and drawn.

    python scripts/ablate.py train PAINTING --photos DIR --val-photos DIR --out RUNS [--variant NAME ...]
    python scripts/ablate.py table RUNS docs/ablation.md --motion CLIP.mp4 ...     # on an idle machine: it times them

`train` goes on where it was stopped. Every variant sees the same photos in the same order; `table` measures all those
that are there on photos they never saw (J as training reports it, grid and motion as `scripts/yardstick.py` does) and
times them as fp32 and as int8, in alternating blocks.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bench_networks import gflop, time_styles
from make_demo_clip import frame_at
from PIL import Image
from torch import nn
from trainings import add_places, config_of, report_of
from yardstick import add_arguments, read_yardstick

from allaprima.contract import StyleCard
from allaprima.models.export import export_style, with_card
from allaprima.models.graph import int8_graph
from allaprima.models.quantise import quantise
from allaprima.models.transformer import (
    ImageTransformer,
    RealtimeCore,
    ResidualBlock,
    UpsampleConv,
    conv_norm,
    realtime,
    standard,
    subpixel_conv,
)
from allaprima.pictures import Frame
from allaprima.terminal import console
from allaprima.train.checkpoint import load_checkpoint
from allaprima.train.config import TrainConfig
from allaprima.train.evaluate import stylize
from allaprima.train.run_folder import read_figures

SHOWN_FRAMES = (24, 100, 180)


@dataclass(frozen=True)
class Variant:
    """One network of the table."""

    what: str
    make: Callable[[], ImageTransformer]
    motion_weight: float = TrainConfig.motion_weight


def normed_everywhere() -> ImageTransformer:
    """`realtime` with instance norm behind every convolution but the last."""
    network = realtime()
    core = network.core
    assert isinstance(core, RealtimeCore)

    def norm(channels: int) -> nn.Module:
        return nn.InstanceNorm2d(channels, affine=True)

    core.stem = nn.Sequential(*core.stem[:2], norm(32), nn.ReLU())  # type: ignore[index]
    for block in core.body[:-1]:  # type: ignore[index]
        block.inner.insert(1, norm(96))
        block.inner.append(norm(96))
    core.up = nn.Sequential(core.up, norm(32))
    core.end.insert(2, norm(16))  # type: ignore[operator]
    return network


def normed_blocks() -> ImageTransformer:
    """`realtime` with instance norm behind the first convolution of each block."""
    network = realtime()
    for block in network.core.body[:-1]:  # type: ignore[index]
        block.inner.insert(1, nn.InstanceNorm2d(96, affine=True))
    return network


def in_cells(size: int, channels: int, blocks: int, *, smooth_end: bool) -> ImageTransformer:
    """Space to depth by `size`, blocks with two norms, and back: at once, or by way of half the resolution."""

    def block() -> ResidualBlock:
        first, second = (conv_norm(channels, channels, 3, padding_mode="zeros") for _ in range(2))
        return ResidualBlock(nn.Sequential(*first, nn.ReLU(), *second))

    stem = [nn.PixelUnshuffle(size), *conv_norm(3 * size**2, channels, 3, padding_mode="zeros"), nn.ReLU()]
    if smooth_end:
        end = [UpsampleConv(channels, 24), nn.InstanceNorm2d(24, affine=True), nn.ReLU()]
        end += [subpixel_conv(24, 3, size // 2), nn.PixelShuffle(size // 2)]
    else:
        end = [subpixel_conv(channels, 3, size), nn.PixelShuffle(size)]
    core = nn.Sequential(*stem, *(block() for _ in range(blocks)), *end)
    return ImageTransformer(core, multiple=size, margin=8, mean=[128 / 255] * 3, std=[64 / 255] * 3)


VARIANTS = {
    "standard": Variant("the reference network", standard, motion_weight=0.0),
    "realtime": Variant("what ships", realtime),
    "no-motion": Variant("the same, trained without the motion term", realtime, motion_weight=0.0),
    "all-norms": Variant("instance norm behind every convolution", normed_everywhere),
    "block-norms": Variant("instance norm once in each block as well", normed_blocks),
    "narrow": Variant("64 channels, 8 at the end", lambda: realtime(wide=64, half=8)),
    "deep": Variant("5 blocks", lambda: realtime(blocks=5)),
    "cells-4": Variant(
        "space to depth 4, 48 channels, 5 blocks with two norms", lambda: in_cells(4, 48, 5, smooth_end=True)
    ),
    "cells-8": Variant(
        "space to depth 8, 96 channels, 5 blocks with two norms", lambda: in_cells(8, 96, 5, smooth_end=False)
    ),
}


def main() -> None:
    """Parse the arguments and run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    train = verbs.add_parser("train", help="train variants")
    train.add_argument("painting", type=Path)
    add_places(train)
    train.add_argument("--variant", choices=VARIANTS, action="append", help="all by default")
    train.add_argument("--steps", type=int, default=500)
    train.add_argument("--size", type=int, default=160)
    train.add_argument("--style-weight", type=float, default=10.0)
    train.set_defaults(run=train_variants)
    table = verbs.add_parser("table", help="measure, time and draw what was trained")
    table.add_argument("runs", type=Path)
    table.add_argument("page", type=Path, help="the .md file to write; its picture goes beside it")
    table.add_argument("--peer", type=Path, action="append", default=[], help="another project's ONNX file, to time")
    table.add_argument("--blocks", type=int, default=5)
    table.add_argument("--threads", type=int, default=2)
    add_arguments(table)
    table.set_defaults(run=write_table)
    arguments = parser.parse_args()
    arguments.run(arguments)


def train_variants(arguments: argparse.Namespace) -> None:
    """Train those that are not finished yet."""
    for name in arguments.variant or VARIANTS:
        config = config_of(
            arguments,
            arguments.painting,
            name,
            style_weight=arguments.style_weight,
            motion_weight=VARIANTS[name].motion_weight,
            preview_every=10**6,
            early_stop=True,
        )
        torch.manual_seed(config.seed)
        figures = report_of(config, VARIANTS[name].make())["figures"]
        console.print(f"{name}: content {figures['content']:.3f}, style {figures['style']:.4f}, J {figures['j']:.3f}")
    console.print(f"all trained; now: python scripts/ablate.py table {arguments.out} docs/ablation.md")


def load_variant(name: str, folder: Path) -> ImageTransformer:
    """The network as it was trained."""
    network = VARIANTS[name].make()
    network.load_state_dict(load_checkpoint(folder).network)
    return network.eval()


def write_table(arguments: argparse.Namespace) -> None:
    """One row a variant, and one strip of pictures."""
    names = [name for name in VARIANTS if (arguments.runs / name / "report.json").exists()]
    networks = {name: load_variant(name, arguments.runs / name) for name in names}
    yardstick = read_yardstick(arguments)
    times = _times(networks, yardstick.photos, arguments)
    lines = [
        "| variant | GFLOP | parameters | fp32 ms | int8 ms | content | style | J | grid 2 / 4 / 8 | motion |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    js: dict[str, float] = {}
    for name, network in networks.items():
        figures = read_figures(arguments.runs / name, step=load_checkpoint(arguments.runs / name).step)
        measured = yardstick.measure(lambda frame, n=network: stylize(n, frame))  # type: ignore[misc]
        assert figures is not None
        grids = " / ".join(f"{measured[f'grid/{p}']:.1f}" for p in (2, 4, 8))
        int8 = times.get((name, "int8"))
        lines.append(
            f"| {name}: {VARIANTS[name].what} | {gflop(network):.1f} | "
            f"{sum(p.numel() for p in network.parameters()) / 1e3:.0f} k | {times[name, 'fp32'] * 1e3:.1f} | "
            f"{f'{int8 * 1e3:.1f}' if int8 else ''} | {figures.content:.3f} | {figures.style:.4f} | {figures.j:.3f} | "
            f"{grids} | {measured['motion']:.1f} |"
        )
        console.print(lines[-1])
        js[name] = figures.j
    picture, plot = (arguments.page.with_suffix(suffix) for suffix in (".jpg", ".svg"))
    _plot(js, times, plot)
    _draw(networks, picture)
    report = json.loads((arguments.runs / names[0] / "report.json").read_text())
    config = load_checkpoint(arguments.runs / names[0]).config
    assert config.painting is not None
    arguments.page.write_text(_page(lines, picture.name, plot.name, config, report["precision"], arguments.threads))


def _times(
    networks: dict[str, ImageTransformer], photos: Sequence[Frame], arguments: argparse.Namespace
) -> dict[tuple[str, str], float]:
    """Seconds a frame by (variant, precision); peers have none."""
    with tempfile.TemporaryDirectory() as folder:
        files = {(peer.stem, ""): peer for peer in arguments.peer}
        for name, network in networks.items():
            files[name, "fp32"] = Path(folder) / f"{name}-fp32.onnx"
            export_style(network, files[name, "fp32"], StyleCard(name=name))
            if name != "standard":  # which has no integer form
                model = int8_graph(quantise(network, photos))
                files[name, "int8"] = Path(folder) / f"{name}-int8.onnx"
                files[name, "int8"].write_bytes(with_card(model, StyleCard(name=name), precision="int8"))
        return time_styles(files, size=(640, 480), threads=arguments.threads, blocks=arguments.blocks)


def _plot(js: dict[str, float], times: dict[tuple[str, str], float], path: Path) -> None:
    """J against frames per second; of networks that others trained on other paintings, the speed alone."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for (name, precision), seconds in times.items():
        if not precision:
            axes.axvline(1 / seconds, color="grey", linestyle=":")
            top = axes.get_xaxis_transform()  # 1 is the upper edge, whatever J there is
            axes.text(1 / seconds, 1, name, rotation=90, va="top", ha="right", color="grey", transform=top)
            continue
        axes.scatter(
            1 / seconds,
            js[name],
            marker="o" if precision == "int8" else "s",
            color="C0" if precision == "int8" else "C1",
        )
        axes.annotate(
            f"{name}, {precision}", (1 / seconds, js[name]), xytext=(4, 4), textcoords="offset points", fontsize=7
        )
    axes.set(xscale="log", xlabel="frames per second, 640x480", ylabel="J (lower is better)")
    axes.set_xlim(right=2 * axes.get_xlim()[1])  # the labels stand to the right of their marks
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def _draw(networks: dict[str, ImageTransformer], path: Path) -> None:
    """Frames of the demo clip, which may be passed on, in the first row, then a row a variant."""
    shown = [np.array(Image.fromarray(frame_at(number)).resize((384, 288))) for number in SHOWN_FRAMES]
    rows = [np.concatenate(shown, 1)]
    rows += [np.concatenate([stylize(network, photo) for photo in shown], 1) for network in networks.values()]
    Image.fromarray(np.concatenate(rows)).save(path, quality=85)


def _page(lines: list[str], picture: str, plot: str, config: TrainConfig, precision: str, threads: int) -> str:
    assert config.painting is not None
    return f"""# What the `realtime` network is made of, and why

Made by `scripts/ablate.py`. Painting: {config.painting.stem}; {config.steps} steps of batch {config.batch} at
{config.size} px, {precision}, k = {config.style_weight:g}, the same photos in the same order. Short trainings: they
tell variants apart, they are not what ships. J, grid and motion: on photos and clips that no network saw, lower is
better; motion is the error along true motion over the photo's own. Times: whole `Stylizer` calls, 640x480,
{threads} threads, medians over alternating blocks.

{chr(10).join(lines)}

![speed against J]({plot})

Rows of the picture: frames of the demo clip, then the variants in the table's order.

![rows of paintings]({picture})
"""


if __name__ == "__main__":
    main()
