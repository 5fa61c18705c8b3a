"""Move the base to where short trainings reach most, by trying: Reptile, over the paintings that it is made from.

    python scripts/adapt_base.py PAINTINGS --photos DIR --out DIR           # goes on where it was stopped
    python scripts/adapt_base.py PAINTINGS --photos DIR --out DIR --ship    # and writes train/base.safetensors

What scripts/make_base.py leaves is good at all its paintings at once, which is not yet to be near to each. Here the
base is trained on one painting after the other as a user would, only on smaller crops, and goes a part of the way to
what each training has come to (Nichol, Achiam and Schulman 2018, "On First-Order Meta-Learning Algorithms",
arXiv:1803.02999). The paintings that measure the base (`KEPT_OUT`) are not among them.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from make_base import add_material, paintings_to_learn
from torch import Tensor

from allaprima.models.transformer import build
from allaprima.terminal import console
from allaprima.train.config import COMPACT, TrainConfig
from allaprima.train.start import BASE_FILE, read_base, write_base
from allaprima.train.tensor_files import read_tensors, write_tensors
from allaprima.train.trainer import Trainer

FIRST_SHARE, LAST_SHARE = 0.3, 0.1
"""Of the way to what a training has come to, at first and in the end."""
STROKE_SIZES = 0.7, 1.0, 1.4
Weights = dict[str, Tensor]


def main() -> None:
    """Train and move, and write the base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_material(parser)
    parser.add_argument("--rounds", type=int, default=38, help="trainings, one after the other")
    parser.add_argument("--steps", type=int, default=250, help="of each")
    parser.add_argument("--size", type=int, default=192, help="of the crops, px")
    parser.add_argument("--loss-network", choices=["vgg19", COMPACT], default=COMPACT)
    parser.add_argument("--ship", action="store_true", help=f"write {BASE_FILE.name} in the end")
    arguments = parser.parse_args()
    base = adapt(arguments)
    if arguments.ship:
        write_base(base)


def adapt(arguments: argparse.Namespace) -> Weights:
    """The base after all rounds, each of which is kept in the folder."""
    paintings = paintings_to_learn(arguments.paintings)
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = sorted(arguments.out.glob("base-*.safetensors"))
    base = read_tensors(kept[-1])[1] if kept else read_base()
    for number in range(len(kept), arguments.rounds):
        painting = order(paintings, number)
        trained, loss = train(arguments, painting, base, number)
        share = FIRST_SHARE + (LAST_SHARE - FIRST_SHARE) * number / max(1, arguments.rounds - 1)
        base = {name: value.lerp(trained[name], share) for name, value in base.items()}
        write_tensors(arguments.out / f"base-{number:03}.safetensors", base, {})
        console.print(f"{number + 1}/{arguments.rounds}  {painting.stem}  loss {loss:.3f}")
    return base


def order(paintings: list[Path], number: int) -> Path:
    """The painting of a round: each once, in an order of its own, before any comes again."""
    turn, index = divmod(number, len(paintings))
    return paintings[np.random.default_rng((0, turn)).permutation(len(paintings))[index]]


def train(arguments: argparse.Namespace, painting: Path, base: Weights, number: int) -> tuple[Weights, float]:
    """The weights that one training comes to from the base, and its mean loss over the last tenth."""
    network = build("realtime")
    network.load_state_dict(base)
    losses = list[float]()
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            painting=painting,
            photos=arguments.photos,
            loss_network=arguments.loss_network,
            vgg_weights=arguments.vgg_weights,
            out=Path(folder) / "run",
            stroke_size=STROKE_SIZES[number % len(STROKE_SIZES)],
            steps=arguments.steps,
            size=arguments.size,
            early_stop=False,
            seed=number,
        )
        with Trainer(config, network) as trainer:
            losses += [progress.losses["total"] for progress in trainer.run()]
            weights = {name: value.detach().clone() for name, value in trainer.bare_network.state_dict().items()}
    return weights, float(np.mean(losses[-max(1, len(losses) // 10) :]))


if __name__ == "__main__":
    main()
