"""Train the base that every new painting starts from, by our own code over many paintings (train/start.py).

    python scripts/make_base.py PAINTINGS --photos DIR --out RUN           # goes on where it was stopped
    python scripts/make_base.py PAINTINGS --photos DIR --out RUN --ship    # and writes train/base.safetensors
    python scripts/make_base.py ... --from base --loss-network compact     # goes on from the base that ships
    python scripts/make_base.py ... --batch 16 --steps 30000 --workers 8   # more of it, where a GPU is

One network learns all paintings at once. What a painting has for itself is a scale and a shift of every channel
(Dumoulin, Shlens and Kudlur 2017, "A Learned Representation for Artistic Style", arXiv:1610.07629, there of the norms
alone); the filters are everyone's, and learn what paintings have in common: to see a photo, and to draw. The base is
that network with the mean of all scales and shifts, folded into its filters. So that there are more paintings than
files, each is there in other colours and with other strokes as well. The paintings of `KEPT_OUT` are not in it: they
measure it (scripts/warm_start.py).
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from trainings import add_loss_network

from allaprima.models.transformer import ImageTransformer, RealtimeCore, build
from allaprima.pictures import find_pictures, read_picture
from allaprima.terminal import console
from allaprima.train.config import BASE, SCRATCH, TrainConfig
from allaprima.train.losses import PerceptualLoss
from allaprima.train.objective import Network, Objective
from allaprima.train.run_folder import can_be_resumed
from allaprima.train.start import BASE_FILE, start_from, write_base
from allaprima.train.trainer import Trainer

KEPT_OUT = ("starry_night", "great_wave", "udnie", "the_scream", "grande_jatte", "mosaic_synth", "mosaic")
VARIANTS = (((0, 1, 2), 1.0), ((2, 0, 1), 0.7), ((1, 2, 0), 1.4), ((2, 1, 0), 1.0))
"""Of each painting: the order of its colour channels, and the size of its strokes."""
SMALL_PX, LARGE_PX = 160, 256
SMALL_SHARE = 2 / 3
"""Of the steps, on small crops, where most is learnt at half the cost; the others are as large as in a training."""
LINE_EVERY = 100


def main() -> None:
    """Train, and write the base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_material(parser)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--from", dest="from_", choices=[SCRATCH, BASE], default=SCRATCH, help="where filters begin")
    add_loss_network(parser)
    parser.add_argument("--batch", type=int, default=TrainConfig.batch, help="photos a step, each for another painting")
    parser.add_argument("--workers", type=int, default=TrainConfig.workers, help="processes that read photos")
    parser.add_argument("--ship", action="store_true", help=f"write {BASE_FILE.name} in the end")
    arguments = parser.parse_args()
    base = train_base(arguments)
    if arguments.ship:
        write_base(base)
        console.print(f"{BASE_FILE.name}: {BASE_FILE.stat().st_size / 1e6:.2f} MB")


def add_material(parser: argparse.ArgumentParser) -> None:
    """The flags that say what a network which is to know many paintings is made from, and where."""
    parser.add_argument("paintings", type=Path, help="folder")
    parser.add_argument("--photos", required=True)
    parser.add_argument("--vgg-weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)


def paintings_to_learn(folder: Path) -> list[Path]:
    """All but those that measure."""
    return [file for file in find_pictures(folder) if file.stem not in KEPT_OUT]


def train_base(arguments: argparse.Namespace) -> dict[str, Tensor]:
    """The base's weights after all steps."""
    files = paintings_to_learn(arguments.paintings)
    config = TrainConfig(
        painting=files[0],
        photos=arguments.photos,
        loss_network=arguments.loss_network,
        vgg_weights=arguments.vgg_weights,
        from_=arguments.from_,
        out=arguments.out,
        resume=arguments.out if can_be_resumed(arguments.out) else None,
        steps=arguments.steps,
        batch=arguments.batch,
        workers=arguments.workers,
        size=LARGE_PX,  # k is that of a training
        learning_rate=0.036,
        warmup=0.03,
        decay=0.5,
        early_stop=False,
    )
    torch.manual_seed(config.seed)
    network = build("realtime")
    start_from(config.start, network, build="realtime")
    modulation = Modulation(network, len(files) * len(VARIANTS))
    with GrowingCrops(config, network) as trainer:
        trainer.objective = ManyPaintings(trainer, files, modulation)
        for progress in trainer.run():
            if progress.step % LINE_EVERY == 0:
                losses = "  ".join(f"{name} {progress.losses[name]:.3f}" for name in ("content", "style", "total"))
                console.print(f"step {progress.step}  {losses}")
    return folded(network)


class Modulation(nn.Module):
    """For each of some paintings a scale and a shift of every channel of a network, learnt with it as a part of it.

    Args:
        network: a fresh `realtime`; is given the modulation as its part `modulation`.
        count: of paintings.
    """

    chosen: Tensor | None = None
    """Int64: the paintings that the pictures of a batch, no more than these, are for; None: the mean of all."""

    def __init__(self, network: ImageTransformer, count: int) -> None:
        super().__init__()
        self.tables = nn.ParameterList()  # (count, 2, C): scales, shifts
        for layer in modulated_layers(network):
            zeros = torch.zeros(count, len(layer.bias))
            self.tables.append(nn.Parameter(torch.stack([zeros + 1, zeros], 1)))
            layer.register_forward_hook(lambda _layer, _inputs, x, table=self.tables[-1]: self._modulate(x, table))
        network.modulation = self

    def _modulate(self, x: Tensor, table: Tensor) -> Tensor:
        rows = table.mean(0, keepdim=True) if self.chosen is None else table[self.chosen[: len(x)]]
        scale, shift = rows[..., None, None].unbind(1)
        return x * scale + shift


def modulated_layers(network: ImageTransformer) -> Iterator[Any]:
    """All with a bias, in their order; what stands before a norm has none."""
    assert isinstance(network.core, RealtimeCore)
    return (layer for layer in network.core.modules() if getattr(layer, "bias", None) is not None)


@torch.no_grad()
def folded(network: ImageTransformer) -> dict[str, Tensor]:
    """The weights of a modulated network as a plain one has them: the mean of the modulation is in its filters."""
    modulation = network.modulation
    assert isinstance(modulation, Modulation)
    plain = build("realtime")
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("modulation.")})
    for layer, table in zip(modulated_layers(plain), modulation.tables, strict=True):
        scale, shift = table.mean(0)
        layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.dim() - 1)))
        layer.bias.mul_(scale).add_(shift)
    return plain.state_dict()


class ManyPaintings(Objective):
    """What one network minimises for all paintings: each photo of a batch is for another one, and has its k."""

    def __init__(self, trainer: Trainer, files: list[Path], modulation: Modulation) -> None:
        self.modulation, self.losses_of = modulation, list[PerceptualLoss]()
        features, photos = trainer.features, trainer.typical_photos
        for file in files:
            picture = read_picture(file, what="painting")
            config = replace(trainer.config, style_weight=None)
            super().__init__(config, features, picture, photos)
            config = replace(config, style_weight=self.k)
            console.print(f"{file.stem}: k = {config.style_weight:g}")
            for colours, stroke_size in VARIANTS:
                variant = np.ascontiguousarray(picture[..., colours])
                super().__init__(replace(config, stroke_size=stroke_size), features, variant, photos)
                self.losses_of.append(self.perceptual)
        super().__init__(config, features, picture, photos)  # one that will stand for any of them

    def losses(self, network: Network, photo: Tensor, step: int) -> dict[str, Tensor]:
        """As of one painting."""
        chosen = self.order(step, len(photo))
        losses = [self.losses_of[i] for i in chosen]
        for layer, style in self.perceptual.styles.items():
            style.target = torch.cat([loss.styles[layer].get_buffer("target") for loss in losses])
        self.perceptual.style_weight = torch.tensor([loss.style_weight for loss in losses], device=photo.device)
        self.modulation.chosen = torch.tensor(chosen)
        parts = super().losses(network, photo, step)
        self.modulation.chosen = None
        return parts

    def order(self, step: int, batch: int) -> list[int]:
        """The paintings of a step: each once, in an order of its own, before any comes again."""
        steps = len(self.losses_of) // batch
        order = np.random.default_rng((self.seed, step // steps, 7)).permutation(len(self.losses_of))
        return [int(i) for i in order[step % steps * batch :][:batch]]


class GrowingCrops(Trainer):
    """A training whose crops are small at first."""

    def batches(self) -> Iterator[Any]:
        """What is left of the stream."""
        border = round(SMALL_SHARE * self.steps)
        for size, end in ((SMALL_PX, border), (LARGE_PX, self.steps)):
            if self.step < end:
                self.config = replace(self.config, size=size)
                yield from self._until(end, super().batches())

    def _until(self, end: int, batches: Iterator[Any]) -> Iterator[Any]:
        return takewhile(lambda _batch: self.step < end, batches)


if __name__ == "__main__":
    main()
