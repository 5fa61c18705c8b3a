"""Train the base that every new painting starts from, by our own code over many paintings (train/start.py).

    python scripts/make_base.py PAINTINGS --photos DIR --out RUN       # goes on where it was stopped
    python scripts/make_base.py PAINTINGS --photos DIR --out RUN --ship    # and writes train/base.safetensors

Reptile (Nichol et al. 2018, arXiv:1803.02999): a few steps towards one painting, then the base moves part of the way
there; then the next painting. What is left is a network from which every painting is near, and which has learnt all
that paintings have in common: to see a photo, and to draw. So that there are more paintings than files, every other
round exchanges the painting's colours, and its strokes are now smaller, now larger. The paintings of `KEPT_OUT` are
not in it: they measure it (scripts/warm_start.py).

The base that ships has 940 rounds: 260 at 160 px with strokes twice as strong as strength 1, which lost the photo (its
content distance stayed at 1, that of a black picture); 380 more at 160 px as below, where it fell to 0.5; 300 more at
208 px, with the present training for steadiness.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from allaprima.models.transformer import ImageTransformer, RealtimeCore, ResidualBlock
from allaprima.pictures import Frame, find_pictures, read_picture
from allaprima.terminal import console
from allaprima.train.config import TrainConfig
from allaprima.train.objective import Objective
from allaprima.train.start import BASE_FILE, write_base
from allaprima.train.tensor_files import read_tensors, write_tensors
from allaprima.train.trainer import Trainer

KEPT_OUT = ("starry_night", "great_wave", "udnie", "the_scream", "grande_jatte", "mosaic_synth", "mosaic")
ROUND_STEPS = 16  # towards one painting before the base moves
FIRST_MOVE, LAST_MOVE = 1.0, 0.1  # of the way to where those steps led; falls linearly
STROKE_SIZES = (0.7, 1.0, 1.4)
K_TIMES = 0.4  # that of strength 1: strokes are learnt within 50 steps, to see a photo through them is what takes long
SAVE_EVERY = 20  # rounds
SILENT = 0.001  # of the places where a channel could fire


@dataclass(frozen=True)
class Painting:
    """One file, and the k that it has as it is."""

    name: str
    picture: Frame
    k: float

    def sitting(self, config: TrainConfig, trainer: Trainer, number: int) -> Objective:
        """What the round numbered `number` trains towards: this painting, perhaps in other colours and strokes."""
        random = np.random.default_rng((config.seed, number, 3))
        colours = random.permutation(3) if number % 2 else [0, 1, 2]
        config = replace(config, stroke_size=float(random.choice(STROKE_SIZES)), style_weight=self.k)
        picture = np.ascontiguousarray(self.picture[..., colours])
        return Objective(config, trainer.vgg, picture, trainer.typical_photos)


def main() -> None:
    """Train, and write the base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", type=Path, help="folder")
    parser.add_argument("--photos", required=True)
    parser.add_argument("--vgg-weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=260)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--ship", action="store_true", help=f"write {BASE_FILE.name} in the end")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    base = train_base(arguments)
    if arguments.ship:
        write_base(base)
        console.print(f"{BASE_FILE.name}: {BASE_FILE.stat().st_size / 1e6:.2f} MB")


def train_base(arguments: argparse.Namespace) -> dict[str, Tensor]:
    """The base's weights after all rounds."""
    files = [file for file in find_pictures(arguments.paintings) if file.stem not in KEPT_OUT]
    config = TrainConfig(
        painting=files[0],
        photos=arguments.photos,
        vgg_weights=arguments.vgg_weights,
        from_="scratch",
        out=arguments.out / "run",
        steps=arguments.rounds * ROUND_STEPS,
        size=arguments.size,
        learning_rate=TrainConfig.learning_rate / 2,
        decay=0,  # the moves grow smaller instead
    )
    trainer = Trainer(config)
    photos = trainer.typical_photos()
    paintings = []
    for file in files:
        picture = read_picture(file, what="painting")
        k = K_TIMES * Objective(config, trainer.vgg, picture, lambda: photos).k
        paintings.append(Painting(file.stem, picture, k))
        console.print(f"{file.stem}: k = {paintings[-1].k:g}")
    base, first = _resume(arguments.out, trainer)
    trainer.step = first * ROUND_STEPS
    batches = _endless(trainer)
    for number in range(first, arguments.rounds):
        painting = paintings[_order(config.seed, number, len(paintings))]
        trainer.objective = painting.sitting(config, trainer, number)
        parts: dict[str, Tensor] = {}
        for photo in islice(batches, ROUND_STEPS):
            parts = trainer.train_step(photo)
            trainer.step += 1
        move = FIRST_MOVE + (LAST_MOVE - FIRST_MOVE) * number / arguments.rounds
        with torch.no_grad():
            for name, value in trainer.bare_network.state_dict().items():
                base[name].lerp_(value, move)
        trainer.bare_network.load_state_dict(base)
        losses = {name: value.item() for name, value in parts.items()}
        with (arguments.out / "log.jsonl").open("a") as log:
            print(json.dumps({"round": number, "painting": painting.name} | losses), file=log)
        if (number + 1) % SAVE_EVERY == 0 or number + 1 == arguments.rounds:
            silent = wake_silent_channels(trainer.bare_network, photos)
            base = {name: value.detach().clone() for name, value in trainer.bare_network.state_dict().items()}
            text = f"round {number + 1}: {painting.name} {losses['total']:.3f}, {silent} silent channels woken"
            console.print(text)
            write_tensors(arguments.out / f"base-{number + 1:05}.safetensors", base, {})
    return base


@torch.no_grad()
def wake_silent_channels(network: ImageTransformer, photos: Tensor) -> int:
    """Give channels that fire nowhere a new filter, and nothing to say at first; returns how many there were.

    With every painting something else is wanted, and over many of them more and more channels fall silent for good
    (Sokar et al. 2023, "The Dormant Neuron Phenomenon in Deep Reinforcement Learning", arXiv:2302.12902).
    """
    core = network.core
    assert isinstance(core, RealtimeCore)
    sequences = [block.inner for block in core.body.children() if isinstance(block, ResidualBlock)]
    triples: list[Any] = [[*inner.children()] for inner in sequences] + [[*core.end.children()][1:4]]
    count = 0
    for before, relu, after in triples:  # convolution, ReLU, convolution
        seen: list[Tensor] = []
        hook = relu.register_forward_hook(lambda _module, _inputs, answer, seen=seen: seen.append(answer > 0))
        network(photos.float() / 255)
        hook.remove()
        silent = seen[0].float().mean((0, 2, 3)) < SILENT
        reach = before.weight[0].numel() ** -0.5
        before.weight[silent] = torch.empty_like(before.weight[silent]).uniform_(-reach, reach)
        before.bias[silent] = 0
        after.weight[:, silent] = 0
        count += int(silent.sum())
    return count


def _order(seed: int, number: int, count: int) -> int:
    """Which painting a round is for: each once, in an order of its own, before any comes again."""
    order = np.random.default_rng((seed, number // count)).permutation(count)
    return int(order[number % count])


def _endless(trainer: Trainer) -> Iterator[Tensor]:
    while True:
        for batch in trainer.batches():
            yield batch["photo"]


def _resume(out: Path, trainer: Trainer) -> tuple[dict[str, Tensor], int]:
    """The weights reached so far and the next round's number; Adam's averages start anew."""
    first = 0
    if found := sorted(out.glob("base-*.safetensors")):
        trainer.bare_network.load_state_dict(read_tensors(found[-1])[1])
        first = int(found[-1].stem.rpartition("-")[2])
    return {name: value.detach().clone() for name, value in trainer.bare_network.state_dict().items()}, first


if __name__ == "__main__":
    main()
