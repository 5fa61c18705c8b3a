"""What a training, or the slow method, can be told: one dataclass is a verb's flags, its YAML and the metadata kept."""

import types
import typing
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

from ..contract import MIN_SIZE_PX
from ..errors import InputError
from ..flags import flag_name

STYLE_LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0}
CONTENT_LAYER = "relu4_2"
BASE, SCRATCH = "base", "scratch"
COMPACT: Final = "compact"
"""The loss network of our own; the others are VGG."""
LossNetwork = Literal["compact", "vgg19", "vgg16"]
LOSS_NETWORK: LossNetwork = COMPACT
"""Unless told otherwise."""
SYNTHETIC = "synthetic"
"""In place of a folder of photos: photos made up as a training goes."""
DEFAULT_STEPS, SCRATCH_STEPS = 200, 3000
"""From the base or another run, and from nothing."""
STYLE_PX = 384
"""Shorter side of the painting, at which its strokes are as large as --stroke-size 1 means."""
PLACES = ("painting", "photo", "photos", "val_photos", "output", "vgg_weights")
"""What may be given anew with --resume: the same things can lie elsewhere."""


@dataclass(kw_only=True, frozen=True)
class Settings:
    """What the settings of `train` and `optimize` have in common: they can be stored, and resumed from."""

    def resumed(self, stored: Self) -> Self:
        """The settings that something was started with, `stored`, save for where things lie on this machine."""
        places = {name: value for name in (*PLACES, "resume") if (value := getattr(self, name, None)) is not None}
        return replace(stored, **places)

    @property
    def ignored_by_resume(self) -> list[str]:
        """Flags that were given beside --resume and will not be heeded."""
        given = (f for f in fields(self) if f.name not in (*PLACES, "resume") and getattr(self, f.name) != _default(f))
        return [flag_name(f.name) for f in given]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's or a style file's metadata."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The other way round; keys that are not known are left out.

        Raises:
            ValueError: a value of the wrong kind.
        """
        hints = typing.get_type_hints(cls)
        known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        for name, value in known.items():
            if Path in _kinds(hints[name]) and value is not None:
                known[name] = Path(str(value))
        return cls(**known)

    def _at_least(self, flag: str, least: float) -> None:
        value = getattr(self, flag)
        _require(value is None or value >= least, f"{flag_name(flag)}: got {value}, expected at least {least}")

    def _within(self, flag: str, least: float, most: float) -> None:
        value = getattr(self, flag)
        _require(least <= value <= most, f"{flag_name(flag)}: got {value}, expected {least:g} to {most:g}")


@dataclass(kw_only=True, frozen=True)
class TrainConfig(Settings):
    """Learn a painting: one painting and a folder of photos in, a style file out.

    allaprima train painting.jpg
    allaprima train painting.jpg --photos ~/Pictures
    allaprima train painting.jpg --photos ~/Pictures --strength 1.5 --stroke-size 1.5 --out runs/bold
    allaprima train painting.jpg --photos ~/Pictures --build standard --steps 8000 --out runs/slow
    allaprima train --resume runs/painting
    accelerate launch -m allaprima train painting.jpg --photos ~/Pictures --batch 16
    """

    painting: Path | None = field(default=None, metadata={"positional": "?"})
    """The painting to learn: JPEG, PNG or WebP, of any size and shape."""
    photos: str | None = None
    """Folder of photos to train on, searched recursively; a few hundred are enough to begin with. By default
    `synthetic`: made up as the training goes. (A folder of that name is `./synthetic`.)"""
    val_photos: Path | None = None
    """Folder of photos for the preview and the figures; by default a few of --photos are held out, or made up."""
    out: Path | None = None
    """Run folder; runs/PAINTING by default. Watch it with: tensorboard --logdir runs."""
    resume: Path | None = None
    """Go on with an interrupted run (its folder), with the settings it was started with."""

    strength: float = 1.0
    """How much of the painting, 0 to 2; 1 is an unmistakable painting of a photo that can still be read."""
    stroke_size: float = 1.0
    """Size of the painting's strokes; 2 is twice as large."""
    from_: str | None = None
    """What to start from: `base`, which has learnt many paintings, `scratch`, or a run folder or checkpoint; by default
    `base` for `realtime` and `scratch` for `standard`."""

    build: Literal["realtime", "standard"] = "realtime"
    """`realtime` runs live on a CPU; `standard` is the reference network, slow and thorough."""
    steps: int | None = None
    """Optimizer steps at most; by default 200, from scratch 3000. Fewer where J stops falling earlier."""
    epochs: float | None = None
    """Instead of --steps: passes over the photos."""
    batch: int = 4
    """Photos a step, over all processes together."""
    size: int = 256
    """Side of the square crops trained on, in px."""

    style_weight: float | None = None
    """k of loss = content + k * style, for experts; by default it follows from --strength, the painting and photos."""
    style_layers: dict[str, float] = field(default_factory=lambda: dict(STYLE_LAYERS))
    """Layers of the loss network whose Gram matrices are the style, with their weights."""
    content_layer: str = CONTENT_LAYER
    """Layer of it whose activations are the content."""
    tv_weight: float = 0.05
    """Weight of the total variation; higher is smoother."""
    grid_weight: float = 2.0
    """Weight of the term against grid artefacts."""
    motion_weight: float = 0.5
    """Weight of the term that keeps the strokes on what they paint when that moves, and still when the camera rustles
    or the light changes."""
    loss_network: LossNetwork = LOSS_NETWORK
    """What judges the paintings as they are learnt: `compact`, a small network in the package that has learnt it from
    VGG-19; `vgg19`, for which paintings come out somewhat better, steps take four times as long, and 550 MB are
    downloaded once (docs/compact.md); or `vgg16`."""
    vgg_weights: Path | None = None
    """File with torchvision's weights for VGG (.safetensors, .pth); else ALLAPRIMA_VGG, else torchvision's download.
    With --loss-network compact, VGG-19's serve for the figures alone, and nothing is downloaded."""
    average_pooling: bool = False
    """Average instead of max pooling in VGG (Gatys et al. 2016)."""

    learning_rate: float = 0.03
    """How far a step moves the filters, relative to what keeps a signal as strong as it is: reached after the warm-up,
    in the end lowered to zero along a cosine."""
    warmup: float = 0.02
    """Share of the steps over which the rate rises."""
    decay: float = 0.45
    """Share of the steps over which it falls to zero, at the end."""
    early_stop: bool = True
    """Let the rate fall earlier, and end earlier, once J of photos that are not trained on no longer falls."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    flip: bool = True
    """Mirror half of the crops."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Arithmetic; auto is bf16 where the device has it."""
    seed: int = 0
    """Same seed, same machine: same loss."""

    preview_every: int = 250
    """Steps between previews in TensorBoard."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    keep_checkpoints: int = 3
    """How many of the last checkpoints stay."""
    workers: int = 1
    """Processes that read photos; 0 reads them in the training process."""

    proof: int = 2
    """Photos on which the trained network is held against the slow method, a minute or two each on a CPU; 0 for none.
    """
    int8: bool = True
    """Of `realtime`, write a second style file as well, in 8-bit integers, for CPUs."""
    name: str = ""
    """Name of the style; the painting's file name by default."""
    title: str = ""
    """Title of the painting, for the style file's card."""
    artist: str = ""
    """Who painted it, likewise."""
    year: str = ""
    """When, likewise."""
    licence: str = ""
    """The painting's licence, likewise."""

    def __post_init__(self) -> None:
        """Raises ValueError, naming the flag."""
        if self.resume is None:
            _require(self.painting is not None, "PAINTING is missing: give the picture to learn")
            _require(
                not (self.made_up and self.epochs), "--epochs: synthetic photos have no end: give --steps, or --photos"
            )
        # The name becomes a file name; a stranger's checkpoint may hold any.
        _require(self.name == Path(self.name).name, f"--name: got '{self.name}', expected a name without folders")
        _require(self.steps is None or self.epochs is None, "--steps and --epochs: give one of them, not both")
        for flag, least in (("steps", 1), ("batch", 1), ("size", 64), ("preview_every", 1)):
            self._at_least(flag, least)
        for flag, least in (
            ("checkpoint_every", 1),
            ("keep_checkpoints", 1),
            ("workers", 0),
            ("seed", 0),
            ("proof", 0),
        ):
            self._at_least(flag, least)
        for flag in ("epochs", "learning_rate", "clip"):
            value = getattr(self, flag)
            _require(value is None or value > 0, f"{flag_name(flag)}: got {value}, expected more than 0")
        for flag in ("style_weight", "tv_weight", "grid_weight", "motion_weight"):
            self._at_least(flag, 0)
        for flag, lowest, most in (("strength", 0, 2), ("stroke_size", 0.25, 4), ("warmup", 0, 1), ("decay", 0, 1)):
            self._within(flag, lowest, most)
        _require(
            not (self.average_pooling and self.loss_network == COMPACT),
            "--average-pooling: 'compact' does not pool: leave it out, or give --loss-network vgg19",
        )
        total = self.warmup + self.decay
        _require(total <= 1, f"--warmup and --decay: got {total:g} together, expected at most 1")
        _check_layers(self.style_layers)

    @property
    def style_px(self) -> int:
        """Shorter side of the painting, in px."""
        return round(STYLE_PX * self.stroke_size)

    @property
    def default_steps(self) -> int:
        """Steps where neither --steps nor --epochs is given."""
        return SCRATCH_STEPS if self.start == SCRATCH else DEFAULT_STEPS

    @property
    def start(self) -> str:
        """What it starts from: `--from`, or the base, which is a `realtime` network."""
        return self.from_ or (BASE if self.build == "realtime" else SCRATCH)

    @property
    def made_up(self) -> bool:
        """Whether the photos trained on are synthetic."""
        return self.photos in (None, SYNTHETIC)

    @property
    def judged_by_made_up(self) -> bool:
        """Whether the photos that figures are of are synthetic."""
        return self.made_up and self.val_photos is None

    @property
    def kinds_of_photos(self) -> dict[str, str]:
        """What `photos` and `val_photos` are, and no folder's name: for those whom a style file reaches."""
        made_up = {"photos": self.made_up, "val_photos": self.judged_by_made_up}
        return {name: SYNTHETIC if value else "folder" for name, value in made_up.items()}

    @property
    def style_name(self) -> str:
        """`--name`, or the painting's file name."""
        return self.name or (self.painting.stem if self.painting else "unnamed")

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that the losses look at."""
        return (*self.style_layers, self.content_layer)


@dataclass(kw_only=True, frozen=True)
class OptimizeConfig(Settings):
    """Paint one photo by the slow, exact method: no network, the picture itself is optimised (Gatys et al. 2016).

    allaprima optimize me.jpg painting.jpg -o painted.png
    allaprima optimize me.jpg painting.jpg -o painted.png --size 1024 --style-weight 30 --show-every 10
    allaprima optimize --resume painted.png.safetensors
    """

    photo: Path | None = field(default=None, metadata={"positional": "?"})
    """The photo: JPEG, PNG or WebP."""
    painting: Path | None = field(default=None, metadata={"positional": "?"})
    """The painting, likewise."""
    output: Path | None = None
    """The picture to write (.png, .jpg or .webp)."""
    resume: Path | None = None
    """Go on with what Ctrl-C stopped (the .safetensors file beside the picture), with the settings it was started
    with."""

    size: int | None = None
    """Longer side of the picture in px; the photo is scaled to it, up or down. Default: 512, or the photo's own side
    where that is less."""
    scales: int | None = None
    """Sizes to paint at, one after the other, each 1.6 times the one before; by default as many as bring the first
    one's shorter side near 256 px."""
    steps: int = 200
    """Steps of the optimizer at each of these sizes."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """`lbfgs` gets farther in a step; `adam` takes less memory, and more steps."""
    init: Literal["photo", "noise"] = "photo"
    """What the picture is at first."""
    keep_colours: bool = False
    """Keep the colours of the photo: only light and dark come from the painting."""
    show_every: int = 0
    """Write the picture as it stands every so many steps, for a viewer to watch; 0: only at the end."""
    seed: int = 0
    """Of the noise to begin with. Same seed, same machine: same picture."""

    strength: float = 1.0
    """How much of the painting, 0 to 2."""
    style_weight: float | None = None
    """k of loss = content + k * style, for experts; by default it follows from --strength."""
    style_size: int | None = None
    """Shorter side of the painting in px; larger means larger strokes. Default: the picture's own shorter side. At
    the smaller sizes the painting is smaller in proportion."""
    style_layers: dict[str, float] = field(default_factory=lambda: dict(STYLE_LAYERS))
    """VGG layers whose Gram matrices are the style, with their weights."""
    content_layer: str = CONTENT_LAYER
    """VGG layer whose activations are the content."""
    tv_weight: float = TrainConfig.tv_weight
    """Weight of the total variation; higher is smoother."""
    vgg: Literal["vgg19", "vgg16"] = "vgg19"
    """The loss network."""
    vgg_weights: Path | None = None
    """File with torchvision's weights for it (.safetensors, .pth); else ALLAPRIMA_VGG, else torchvision's download."""
    average_pooling: bool = True
    """Average instead of max pooling in the loss network, as Gatys et al. do."""

    def __post_init__(self) -> None:
        """Raises ValueError, naming the flag."""
        if self.resume is None:
            _require(self.photo is not None, "PHOTO is missing: give the photo to paint")
            _require(self.painting is not None, "PAINTING is missing: give the picture to paint like")
            _require(self.output is not None, "--output is missing: give the picture to write (-o painted.png)")
        for flag, least in (("size", MIN_SIZE_PX), ("style_size", MIN_SIZE_PX), ("scales", 1), ("steps", 1)):
            self._at_least(flag, least)
        for flag in ("show_every", "seed", "style_weight", "tv_weight"):
            self._at_least(flag, 0)
        self._within("strength", 0, 2)
        _check_layers(self.style_layers)

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that the losses look at."""
        return (*self.style_layers, self.content_layer)


def _check_layers(style_layers: dict[str, float]) -> None:
    _require(bool(style_layers), "--style-layers: got none, expected at least one layer")
    _require(
        all(w >= 0 for w in style_layers.values()) and sum(style_layers.values()) > 0,
        f"--style-layers: got {style_layers}, expected weights of 0 or more, not all 0",
    )


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def smallest_photo_px(crop_px: int) -> int:
    """Shorter side below which a photo is not trained on: blown up to more than twice its size, it is a blur."""
    return crop_px // 2


def _kinds(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
