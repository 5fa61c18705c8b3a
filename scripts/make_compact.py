"""Teach the compact loss network (models/compact.py) to judge as VGG-19 does.

    python scripts/make_compact.py PAINTINGS --photos DIR --out FOLDER --shape narrow usual   # and compare them
    python scripts/make_compact.py PAINTINGS --photos DIR --out FOLDER --shape usual --ship   # and write the file
    python scripts/make_compact.py PAINTINGS --photos DIR --out FOLDER --refine 600 --label second --ship   # and go on

Whatever stopped it, the same command goes on. Three stages, each of which does what is not done yet:

- collect: examples of what trainings meet, with VGG-19's answers (scripts/compact_examples.py);
- train: what counts of a loss network is where it pulls a picture. So its gradients with respect to the pictures are
  made to point where VGG-19's point (Czarnecki et al. 2017, "Sobolev training", arXiv:1706.04859), as they are and
  blurred, since the network that paints adds up gradients over what it sees. Beside that, its distances are to be as
  large as VGG-19's, and at first a linear map of its activations is to give VGG-19's, which leads there sooner
  (Romero et al. 2015, "FitNets", arXiv:1412.6550). Each has a weight, 0 leaves it out; `--label` keeps such runs apart.
  With `--refine` it goes on from the network that ships, with examples of trainings with that one as well;
- table: what was reached, on paintings that none of them has seen.

The paintings that measure our networks (`KEPT_OUT` in scripts/make_base.py) have no part in it.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from compact_examples import Material, Session, collect, grams_of, judge, pulls, sessions
from make_base import add_material, paintings_to_learn
from rich.table import Table
from torch import Tensor, nn

from allaprima.errors import InputError
from allaprima.files import replacing
from allaprima.models.compact import CompactFeatures, Widths, multiply_adds
from allaprima.models.features import weights_hash
from allaprima.models.vgg import CHANNELS, VGGFeatures, load_vgg
from allaprima.terminal import console, show_table
from allaprima.train.checkpoint import pack_optimizer, unpack_optimizer
from allaprima.train.device import keep_freed_memory, precision
from allaprima.train.evaluate import YARDSTICK_LAYERS
from allaprima.train.loss_network import COMPACT_FILE, read_compact, write_compact
from allaprima.train.losses import relative_distance
from allaprima.train.tensor_files import read_tensors, write_tensors

SHAPES: dict[str, Widths] = {
    "narrow": ((16,), (32, 32), (64, 64), (128, 128)),
    "usual": ((16,), (48, 48), (96, 96), (160, 160)),
    "deep": ((16,), (40, 40), (72, 72, 72), (128, 128)),
    "wide": ((24,), (64, 64), (120, 120), (184, 184)),
}
HELD_OUT_EVERY = 6
"""Of the paintings, one in so many validates."""
GROUPS, BATCH = 2, 4
"""Sessions of a step, and examples of each: those of one session share the painting, which is looked at once."""
SCALES = (1, 2, 4, 8)
"""In px: how far the gradients are blurred; the network that paints works on cells of 8."""
FEATURES_SHARE = 0.3
"""Of the steps, in which VGG-19's activations are imitated, less and less."""
FEATURES_OF = 2  # examples of a session: VGG-19 takes most of the time of such a step
WINDOW_PX = 256
WARMUP = 0.02
CLIP = 1.0
LEAST_VALUE = 1e-3  # below which a distance is nothing
SAVE_EVERY, LINE_EVERY = 100, 20
VALIDATED = 96
"""Examples that the table is of."""
PHASES = 8
TERMS = ("content", "style", "total")
EXAMPLES, STUDENTS, STATE, FIGURES = "examples", "students", "state.safetensors", "figures.json"


def main() -> None:
    """Collect, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_material(parser)
    parser.add_argument("--examples", type=int, default=2400, help="at least so many; half a megabyte each")
    parser.add_argument(
        "--refine", type=int, default=0, metavar="N", help="from the network that ships, and N examples of its own"
    )
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["usual"])
    parser.add_argument("--label", default="", help="of this recipe, where several are to be compared")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--features", type=float, default=1.0, help="weight of VGG-19's activations, at first")
    parser.add_argument("--values", type=float, default=0.1, help="weight of the distances")
    parser.add_argument("--direction", type=float, default=1.0, help="weight of the gradients' directions")
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto", help="bf16: twice as fast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ship", action="store_true", help=f"write {COMPACT_FILE.name} in the end")
    arguments = parser.parse_args()
    if arguments.refine and (not arguments.label or len(arguments.shape) != 1):
        parser.error("--refine: give the one --shape that ships, and a --label")
    if arguments.ship and len(arguments.shape) != 1:
        parser.error("--ship: give the one --shape that is to ship")
    keep_freed_memory()
    planned = collected(arguments)
    lessons = [Lesson(shape, arguments, planned) for shape in arguments.shape]
    for lesson in lessons:
        lesson.learn()
    show_table(table(arguments.out / STUDENTS))
    if arguments.ship:
        write_compact(lessons[0].student)
        console.print(f"{COMPACT_FILE.name}: {COMPACT_FILE.stat().st_size / 1e3:.0f} kB")


def collected(arguments: argparse.Namespace) -> list[Session]:
    """The sessions, each of which has left its examples by now."""
    paintings, folder = paintings_to_learn(arguments.paintings), arguments.out / EXAMPLES
    planned = sessions(paintings, arguments.examples)
    if arguments.refine:
        planned += sessions(paintings, arguments.refine, weights_hash(read_compact(YARDSTICK_LAYERS)))
    folder.mkdir(parents=True, exist_ok=True)
    for number, session in enumerate(planned, start=1):
        if not (folder / session.file_name).exists():
            begun = time.perf_counter()
            collect(session, photos=arguments.photos, vgg_weights=arguments.vgg_weights, folder=folder)
            console.print(
                f"session {number}/{len(planned)}: {session.painting.stem} from {session.start}, strokes "
                f"{session.stroke_size:g}, strength {session.strength:.2f}: {time.perf_counter() - begun:.0f} s"
            )
    return planned


def all_pulls(content: Tensor, style: Tensor, k: float) -> dict[str, Tensor]:
    """Of each term, and of both together as a training has them."""
    return dict(zip(TERMS, (content, style, content + k * style), strict=True))


def wanted_pulls(example: Mapping[str, Tensor], k: float) -> dict[str, Tensor]:
    """VGG-19's."""
    content, style = example["sizes"][..., None, None, None].unbind(1)
    return all_pulls(content * example["content_pull"], style * example["style_pull"], k)


def cosine(found: Tensor, wanted: Tensor, scale: int) -> Tensor:
    """Of the angles between gradients (B, 3, S, S), blurred over `scale` px: (B,)."""
    first, second = (F.avg_pool2d(pull, scale).flatten(1) for pull in (found, wanted))
    return F.cosine_similarity(first, second, eps=1e-12)


class Lesson:
    """A network of one shape, which learns by one recipe; it goes on where it was stopped.

    Args:
        shape: name in `SHAPES`.
        arguments: the recipe, and where things are.
        planned: all sessions.
    """

    def __init__(self, shape: str, arguments: argparse.Namespace, planned: list[Session]) -> None:
        self.name = f"{shape}-{arguments.label}" if arguments.label else shape
        self.folder: Path = arguments.out / STUDENTS / self.name
        self.vgg_weights: Path | None = arguments.vgg_weights
        recipe = ("steps", "rate", "features", "values", "direction", "precision", "seed", "examples")
        self.recipe = {"shape": shape} | {name: getattr(arguments, name) for name in recipe}
        paintings = sorted({session.painting for session in planned})
        held_out = paintings[::HELD_OUT_EVERY]
        material = {session: Material.of(session, arguments.out / EXAMPLES) for session in planned}
        self.unseen = [material[session] for session in planned if session.painting in held_out]
        self.taught = [material[session] for session in planned if session.painting not in held_out]
        if not self.taught:
            raise InputError("nothing to learn from: give more --examples, and at least two paintings")
        torch.manual_seed(arguments.seed)
        self.student = CompactFeatures(YARDSTICK_LAYERS, SHAPES[shape]).requires_grad_(True)
        self.recipe["refine"] = sorted({session.compact for session in planned})
        if arguments.refine:
            self.student.load(read_compact(YARDSTICK_LAYERS).state_dict())
        self.student.to(memory_format=torch.channels_last)
        self.heads = nn.ModuleDict({layer: self._head(layer) for layer in YARDSTICK_LAYERS})
        self.optimizer = torch.optim.Adam(self._parameters(), lr=arguments.rate, betas=(0.9, 0.99))
        self.step, self.has_bf16 = 0, precision(arguments.precision) == "bf16"
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / STATE).exists():
            self._resume()

    def _head(self, layer: str) -> nn.Conv2d:
        conv = self.student.features.get_submodule(layer.replace("relu", "conv"))
        assert isinstance(conv, nn.Conv2d)
        return nn.Conv2d(conv.out_channels, CHANNELS[int(layer[4]) - 1], 1)

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.student.parameters(), *self.heads.parameters()]

    @cached_property
    def vgg(self) -> VGGFeatures:
        """The teacher, where more of it is asked for than the examples hold."""
        vgg, _ = load_vgg(YARDSTICK_LAYERS, weights=self.vgg_weights)
        return vgg.to(torch.bfloat16 if self.has_bf16 else torch.float32).to(memory_format=torch.channels_last)

    def learn(self) -> None:
        """To the last step, and be measured."""
        clock, begun_at = time.perf_counter(), self.step
        while self.step < self.recipe["steps"]:
            parts = self.train_step()
            self.step += 1
            if self.step % SAVE_EVERY == 0 or self.step == self.recipe["steps"]:
                self._save()
            if self.step % LINE_EVERY == 0:
                pace = (time.perf_counter() - clock) / (self.step - begun_at)
                left = pace * (self.recipe["steps"] - self.step) / 60
                values = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
                console.print(f"{self.name}: step {self.step}/{self.recipe['steps']}  {values}  {left:.0f} min left")
        if not (self.folder / FIGURES).exists():
            with replacing(self.folder / FIGURES) as temporary:
                temporary.write_text(json.dumps(self.recipe | self.measure(), indent=2) + "\n", encoding="utf-8")

    def train_step(self) -> dict[str, float]:
        """One step; what it went by, each part averaged over the sessions."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe["rate"] * self._pace()
        self.optimizer.zero_grad(set_to_none=True)
        random = np.random.default_rng((self.recipe["seed"], self.step))
        sums: dict[str, float] = {}
        for number in random.integers(len(self.taught), size=GROUPS):
            material = self.taught[number]
            example = material.take(random.choice(material.count, BATCH, replace=False).tolist())
            with torch.autocast("cpu", torch.bfloat16, enabled=self.has_bf16):  # as trainings have it
                parts = self.losses(material, example)
            total = torch.stack([self._weight(name) * part for name, part in parts.items()]).sum()
            torch.autograd.backward(total / GROUPS)
            for name, part in parts.items():
                sums[name] = sums.get(name, 0.0) + part.item() / GROUPS
        nn.utils.clip_grad_norm_(self._parameters(), CLIP)
        self.optimizer.step()
        return sums

    def losses(self, material: Material, example: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scalars by name: those that have a weight."""
        parts = {}
        if self._weight("values") or self._weight("direction"):
            picture = example["picture"]
            values = judge(self.student, self._grams(material), example["photo"], picture)
            if self._weight("values"):
                ours, theirs = ((v + LEAST_VALUE).log() for v in (values, example["values"]))
                parts["values"] = (ours - theirs).square().mean()
            if self._weight("direction"):
                found = all_pulls(*pulls(values, picture, create_graph=True), material.k)
                wanted = wanted_pulls(example, material.k)
                cosines = [cosine(found[term], wanted[term], scale) for term in TERMS for scale in SCALES]
                parts["direction"] = 1 - torch.stack(cosines).mean()
        if self._weight("features"):
            some = torch.cat([example[name][:FEATURES_OF].detach() for name in ("photo", "picture")])
            parts["features"] = self._likeness(self.student(some), self.vgg(some))
        return parts

    def _grams(self, material: Material) -> dict[str, Tensor]:
        """Of the painting: the values of the whole, the gradient of a window of it, or they would be most of a step."""
        random = np.random.default_rng((self.recipe["seed"], self.step, 1))
        with torch.no_grad():
            whole = grams_of(self.student, material.painting)
        view = material.painting[[int(random.integers(len(material.painting)))]]
        height, width = (min(side, WINDOW_PX) for side in view.shape[2:])
        top = int(random.integers(view.shape[2] - height + 1))
        left = int(random.integers(view.shape[3] - width + 1))
        part = grams_of(self.student, view[..., top : top + height, left : left + width])
        return {layer: whole[layer] + part[layer] - part[layer].detach() for layer in whole}

    def _likeness(self, got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
        """How far activations are from VGG-19's, after the linear maps."""
        layers = self.heads.items()
        return torch.stack([relative_distance(head(got[layer]), wanted[layer]).mean() for layer, head in layers]).mean()

    def _weight(self, part: str) -> float:
        """Of a part of the loss, in the present step."""
        share = max(0.0, 1 - self.step / (FEATURES_SHARE * self.recipe["steps"])) if part == "features" else 1.0
        return float(self.recipe[part]) * share

    def _pace(self) -> float:
        """Share of the learning rate: up, then down along a cosine."""
        steps = self.recipe["steps"]
        return float(min(1.0, (self.step + 1) / (WARMUP * steps)) * 0.5 * (1 + math.cos(math.pi * self.step / steps)))

    def measure(self) -> dict[str, float]:
        """What the table says of the network, on examples of the paintings held out."""
        found: dict[str, list[Tensor]] = {}
        each = max(1, VALIDATED // len(self.unseen))
        for material in self.unseen:
            with torch.no_grad():
                grams = grams_of(self.student, material.painting)
            indices = range(0, material.count, max(1, material.count // each))[:each]
            for first in range(0, len(indices), BATCH):
                example = material.take(indices[first : first + BATCH])
                for name, values in self._compare(material, grams, example).items():
                    found.setdefault(name, []).append(values)
        joined = {name: torch.cat(values) for name, values in found.items()}
        figures = {name: values.mean().item() for name, values in joined.items() if name.startswith("cosine")}
        for column, term in enumerate(TERMS[:2]):
            got, wanted = (joined[f"values {who}"][:, column] for who in ("got", "wanted"))
            figures[f"rank {term}"] = rank_correlation(got, wanted)
        figures |= {f"uneven{who}": unevenness(joined[f"pulls{who}"]) for who in ("", " VGG")}
        weights = sum(parameter.numel() for parameter in self.student.parameters())
        return figures | {"kB": 2 * weights / 1e3, "GMAC": multiply_adds(self.student.widths, 256, 256) / 1e9}

    def _compare(self, material: Material, grams: dict[str, Tensor], example: dict[str, Tensor]) -> dict[str, Tensor]:
        values = judge(self.student, grams, example["photo"], example["picture"])
        found, wanted = all_pulls(*pulls(values, example["picture"]), material.k), wanted_pulls(example, material.k)
        compared = {
            f"cosine {term} {scale}": cosine(found[term], wanted[term], scale) for term in TERMS for scale in SCALES
        }
        both = {"got": values.detach(), "wanted": example["values"]}
        compared |= {f"values {who}": torch.stack([v[:, 0], v[:, 1:].mean(1)], 1) for who, v in both.items()}
        return compared | {"pulls": found["total"], "pulls VGG": wanted["total"]}

    def _save(self) -> None:
        tensors = {f"student.{k}": v for k, v in self.student.state_dict().items()}
        tensors |= {f"heads.{k}": v for k, v in self.heads.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in pack_optimizer(self.optimizer).items()}
        write_tensors(self.folder / STATE, tensors, {"recipe": json.dumps(self.recipe), "step": str(self.step)})

    def _resume(self) -> None:
        metadata, tensors = read_tensors(self.folder / STATE)
        if json.loads(metadata["recipe"]) != self.recipe:
            raise InputError(
                f"'{self.folder}' was begun with {metadata['recipe']}: give the same flags, or another --label"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.student.load_state_dict(part("student."))
        self.heads.load_state_dict(part("heads."))
        unpack_optimizer(self.optimizer, part("optimizer."))
        self.step = int(metadata["step"])


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's, of two rows of numbers."""
    ranks = torch.stack([values.argsort().argsort().double() for values in (first, second)])
    return float(torch.corrcoef(ranks)[0, 1])


def unevenness(gradients: Tensor) -> float:
    """How unlike the pixels of a cell of 8x8 are in what gradients (B, 3, S, S) reach them; 0: all alike.

    Deviation of the mean absolute gradient over the 64 places, over its mean. What is uneven here is a grid later.
    """
    size = gradients.abs()[..., : gradients.shape[-2] // PHASES * PHASES, : gradients.shape[-1] // PHASES * PHASES]
    batch, _, height, width = size.shape
    places = size.reshape(batch, 3, height // PHASES, PHASES, width // PHASES, PHASES).mean((0, 1, 2, 4))
    return float(places.std() / places.mean())


def table(students: Path) -> Table:
    """All that has been measured."""
    found = {path.parent.name: json.loads(path.read_text()) for path in sorted(students.glob(f"*/{FIGURES}"))}
    cosines = [f"cosine {term} {scale}" for term in TERMS for scale in (SCALES[0], SCALES[-1])]
    columns = ["kB", "GMAC", *cosines, *(f"rank {term}" for term in TERMS[:2]), "uneven", "uneven VGG"]
    shown = Table("network", *columns, title=f"on paintings held out; cosines at {SCALES[0]} and {SCALES[-1]} px")
    for name, figures in found.items():
        shown.add_row(name, *(f"{figures[column]:.3g}" for column in columns))
    return shown


if __name__ == "__main__":
    main()
