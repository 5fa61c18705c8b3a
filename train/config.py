"""What a training can be told: one dataclass is `allaprima train`'s flags, its YAML and a checkpoint's metadata."""

import types
import typing
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError

STYLE_LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0}
CONTENT_LAYER = "relu4_2"
DEFAULT_STEPS = 3000
PLACES = ("painting", "photos", "val_photos", "vgg_weights")
"""What may be given anew with --resume: the same things can lie elsewhere."""


@dataclass(kw_only=True)
class TrainConfig:
    """Learn a painting: one painting and a folder of photos in, a style file out.

    allaprima train painting.jpg --photos ~/Pictures
    allaprima train painting.jpg --photos ~/Pictures --build standard --steps 8000 --out runs/slow
    allaprima train --resume runs/painting
    accelerate launch -m allaprima train painting.jpg --photos ~/Pictures --batch 16
    """

    painting: Path | None = field(default=None, metadata={"positional": "?"})
    """The painting to learn: JPEG, PNG or WebP, of any size and shape."""
    photos: Path | None = None
    """Folder of photos to train on, searched recursively; a few hundred are enough to begin with."""
    val_photos: Path | None = None
    """Folder of photos for the preview and the figures; by default a few of --photos are held out."""
    out: Path | None = None
    """Run folder; runs/PAINTING by default. Watch it with: tensorboard --logdir runs."""
    resume: Path | None = None
    """Go on with an interrupted run (its folder), with the settings it was started with."""

    build: Literal["realtime", "standard"] = "realtime"
    """`realtime` runs live on a CPU; `standard` is the reference network, slow and thorough."""
    steps: int | None = None
    """Optimizer steps; 3000 unless --epochs is given."""
    epochs: float | None = None
    """Instead of --steps: passes over the photos."""
    batch: int = 4
    """Photos a step, over all processes together."""
    size: int = 256
    """Side of the square crops trained on, in px."""
    style_size: int = 384
    """Shorter side of the painting, in px; larger means larger strokes."""

    style_weight: float = 10.0
    """k of loss = content + k * style; higher paints more, lower keeps more of the photo."""
    style_layers: dict[str, float] = field(default_factory=lambda: dict(STYLE_LAYERS))
    """VGG layers whose Gram matrices are the style, with their weights."""
    content_layer: str = CONTENT_LAYER
    """VGG layer whose activations are the content."""
    tv_weight: float = 0.05
    """Weight of the total variation; higher is smoother."""
    grid_weight: float = 2.0
    """Weight of the term against grid artefacts."""
    motion_weight: float = 1.0
    """Weight of the term that keeps the strokes on what they paint when it moves."""
    vgg: Literal["vgg19", "vgg16"] = "vgg19"
    """The loss network."""
    vgg_weights: Path | None = None
    """File with torchvision's weights for it (.safetensors, .pth); else ALLAPRIMA_VGG, else torchvision's download."""
    average_pooling: bool = False
    """Average instead of max pooling in the loss network (Gatys et al. 2016)."""

    learning_rate: float = 3e-3
    """Adam's highest rate: reached after the warm-up, then lowered to zero along a cosine."""
    warmup: float = 0.1
    """Share of the steps over which the rate rises."""
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
            _require(self.photos is not None, "--photos is missing: give a folder of photos to train on")
        # The name becomes a file name; a stranger's checkpoint may hold any.
        _require(self.name == Path(self.name).name, f"--name: got '{self.name}', expected a name without folders")
        _require(self.steps is None or self.epochs is None, "--steps and --epochs: give one of them, not both")
        for flag, least in (("steps", 1), ("batch", 1), ("size", 64), ("style_size", 64), ("preview_every", 1)):
            self._at_least(flag, least)
        for flag, least in (("checkpoint_every", 1), ("keep_checkpoints", 1), ("workers", 0), ("seed", 0)):
            self._at_least(flag, least)
        for flag in ("epochs", "learning_rate", "clip"):
            value = getattr(self, flag)
            _require(value is None or value > 0, f"--{_flag(flag)}: got {value}, expected more than 0")
        for flag in ("style_weight", "tv_weight", "grid_weight", "motion_weight"):
            self._at_least(flag, 0)
        _require(0 <= self.warmup < 1, f"--warmup: got {self.warmup}, expected 0 to 1")
        _require(bool(self.style_layers), "--style-layers: got none, expected at least one layer")
        _require(
            all(w >= 0 for w in self.style_layers.values()) and sum(self.style_layers.values()) > 0,
            f"--style-layers: got {self.style_layers}, expected weights of 0 or more, not all 0",
        )

    def resumed(self, stored: "TrainConfig") -> "TrainConfig":
        """The settings a run was started with, `stored`, save for where things lie on this machine."""
        places = {name: value for name in PLACES if (value := getattr(self, name)) is not None}
        return replace(stored, resume=self.resume, **places)

    @property
    def ignored_by_resume(self) -> list[str]:
        """Flags that were given beside --resume and will not be heeded."""
        default = TrainConfig(resume=self.resume)
        names = (f.name for f in fields(self) if f.name not in PLACES)
        return [f"--{_flag(name)}" for name in names if getattr(self, name) != getattr(default, name)]

    def _at_least(self, flag: str, least: float) -> None:
        value = getattr(self, flag)
        _require(value is None or value >= least, f"--{_flag(flag)}: got {value}, expected at least {least}")

    @property
    def style_name(self) -> str:
        """`--name`, or the painting's file name."""
        return self.name or (self.painting.stem if self.painting else "unnamed")

    @property
    def layers(self) -> tuple[str, ...]:
        """VGG layers that the losses look at."""
        return (*self.style_layers, self.content_layer)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's or a style file's metadata."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TrainConfig":
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


def _kinds(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _flag(field_name: str) -> str:
    return field_name.replace("_", "-")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
