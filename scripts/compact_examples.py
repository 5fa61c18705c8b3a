"""Pictures as trainings meet them, and what VGG-19 says of each: what the compact loss network learns from.

A session is a short training of one painting, with VGG-19 or with the compact network as it ships so far: what misleads
that one is only met where it leads (Ross et al. 2011, "A reduction of imitation learning and structured prediction to
no-regret online learning", arXiv:1011.0686). Now and then some photos are painted by what its network is
by then; others become pictures that lie beside a training's path, so that what has learnt from them also knows the way
back to it. Each session is one file (scripts/make_compact.py asks for them).
"""

import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from allaprima.errors import InputError
from allaprima.models.features import Features
from allaprima.models.vgg import load_vgg
from allaprima.pictures import read_picture
from allaprima.train.config import BASE, COMPACT, CONTENT_LAYER, SCRATCH, STYLE_LAYERS, STYLE_PX, TrainConfig
from allaprima.train.evaluate import YARDSTICK_LAYERS
from allaprima.train.losses import gram_matrix, relative_distance
from allaprima.train.photos import views
from allaprima.train.strength import moments, recolour
from allaprima.train.tensor_files import write_tensors
from allaprima.train.trainer import LOG_EVERY, Trainer
from allaprima.train.view import moving_window

FORMAT = "allaprima-compact-examples/1"
CROP_PX = 160
STEPS, STEPS_MISLED = 50, 100
"""Of a session with VGG-19, and with the compact network; a look every `LOG_EVERY` of them."""
PAINTED, OTHERS = 25, 3
"""Pictures of a session that its network has painted, and of each other sort."""
OTHER_SORTS = ("noisy", "recoloured", "of_the_painting", "mixed", "optimised")
STROKE_SIZES, STRENGTHS = (0.7, 1.0, 1.4), (0.5, 1.6)
ADAM_STEPS, ADAM_RATE = 10, 0.03

Random = np.random.Generator


@dataclass(frozen=True)
class Session:
    """A short training."""

    number: int
    painting: Path
    start: str
    stroke_size: float
    strength: float
    compact: str = ""
    """The hash of the compact network that trains; "": VGG-19 does."""

    @property
    def file_name(self) -> str:
        """Of its examples."""
        return f"session-{self.number:04}{self.compact and '-' + self.compact[:8]}.safetensors"


def sessions(paintings: list[Path], examples: int, compact: str = "") -> list[Session]:
    """Every painting in turn, from the base and from nothing by turns, each time with other strokes."""
    planned = []
    for number in range(math.ceil(examples / (PAINTED + OTHERS * len(OTHER_SORTS)))):
        random, (turn, which) = np.random.default_rng((number, 0)), divmod(number, len(paintings))
        planned.append(
            Session(
                number=number,
                painting=paintings[which],
                start=(BASE, SCRATCH)[(turn + which) % 2],
                stroke_size=float(random.choice(STROKE_SIZES)),
                strength=float(random.uniform(*STRENGTHS)),
                compact=compact,
            )
        )
    return planned


def grams_of(features: Features, painting: Tensor) -> dict[str, Tensor]:
    """Of the parts of a painting, (B, 3, H, W) in 0..1: what its pictures are to have, (1, C, C) by layer."""
    activations = features(painting)
    return {layer: gram_matrix(activations[layer]).mean(0, keepdim=True) for layer in STYLE_LAYERS}


def judge(features: Features, grams: dict[str, Tensor], photo: Tensor, picture: Tensor) -> Tensor:
    """Photos and pictures of them, (B, 3, S, S) in 0..1 -> (B, 5): content distance, style distance of each layer."""
    wanted, got = features(photo), features(picture)
    values = [relative_distance(got[CONTENT_LAYER], wanted[CONTENT_LAYER])]
    for layer, gram in grams.items():
        values.append(relative_distance(gram_matrix(got[layer]), gram.expand(len(photo), -1, -1)))
    return torch.stack(values, 1)


def pulls(values: Tensor, picture: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """What `judge` said of pictures -> the gradients of content and style with respect to them, (B, 3, S, S) each."""
    content, style = values[:, 0].sum(), values[:, 1:].mean(1).sum()
    (of_content,) = torch.autograd.grad(content, picture, create_graph=create_graph, retain_graph=True)
    (of_style,) = torch.autograd.grad(style, picture, create_graph=create_graph)
    return of_content, of_style


def collect(session: Session, *, photos: str, vgg_weights: Path | None, folder: Path) -> None:
    """Train, and write the examples of a session into `folder`."""
    steps = STEPS_MISLED if session.compact else STEPS
    with tempfile.TemporaryDirectory(dir=folder) as run:
        config = TrainConfig(
            painting=session.painting,
            photos=photos,
            vgg_weights=vgg_weights,
            loss_network=COMPACT if session.compact else "vgg19",
            from_=session.start,
            stroke_size=session.stroke_size,
            strength=session.strength,
            out=Path(run) / "run",
            size=CROP_PX,
            steps=steps,
            checkpoint_every=steps,
            preview_every=steps,
            early_stop=False,
            seed=session.number,
        )
        with Trainer(config) as trainer:
            examples = Examples(trainer, session)
            for _ in trainer.run():
                for _ in range(PAINTED * LOG_EVERY // steps):
                    examples.add(examples.painted)
            for sort in OTHER_SORTS * OTHERS:
                examples.add(getattr(examples, sort))
    metadata = {"format": FORMAT, "painting": session.painting.name, "k": str(trainer.objective.k)}
    write_tensors(folder / session.file_name, examples.stacked(), metadata)


class Examples:
    """Those of one session, as they come."""

    def __init__(self, trainer: Trainer, session: Session) -> None:
        self.trainer, self.random = trainer, np.random.default_rng((session.number, 1))
        self.vgg, _ = load_vgg(YARDSTICK_LAYERS, weights=trainer.config.vgg_weights)  # in fp32, whatever trains
        self.painting = views(trainer.painting, trainer.config.style_px)
        with torch.no_grad():
            self.grams = grams_of(self.vgg, self.painting)
        self.crops = trainer.photos.crops(size_px=CROP_PX, flip=True, seed=session.number)
        self.found: list[dict[str, Tensor]] = []

    def add(self, sort: Callable[[Tensor], Tensor]) -> None:
        """A photo, the picture that `sort` makes of it, and what VGG-19 says of the two."""
        number = 10**6 + len(self.found)  # a crop that no training sees
        photo = self.crops[int(self.random.integers(len(self.trainer.photos))), number]["photo"][None] / 255
        with torch.no_grad():
            picture = sort(photo)
        photo, picture = moving_window(number, self.trainer.config.seed, photo, picture)
        picture = picture.clamp(0, 1).half().float().requires_grad_()  # as it will be read again
        values = judge(self.vgg, self.grams, photo, picture)
        content, style = pulls(values, picture)
        sizes = torch.stack([content.square().mean().sqrt(), style.square().mean().sqrt()])
        self.found.append(
            {
                "photo": (photo * 255).round().to(torch.uint8),
                "picture": picture.detach().half(),
                # fp16 has room for few zeros behind the point: directions in it, their lengths beside them.
                "content_pull": (content / sizes[0]).half(),
                "style_pull": (style / sizes[1]).half(),
                "sizes": sizes[None],
                "values": values.detach(),
            }
        )

    def stacked(self) -> dict[str, Tensor]:
        """All of them, (N, ...) by name."""
        return {name: torch.cat([example[name] for example in self.found]) for name in self.found[0]}

    def painted(self, photo: Tensor) -> Tensor:
        """By the network, as far as it is."""
        picture: Tensor = self.trainer.network(photo.to(self.trainer.device)).float().cpu()
        return picture

    def noisy(self, photo: Tensor) -> Tensor:
        """The photo, by a sensor in the dark."""
        return photo + torch.from_numpy(self.random.normal(0, 10 ** self.random.uniform(-2, -0.7), photo.shape)).float()

    def recoloured(self, photo: Tensor) -> Tensor:
        """What k is measured on."""
        return recolour(photo, *moments(self.painting[:1]))

    def of_the_painting(self, photo: Tensor) -> Tensor:
        """A piece of the painting, and nothing of the photo."""
        view = self.painting[self.random.integers(len(self.painting))]
        top, left = (int(self.random.integers(side - CROP_PX + 1)) for side in view.shape[1:])
        return view[None, :, top : top + CROP_PX, left : left + CROP_PX]

    def mixed(self, photo: Tensor) -> Tensor:
        """A piece of the painting over the photo."""
        share = self.random.uniform(0.1, 0.9)
        return share * self.of_the_painting(photo) + (1 - share) * photo

    @torch.enable_grad()
    def optimised(self, photo: Tensor) -> Tensor:
        """Half way to what the slow method would paint."""
        picture = (photo if self.random.random() < 0.5 else self.painted(photo).detach()).clone().requires_grad_()
        optimizer = torch.optim.Adam([picture], lr=ADAM_RATE)
        for _ in range(int(self.random.integers(1, ADAM_STEPS + 1))):
            values = judge(self.vgg, self.grams, photo, picture)
            (picture.grad,) = torch.autograd.grad(
                (values[:, 0] + self.trainer.objective.k * values[:, 1:].mean(1)).sum(), picture
            )
            optimizer.step()
        return picture.detach()


@dataclass(frozen=True, eq=False)
class Material:
    """The examples of a session, which are read as they are needed."""

    file: Path
    painting: Tensor
    """Its parts, (B, 3, H, W) in 0..1."""
    k: float
    count: int

    @classmethod
    def of(cls, session: Session, folder: Path) -> "Material":
        """As `collect` has left it."""
        file = folder / session.file_name
        with safe_open(file, framework="pt") as opened:
            metadata, (count, _) = opened.metadata(), opened.get_slice("values").get_shape()
        if metadata["format"] != FORMAT or metadata["painting"] != session.painting.name:
            raise InputError(f"'{file}' is not of '{session.painting.name}': other paintings need another --out")
        painting = read_picture(session.painting, what="painting")
        seen = views(painting, round(STYLE_PX * session.stroke_size)).to(memory_format=torch.channels_last)
        return cls(file, seen, float(metadata["k"]), count)

    def take(self, indices: Iterable[int]) -> dict[str, Tensor]:
        """Some examples, by name, in float32; the picture waits for gradients."""
        with safe_open(self.file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            taken = {name: torch.cat([part[i : i + 1] for i in indices]).float() for name, part in slices.items()}
        taken["photo"] /= 255
        for name in ("photo", "picture"):
            taken[name] = taken[name].contiguous(memory_format=torch.channels_last)
        taken["picture"].requires_grad_()
        return taken
