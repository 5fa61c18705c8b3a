"""How good a style is against the slow method on the same loss: optimality ratio and equivalent steps of L-BFGS.

    proof = Proof(stylize, painting, photos, vgg=vgg, vgg_sha256=sha256, style_weights=(10,))
    for progress in proof.run():
        print(progress.done, progress.total)
    proof.result.figures()                             # for a report or a style's card

The slow method (Gatys et al. 2016) optimises each picture by itself, so no network can do better on the loss. What it
comes to is kept in the user's cache folder: it depends on the photo, the painting and the weight, not on the network.
`allaprima evaluate` draws it.
"""

import hashlib
import json
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..errors import InputError
from ..files import cache_folder
from ..models.vgg import VGGFeatures
from ..pictures import Frame
from .artefacts import GRID_PERIODS, grid
from .config import CONTENT_LAYER, STYLE_LAYERS
from .evaluate import YARDSTICK_PX, Distances, Figures, distances, evaluate
from .losses import PerceptualLoss
from .optimize import Descent, PictureLoss, white_noise
from .photos import resize_shorter, to_frame, to_tensor, views
from .tensor_files import read_tensors, write_tensors

RATIO_PX = 256
"""Shorter side at which network and slow method meet."""
REFERENCE_STEPS = 200
"""Of L-BFGS from the photo: the optimum that the ratio is taken to."""
CURVE_STEPS = 300
"""Of L-BFGS from noise."""
STYLE_WEIGHTS = (3.0, 10.0, 30.0)
"""Those tried for a network that does not say what it was trained with."""
FORMAT = "allaprima-reference/1"
NOISE_SEED = 0

Painter = Callable[[Frame], Frame]


@dataclass(frozen=True)
class Reference:
    """What the slow method made of one photo."""

    curve: list[Distances]
    """After 0, 1, 2, ... steps."""
    pictures: dict[int, Frame] = field(default_factory=dict)
    """Those that were asked for, by number of steps."""

    def j(self, style_weight: float) -> list[float]:
        """content + style_weight * style along the curve."""
        return [at.j(style_weight) for at in self.curve]


class SlowMethod:
    """L-BFGS on pictures, on the yardstick's loss for one painting; results go through a cache.

    Args:
        vgg: features with at least `evaluate.YARDSTICK_LAYERS`.
        vgg_sha256: the hash of their weights.
        painting: (H, W, 3) uint8 RGB.
        cache: folder to keep results in; None for no cache.
    """

    def __init__(self, vgg: VGGFeatures, vgg_sha256: str, painting: Frame, *, cache: Path | None) -> None:
        self.vgg, self.vgg_sha256, self.cache = vgg.to(memory_format=torch.channels_last), vgg_sha256, cache
        self.painting = resize_shorter(painting, YARDSTICK_PX)
        seen = views(painting, YARDSTICK_PX).to(self.vgg.mean.device)
        self._parts = len(seen)
        with torch.no_grad():
            self._activations = self.vgg(seen)

    def paint(
        self,
        photo: Frame,
        *,
        style_weight: float,
        steps: int,
        init: Literal["photo", "noise"],
        keep: Sequence[int] = (),
    ) -> Generator[int, None, Reference]:
        """Paint `photo`, (H, W, 3) uint8 RGB, at its own size; yields the number of each step, returns the reference.

        Raises:
            InputError: the loss is not a number any more.
        """
        key = self._key(photo, style_weight=style_weight, steps=steps, init=init, keep=list(keep))
        if found := read_reference(self._place(key), key):
            yield steps
            return found
        x = self._tensor(photo)
        descent = Descent(
            self._objective(x, style_weight), x if init == "photo" else white_noise(x, NOISE_SEED), "lbfgs"
        )
        curve, pictures = [_distances(descent.losses())], {}
        for step in range(1, steps + 1):
            try:
                curve.append(_distances(descent.step()))
            except FloatingPointError as error:
                raise InputError(
                    f"the slow method failed in step {step} at style weight {style_weight:g}: {error}"
                ) from error
            if step in keep:
                pictures[step] = to_frame(descent.x)
            yield step
        reference = Reference(curve, pictures)
        write_reference(self._place(key), key, reference)
        return reference

    def _objective(self, photo: Tensor, style_weight: float) -> PictureLoss:
        loss = PerceptualLoss(
            self._activations,
            content_layer=CONTENT_LAYER,
            style_layers=STYLE_LAYERS,
            style_weight=style_weight,
            tv_weight=0,
            grid_weight=0,
        )
        return PictureLoss(self.vgg, loss.to(photo.device), photo)

    def _tensor(self, picture: Frame) -> Tensor:
        return to_tensor(picture).to(self.vgg.mean.device)

    def _key(self, photo: Frame, **asked: Any) -> str:
        """All that the result depends on, as JSON."""
        pictures: dict[str, Any] = {"photo": digest(photo), "painting": digest(self.painting)}
        if self._parts > 1:  # of a panorama
            pictures["parts"] = self._parts
        return json.dumps({"format": FORMAT, "vgg": self.vgg_sha256, **pictures, **asked}, sort_keys=True)

    def _place(self, key: str) -> Path | None:
        return self.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors" if self.cache else None


def digest(picture: Frame) -> str:
    """SHA-256 of size and pixels."""
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()


def read_reference(path: Path | None, key: str) -> Reference | None:
    """What `write_reference` kept for `key`; None where there is nothing, or nothing sound."""
    if path is None or not path.is_file():
        return None
    try:
        metadata, tensors = read_tensors(path)
        asked = json.loads(key)
        curve = [Distances(*map(float, pair)) for pair in json.loads(metadata["curve"])]
        pictures = {int(name): tensor.numpy() for name, tensor in tensors.items()}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None
    whole = len(curve) == asked["steps"] + 1 and sorted(pictures) == sorted(asked["keep"])
    sound = all(math.isfinite(at.content + at.style) for at in curve)
    sound = sound and all(p.dtype == np.uint8 and p.ndim == 3 and p.shape[2] == 3 for p in pictures.values())
    return Reference(curve, pictures) if metadata.get("key") == key and whole and sound else None


def write_reference(path: Path | None, key: str, reference: Reference) -> None:
    """Keep a reference; where that cannot be done, the work is only done again the next time."""
    if path is None:
        return
    curve = json.dumps([[at.content, at.style] for at in reference.curve])
    tensors = {str(step): torch.from_numpy(picture) for step, picture in reference.pictures.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors, {"key": key, "curve": curve})
    except (OSError, InputError):
        return


def references_folder() -> Path:
    """Where references are kept unless told otherwise."""
    return cache_folder() / "references"


def equivalent_steps(curve: Sequence[float], j: float) -> float | None:
    """After how many steps the slow method is as good as `j`, interpolated; None if it never was.

    Args:
        curve: J after 0, 1, 2, ... steps.
        j: J of the network.
    """
    for step, now in enumerate(curve):
        if now <= j:
            before = curve[step - 1]
            return step - 1 + (before - j) / (before - now) if step else 0.0
    return None


def steps_to_show(steps: int) -> list[int]:
    """After which steps from noise a picture is worth a look: 50, 100 and 300 of 300."""
    return sorted({max(1, steps // 6), max(1, steps // 3), steps})


@dataclass(frozen=True)
class Progress:
    """How far the measuring is, in steps of the slow method."""

    done: int
    total: int
    what: str
    """What is being done, in words."""


@dataclass(frozen=True)
class Example:
    """One photo, and what becomes of it: (H, W, 3) uint8 RGB each."""

    photo: Frame
    painted: Frame
    slow: dict[int, Frame]
    """By the slow method, by number of steps from noise."""


@dataclass(frozen=True, kw_only=True)
class Optimality:
    """The proof of a style."""

    style_weight: float
    """k at which it is judged."""
    yardstick: Figures
    """On all photos, at `evaluate.YARDSTICK_PX`."""
    ratios: list[float]
    """J of the network over J of the slow method, photo by photo."""
    curve: list[float]
    """J of the slow method after 0, 1, 2, ... steps from noise, mean over the examples."""
    curve_j: float
    """J of the network, mean over the same photos."""
    grid: dict[int, float]
    """Period in px -> `artefacts.grid`, median over the photos."""
    examples: list[Example]

    @property
    def ratio(self) -> float:
        """The optimality ratio: 1 is the best that the loss allows."""
        return float(np.mean(self.ratios))

    @property
    def equivalent_steps(self) -> float | None:
        """See the function of that name."""
        return equivalent_steps(self.curve, self.curve_j)

    def figures(self) -> dict[str, float]:
        """The short form, for a report or a style's card; what was not measured or not reached is left out."""
        steps = self.equivalent_steps
        short = self.yardstick.short() | {"style_weight": self.style_weight, "optimality_ratio": self.ratio}
        short |= {} if steps is None else {"equivalent_steps": steps}
        return short | {f"grid_{period}": value for period, value in self.grid.items()}

    def to_json(self) -> dict[str, Any]:
        """All numbers."""
        measured = {"yardstick": asdict(self.yardstick), "ratios": self.ratios}
        return {"figures": self.figures(), **measured, "curve": self.curve, "curve_j": self.curve_j}


class Proof:
    """Measures a network against the slow method.

    Args:
        paint: the network: (H, W, 3) uint8 RGB -> the same size.
        painting: what it was trained on, likewise.
        photos: photos that it never saw, at least one.
        vgg: features with at least `evaluate.YARDSTICK_LAYERS`.
        vgg_sha256: the hash of their weights.
        style_weights: the k it was trained for; of several, the one with the least ratio counts.
        shorter_px: shorter side of the photos that both paint.
        reference_steps, curve_steps: of the slow method from the photo and from noise.
        examples: how many photos are painted from noise, the first ones; without any there is no curve.
        cache: where references are kept; None for nowhere.
    """

    result: Optimality
    """Once `run` has come to its end."""

    def __init__(
        self,
        paint: Painter,
        painting: Frame,
        photos: Sequence[Frame],
        *,
        vgg: VGGFeatures,
        vgg_sha256: str,
        style_weights: Sequence[float] = STYLE_WEIGHTS,
        shorter_px: int = RATIO_PX,
        reference_steps: int = REFERENCE_STEPS,
        curve_steps: int = CURVE_STEPS,
        examples: int = 3,
        cache: Path | None = None,
    ) -> None:
        assert photos
        self.paint, self.painting, self.photos, self.vgg = paint, painting, photos, vgg
        self.style_weights, self.shorter_px = style_weights, shorter_px
        self.reference_steps, self.curve_steps = reference_steps, curve_steps
        self.small = [resize_shorter(photo, shorter_px) for photo in photos]
        self.examples = min(examples, len(photos))
        self._slow = SlowMethod(vgg, vgg_sha256, painting, cache=cache)
        self.steps = len(photos) * len(style_weights) * reference_steps + self.examples * curve_steps
        """Of the slow method, all in all."""
        self._done = 0

    def run(self) -> Iterator[Progress]:
        """Measure; each yield is a good moment to stop."""
        yield Progress(0, self.steps, "the network paints")
        large = [resize_shorter(photo, YARDSTICK_PX) for photo in self.photos]
        paintings = [self.paint(photo) for photo in large]
        grids = [grid(painting) for painting in paintings]
        network = distances(self._paint_tensor, self.vgg, self.painting, self.small, shorter_px=self.shorter_px)
        ratios = {}
        for weight in self.style_weights:
            ratios[weight] = yield from self._ratios(network, weight)
        weight = min(ratios, key=lambda k: float(np.mean(ratios[k])))
        slow = yield from self._from_noise(weight)
        curves = np.array([reference.j(weight) for reference in slow])  # (examples, steps + 1); (0,) without examples
        self.result = Optimality(
            style_weight=weight,
            yardstick=evaluate(
                self._paint_tensor, self.vgg, self.painting, large, style_weight=weight, shorter_px=YARDSTICK_PX
            ),
            ratios=ratios[weight],
            curve=curves.mean(0).tolist() if slow else [],
            curve_j=float(np.mean([at.j(weight) for at in network[: self.examples]])) if slow else math.inf,
            grid={period: float(np.median([g[period] for g in grids])) for period in GRID_PERIODS},
            examples=[
                Example(photo, self.paint(photo), reference.pictures)
                for photo, reference in zip(self.small, slow, strict=False)
            ],
        )

    def _ratios(self, network: Sequence[Distances], weight: float) -> Generator[Progress, None, list[float]]:
        ratios = []
        for number, (photo, ours) in enumerate(zip(self.small, network, strict=True), 1):
            slow = self._slow.paint(photo, style_weight=weight, steps=self.reference_steps, init="photo")
            what = f"optimum of photo {number} of {len(self.small)} at k = {weight:g}"
            reference = yield from self._follow(slow, self.reference_steps, what)
            ratios.append(ours.j(weight) / reference.j(weight)[-1])
        return ratios

    def _from_noise(self, weight: float) -> Generator[Progress, None, list[Reference]]:
        steps, found = self.curve_steps, []
        for number, photo in enumerate(self.small[: self.examples], 1):
            slow = self._slow.paint(photo, style_weight=weight, steps=steps, init="noise", keep=steps_to_show(steps))
            found.append((yield from self._follow(slow, steps, f"photo {number} of {self.examples} from noise")))
        return found

    def _follow(
        self, slow: Generator[int, None, Reference], steps: int, what: str
    ) -> Generator[Progress, None, Reference]:
        """Pass on the steps of one picture as progress of the whole."""
        while True:
            try:
                step = next(slow)
            except StopIteration as end:
                self._done += steps
                reference: Reference = end.value
                return reference
            yield Progress(self._done + step, self.steps, what)

    def _paint_tensor(self, x: Tensor) -> Tensor:
        return to_tensor(self.paint(to_frame(x))).to(x.device)


def _distances(losses: dict[str, float]) -> Distances:
    return Distances(losses["content"], losses["style"])
