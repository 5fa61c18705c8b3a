"""Networks side by side: milliseconds a frame, seconds a training step (scripts/bench frame, scripts/bench train).

Sessions are timed in alternating blocks with one alive at a time: the waiting threads of several ONNX Runtime sessions
disturb each other.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from allaprima.contract import StyleCard
from allaprima.infer.camera import parse_size
from allaprima.infer.providers import open_session
from allaprima.infer.stylizer import Stylizer
from allaprima.infer.timing import moving_frames
from allaprima.models.export import export_style, with_card
from allaprima.models.fuse import fuse
from allaprima.models.graph import float_graph, int8_graph
from allaprima.models.quantise import quantise
from allaprima.models.transformer import ImageTransformer, UpsampleConv, build
from allaprima.models.vgg import VGGFeatures, find_weights
from allaprima.pictures import Frame
from allaprima.terminal import console, show_table
from allaprima.train.config import COMPACT, CONTENT_LAYER, STYLE_LAYERS, TrainConfig
from allaprima.train.losses import gram_matrix, relative_distance
from allaprima.train.trainer import Trainer

Name = TypeVar("Name")
FLOAT, INTEGER = "realtime, fp32", "realtime, int8"


def bench_frame(arguments: argparse.Namespace) -> None:
    """Whole `Stylizer` calls, uint8 in, uint8 out; and what of the machine the float network uses."""
    size = parse_size(arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        files = _builds(Path(folder)) | {peer.stem: peer for peer in arguments.peer}
        times = _times_s(files, size, arguments.threads, arguments.blocks, arguments.frames)
    medians = {name: statistics.median(values) for name, values in times.items()}
    compared = ["standard", *(peer.stem for peer in arguments.peer)]
    table = Table("network", "ms a frame", "fastest", "slowest", *(f"times as fast as {name}" for name in compared))
    for name, values in times.items():
        ratios = (f"{medians[other] / medians[name]:.1f}" for other in compared)
        figures = (f"{seconds * 1e3:.1f}" for seconds in (medians[name], min(values), max(values)))
        table.add_row(name, *figures, *ratios)
    console.print(f"{arguments.size}, {arguments.threads} threads, {arguments.blocks} alternating blocks, medians")
    show_table(table)
    rate = gflop(fuse(build("realtime")), size) / medians[FLOAT]
    peak = peak_gflops(arguments.threads)
    console.print(f"{FLOAT}: {rate:.0f} GFLOP/s in its convolutions' operations, {rate / peak:.0%} of the {peak:.0f} ")
    console.print("that the best of several convolutions alone reaches here")


def gflop(network: nn.Module, size: tuple[int, int] = (640, 480)) -> float:
    """Of the convolutions on a frame of `size` (width, height): 10^9 multiplications and additions."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d | UpsampleConv):  # the latter: at the high resolution
            total += 2 * module.weight.numel() * output.shape[-1] * output.shape[-2]

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.inference_mode():
        network(torch.zeros(1, 3, size[1], size[0]))
    for hook in hooks:
        hook.remove()
    return total / 1e9


def peak_gflops(threads: int) -> float:
    """The fastest that ONNX Runtime gets on this machine with any of several fp32 convolutions, GFLOP/s."""
    best = 0.0
    for channels, side in ((64, 128), (96, 96), (128, 64), (128, 96), (256, 48)):
        conv = nn.Conv2d(channels, channels, 3, padding=1)
        chain = ImageTransformer(
            nn.Sequential(nn.Conv2d(3, channels, 1), *[conv] * 8, nn.Conv2d(channels, 3, 1)), multiple=1
        )
        model = float_graph(chain, io="tensor").SerializeToString()
        session, _ = open_session(model, provider="cpu", threads=threads)
        given = {"frame": np.zeros((1, 3, side, side), np.float32)}
        seconds = min(_seconds(lambda s=session, g=given: s.run(None, g)) for _ in range(40))  # type: ignore[misc]
        best = max(best, gflop(chain, (side, side)) / seconds)
    return best


def time_styles(
    files: Mapping[Name, Path], *, size: tuple[int, int], threads: int, blocks: int, frames: int = 20
) -> dict[Name, float]:
    """Median seconds a `Stylizer` call for each style file, at `size` (width, height), in alternating blocks."""
    times = _times_s(files, size, threads, blocks, frames)
    return {name: statistics.median(values) for name, values in times.items()}


def _times_s(
    files: Mapping[Name, Path], size: tuple[int, int], threads: int, blocks: int, frames: int
) -> dict[Name, list[float]]:
    width, height = size
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    times: dict[Name, list[float]] = {name: [] for name in files}
    for _ in range(blocks):
        for name, file in files.items():
            times[name] += _time_block(file, frame, threads, frames)
    return times


def _builds(folder: Path) -> dict[str, Path]:
    """Untrained networks as style files: the time does not depend on what was learnt."""
    torch.manual_seed(0)
    files = {name: folder / f"{index}.onnx" for index, name in enumerate(("standard", FLOAT, INTEGER))}
    export_style(build("standard"), files["standard"], StyleCard())
    export_style(build("realtime"), files[FLOAT], StyleCard())
    quantised = quantise(build("realtime"), moving_frames(320, 240))
    files[INTEGER].write_bytes(with_card(int8_graph(quantised), StyleCard(), precision="int8"))
    return files


def _time_block(file: Path, frame: Frame, threads: int, frames: int) -> list[float]:
    stylizer = Stylizer(file, provider="cpu", threads=threads)
    stylizer(frame)
    slow = _seconds(lambda: stylizer(frame)) > 0.1
    return [_seconds(lambda: stylizer(frame)) for _ in range(frames // 4 if slow else frames)]


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
            loss_network="vgg19",
            vgg_weights=arguments.vgg_weights,
            out=Path(folder) / "run",
            steps=10**6,
        )
        plain, trainer = PlainLoop(find_weights("vgg19", arguments.vgg_weights)), Trainer(config)
        compact = Trainer(replace(config, loss_network=COMPACT))
        batch = next(iter(trainer.batches()))["photo"]
        steps: dict[str, Callable[[], object]] = {
            "plain loop, standard, fp32, NCHW": lambda: plain.step(batch),
            f"allaprima, realtime, {trainer.precision}, VGG-19": lambda: trainer.train_step(batch),
            f"allaprima, realtime, {compact.precision}, compact": lambda: compact.train_step(batch),
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
    show_table(table)


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
