"""Figures for the README, measured side by side in one run: medians, and ratios to the reference network.

    scripts/bench frame --peer other-style.onnx     # milliseconds a frame of both builds and of other networks
    scripts/bench train --photos DIR --vgg-weights FILE   # seconds a step, against a plain training loop

Run it on an idle machine. Sessions are timed in alternating blocks with one alive at a time: the waiting threads of
several ONNX Runtime sessions disturb each other.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

from allaprima.contract import StyleCard
from allaprima.infer.stylizer import Stylizer
from allaprima.models.export import export_style
from allaprima.models.transformer import Build, build
from allaprima.models.vgg import VGGFeatures, find_weights
from allaprima.train.config import CONTENT_LAYER, STYLE_LAYERS, TrainConfig
from allaprima.train.losses import gram_matrix, relative_distance
from allaprima.train.trainer import Trainer

console = Console(soft_wrap=True, highlight=False)


def main() -> None:
    """Parse the arguments and run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    frame = verbs.add_parser("frame", help="milliseconds a frame")
    frame.add_argument("--peer", type=Path, action="append", default=[], help="another project's ONNX file")
    frame.add_argument("--size", default="640x480", help="WIDTHxHEIGHT")
    frame.add_argument("--threads", type=int, default=2)
    frame.add_argument("--blocks", type=int, default=5)
    frame.add_argument("--frames", type=int, default=20, help="in a block; slow networks get a quarter")
    frame.set_defaults(run=bench_frame)
    train = verbs.add_parser("train", help="seconds a step")
    train.add_argument("--photos", type=Path, required=True)
    train.add_argument("--vgg-weights", type=Path)
    train.add_argument("--steps", type=int, default=5, help="in a block")
    train.add_argument("--blocks", type=int, default=3)
    train.set_defaults(run=bench_train)
    arguments = parser.parse_args()
    console.print(f"{platform.machine()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
    arguments.run(arguments)


def bench_frame(arguments: argparse.Namespace) -> None:
    """Whole `Stylizer` calls, uint8 in, uint8 out."""
    width, height = map(int, arguments.size.split("x"))
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: _export(name, Path(folder)) for name in ("standard", "realtime")}
        files |= {peer.stem: peer for peer in arguments.peer}
        times: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(arguments.blocks):
            for name, file in files.items():
                times[name] += _time_block(file, frame, arguments)
    medians = {name: statistics.median(values) for name, values in times.items()}
    table = Table("network", "ms a frame", "fastest", "slowest", "times as fast as standard")
    for name, values in times.items():
        low, high = min(values) * 1e3, max(values) * 1e3
        ratio = medians["standard"] / medians[name]
        table.add_row(name, f"{medians[name] * 1e3:.1f}", f"{low:.1f}", f"{high:.1f}", f"{ratio:.1f}")
    console.print(f"{arguments.size}, {arguments.threads} threads, {arguments.blocks} alternating blocks, medians")
    console.print(table)


def _export(name: Build, folder: Path) -> Path:
    torch.manual_seed(0)  # the time does not depend on what was learnt
    path = folder / f"{name}.onnx"
    export_style(build(name), path, StyleCard(name=name))
    return path


def _time_block(file: Path, frame: np.ndarray, arguments: argparse.Namespace) -> list[float]:
    stylizer = Stylizer(file, provider="cpu", threads=arguments.threads)
    stylizer(frame)
    slow = _seconds(lambda: stylizer(frame)) > 0.1
    return [_seconds(lambda: stylizer(frame)) for _ in range(arguments.frames // 4 if slow else arguments.frames)]


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def bench_train(arguments: argparse.Namespace) -> None:
    """Steps of batch 4 at 256 px: ours against a plain loop, in alternating blocks."""
    with tempfile.TemporaryDirectory() as folder:
        painting = Path(folder) / "painting.png"
        _noise_painting(painting)
        config = TrainConfig(
            painting=painting,
            photos=arguments.photos,
            vgg_weights=arguments.vgg_weights,
            out=Path(folder) / "run",
            steps=10**6,
        )
        trainer = Trainer(config)
        plain = PlainLoop(find_weights("vgg19", arguments.vgg_weights))
        batch = next(iter(trainer._loader()))["photo"]
        steps: dict[str, Callable[[], object]] = {
            "plain loop, standard, fp32, NCHW": lambda: plain.step(batch),
            f"allaprima, realtime, {trainer.accelerator.mixed_precision}": lambda: trainer._train_step(batch),
        }
        times: dict[str, list[float]] = {name: [] for name in steps}
        for block in range(arguments.blocks + 1):
            for name, step in steps.items():
                measured = [_seconds(step) for _ in range(arguments.steps if block else 1)]
                times[name] += measured if block else []  # the first one warms up
    first = statistics.median(next(iter(times.values())))
    table = Table("training step, batch 4 at 256 px", "s a step", "times as fast")
    for name, values in times.items():
        table.add_row(name, f"{statistics.median(values):.3f}", f"{first / statistics.median(values):.1f}")
    console.print(table)


class PlainLoop:
    """What a straightforward script does: fp32, NCHW, a graph for the photo's features too, plain autograd."""

    def __init__(self, weights: object) -> None:
        self.network = build("standard")
        self.vgg = VGGFeatures((*STYLE_LAYERS, CONTENT_LAYER))
        self.vgg.load(weights)  # type: ignore[arg-type]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        with torch.no_grad():
            painting = self.vgg(torch.rand(1, 3, 384, 512))
        self.grams = {layer: gram_matrix(painting[layer]) for layer in STYLE_LAYERS}

    def step(self, photos: torch.Tensor) -> None:
        """One step on uint8 (B, 3, H, W)."""
        x = (photos.float() / 255).contiguous().requires_grad_()
        y = self.network(x)
        wanted, got = self.vgg(x), self.vgg(y)
        loss = relative_distance(got[CONTENT_LAYER], wanted[CONTENT_LAYER]).mean()
        for layer, gram in self.grams.items():
            flat = got[layer].flatten(2)
            loss = (
                loss + 10 / 4 * relative_distance(flat @ flat.mT / flat.shape[-1], gram.expand(len(y), -1, -1)).mean()
            )
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()


def _noise_painting(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (384, 512, 3), dtype=np.uint8)).save(path)


if __name__ == "__main__":
    main()
