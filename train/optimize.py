"""The slow, exact method of Gatys et al. (2016, CVPR): no network is trained, the picture itself is optimised.

    painter = Optimization(config)
    for progress in painter.run():
        print(progress.step, progress.losses["total"])
    painter.picture                                    # (H, W, 3) uint8 RGB

From coarse to fine: a small picture is painted first, and what it came to is where the next larger one begins. So large
strokes come out although VGG sees no farther than some 100 px. `allaprima optimize` draws it.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from ..contract import MIN_SIZE_PX
from ..errors import InputError
from ..files import require_folder
from ..models.vgg import VGGFeatures, load_vgg
from ..pictures import WRITABLE_SUFFIXES, Frame, read_picture
from .checkpoint import pack_optimizer, unpack_optimizer
from .config import OptimizeConfig
from .device import best_device, free_bytes, keep_freed_memory
from .losses import PerceptualLoss
from .photos import resize, to_frame, to_tensor, views
from .strength import style_weight
from .tensor_files import read_tensors, write_tensors
from .view import ClampWithGradient

FORMAT = "allaprima-optimize/1"
DEFAULT_PX, COARSEST_PX, SCALE_FACTOR = 512, 256, 1.6
HISTORY = 20
"""Steps that L-BFGS remembers; each costs two pictures of memory."""
ADAM_RATE = 0.02
ADAM_PICTURES = 6  # picture, gradient, two moments and what a step needs on its way
LBFGS_PICTURES = 2 * HISTORY + 10
FIXED_BYTES = 200_000_000  # convolutions keep their weights in a second order, and some working memory
WITH_GRADIENTS = 2.5  # all activations are held, and as much again for Gram matrices and gradients on the way back

OptimizerName = Literal["lbfgs", "adam"]
Losses = dict[str, float]


class PictureLoss(nn.Module):
    """The loss of a picture that is to show one photo like one painting."""

    def __init__(self, vgg: VGGFeatures, loss: PerceptualLoss, photo: Tensor) -> None:
        """Take the photo, RGB (1, 3, H, W) in 0..1, where `vgg` is."""
        super().__init__()
        self.vgg, self.loss = vgg, loss
        with torch.no_grad():
            self.photo = vgg(photo)

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        """RGB (1, 3, H, W), as a screen shows it, clamped to 0..1 -> `total`, `content`, `style`, ... scalars."""
        # Gatys leaves the range and clamps once at the end; then the picture seen is not the one that was optimised.
        seen = ClampWithGradient.apply(picture)
        parts: dict[str, Tensor] = self.loss(seen, self.vgg(seen), self.photo)
        return parts


class Descent:
    """A picture on its way down to the least loss, one step at a time.

    A step of L-BFGS is one direction with its line search (strong Wolfe conditions), about one look at the loss.
    """

    def __init__(self, objective: PictureLoss, start: Tensor, optimizer: OptimizerName) -> None:
        """Take the picture to start from, RGB (1, 3, H, W)."""
        keep_freed_memory()
        self.objective = objective
        self.x = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        self.optimizer: torch.optim.Optimizer
        if optimizer == "adam":
            self.optimizer = torch.optim.Adam([self.x], lr=ADAM_RATE, betas=(0.9, 0.99))
        else:
            self.optimizer = torch.optim.LBFGS(
                [self.x],
                max_iter=1,
                max_eval=25,
                history_size=HISTORY,
                tolerance_grad=0,
                line_search_fn="strong_wolfe",
            )
        self._at: Tensor | None = None  # where the loss was last looked at, so that no look is taken twice

    def step(self) -> Losses:
        """One step; the losses of the picture after it.

        Raises:
            FloatingPointError: they are not finite; the picture is that of before.
        """
        before = self.x.detach().clone()
        self.optimizer.step(self._look)
        losses = self.losses()
        if not (math.isfinite(losses["total"]) and bool(self.x.isfinite().all())):
            with torch.no_grad():
                self.x.copy_(before)
            raise FloatingPointError("the loss is not a number any more")
        return losses

    def losses(self) -> Losses:
        """Of the picture as it is."""
        self._look()
        return {name: value.item() for name, value in self._parts.items()}

    def pack(self) -> dict[str, Tensor]:
        """All that it takes to go on from here."""
        return {"picture": self.x.detach()} | {f"optimizer.{k}": v for k, v in pack_optimizer(self.optimizer).items()}

    def unpack(self, packed: Mapping[str, Tensor]) -> None:
        """Put back what `pack` took."""
        with torch.no_grad():
            self.x.copy_(packed["picture"])
        held = {k.removeprefix("optimizer."): v for k, v in packed.items() if k.startswith("optimizer.")}
        unpack_optimizer(self.optimizer, held)
        if isinstance(self.optimizer, torch.optim.LBFGS):
            for key in ("old_dirs", "old_stps", "ro"):  # empty lists leave no trace in a file
                self.optimizer.state[self.x].setdefault(key, [])

    def _look(self) -> float:
        """The loss here, and its gradient in `x.grad`."""
        if self._at is None or not torch.equal(self.x, self._at):
            parts = self.objective(self.x)
            (self._gradient,) = torch.autograd.grad(parts["total"], self.x)
            self._parts = {name: value.detach() for name, value in parts.items()}
            self._at = self.x.detach().clone()
        self.x.grad = self._gradient
        return float(self._parts["total"])


def white_noise(like: Tensor, seed: int) -> Tensor:
    """A picture of the same shape, every value by itself uniform in 0..1; the same for a seed on every device."""
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(seed)).to(like.device)


# How large.


def full_size(height: int, width: int, size_px: int | None) -> tuple[int, int]:
    """(height, width) of the picture painted of a photo.

    Raises:
        InputError: the shorter side comes out too small.
    """
    longer = max(height, width)
    scale = (size_px or min(DEFAULT_PX, longer)) / longer
    painted = round(height * scale), round(width * scale)
    if min(painted) < MIN_SIZE_PX:
        raise InputError(
            f"the picture would be {painted[1]}x{painted[0]} px, expected at least {MIN_SIZE_PX} px: "
            "give a larger --size"
        )
    return painted


def scale_sizes(height: int, width: int, scales: int | None) -> list[tuple[int, int]]:
    """(height, width) of the pictures to paint one after the other, the last as given.

    Raises:
        InputError: the first would be too small.
    """
    shorter = min(height, width)
    count = scales or 1 + max(0, round(math.log(shorter / COARSEST_PX, SCALE_FACTOR)))
    if (first := shorter / SCALE_FACTOR ** (count - 1)) < MIN_SIZE_PX:
        raise InputError(
            f"--scales: got {count}, the first of them would have a shorter side of {first:.0f} px, expected at least "
            f"{MIN_SIZE_PX}: give fewer, or a larger --size"
        )
    factors = (SCALE_FACTOR**-n for n in reversed(range(count)))
    return [(round(height * factor), round(width * factor)) for factor in factors]


def memory_bytes(
    vgg: VGGFeatures, height: int, width: int, optimizer: OptimizerName, *, painting_pixels: int = 0
) -> int:
    """What painting a picture of this size takes on top of the program: activations with gradients, and the optimizer.

    A large painting may need more than that by itself, for its activations alone. Calibrated from 128 to 768 px with
    both optimizers and poolings; `tests/test_optimize.py` measures it again.
    """
    per_pixel, scale, channels = 0.0, 1.0, 3
    for module in vgg.features:
        if isinstance(module, nn.Conv2d):
            channels = module.out_channels
            per_pixel += channels / scale  # the ReLU writes over it
        elif not isinstance(module, nn.ReLU):
            scale *= 4
            per_pixel += channels / scale
    pictures = LBFGS_PICTURES if optimizer == "lbfgs" else ADAM_PICTURES
    painted = height * width * (WITH_GRADIENTS * per_pixel + 3 * pictures)
    return FIXED_BYTES + round(4 * max(painted, painting_pixels * per_pixel))


# The whole of it, as `allaprima optimize` runs it.


@dataclass(frozen=True)
class Progress:
    """Where the picture stands."""

    scale: int
    """Number of the size that is being painted, from 0."""
    step: int
    """Of this size."""
    losses: Losses
    """`total`, `content`, `style` and more, after this step."""


@dataclass(frozen=True)
class State:
    """What Ctrl-C leaves: settings, where it stopped, the picture and what the optimizer knows."""

    config: OptimizeConfig
    scale: int
    step: int
    inputs: str
    """Fingerprint of photo, painting and loss network."""
    tensors: dict[str, Tensor]


class Optimization:
    """One picture from its configuration (or the file of one that was stopped) to the end.

    Raises:
        InputError: on construction, for anything in the configuration that cannot be used, and where the memory would
            not do; while running, when the loss is not a number any more: `picture` then is the last good one.
    """

    def __init__(self, config: OptimizeConfig) -> None:
        state = read_state(config.resume) if config.resume else None
        self.notes: list[str] = []
        """What the user should know before it starts."""
        if state:
            if ignored := config.ignored_by_resume:
                self.notes.append(f"{', '.join(ignored)}: ignored, a resumed picture keeps its settings")
            config = config.resumed(state.config)
        self.config = config
        assert config.photo is not None
        assert config.painting is not None
        assert config.output is not None
        self.output = config.output
        require_picture_place(self.output)
        self.photo = read_picture(config.photo)
        self.painting = read_picture(config.painting, what="painting")
        height, width = self.photo.shape[:2]
        self.sizes = scale_sizes(*full_size(height, width, config.size), config.scales)
        self.device = best_device()
        vgg, sha256 = load_vgg(
            config.layers,
            architecture=config.vgg,
            average_pooling=config.average_pooling,
            weights=config.vgg_weights,
        )
        self.vgg = vgg.to(self.device).to(memory_format=torch.channels_last)
        self.memory_bytes = memory_bytes(
            vgg, *self.sizes[-1], config.optimizer, painting_pixels=self._painting_pixels()
        )
        """The estimate of what it takes on top of the program."""
        self._check_memory()
        self._inputs = _fingerprint(self.photo, self.painting, sha256)
        if state and state.inputs != self._inputs:
            raise InputError(f"'{config.resume}' was of another photo, painting or --vgg-weights: give the same")
        if state and not 0 <= state.scale < len(self.sizes):
            raise InputError(f"--resume: '{config.resume}' is damaged: start anew")
        self.scale, self.step = (state.scale, state.step) if state else (0, 0)
        self.finished = self._stop = False
        if config.style_weight is None:
            photo = torch.from_numpy(self.photo_at(*self.sizes[0])).permute(2, 0, 1)[None].to(self.device)
            k = style_weight(config.strength, self._loss(), self.vgg, self.painting, photo)
            self.config = replace(config, style_weight=k)
        self._descent = self._begin(self._start())
        if state:
            self._take_up(state)

    @property
    def picture(self) -> Frame:
        """As it stands: (H, W, 3) uint8 RGB."""
        return to_frame(self._descent.x)

    @property
    def state_path(self) -> Path:
        """Where `save_state` writes: beside the picture."""
        return self.output.with_name(f"{self.output.name}.safetensors")

    def stop(self) -> None:
        """Ask the loop to end after the step it is in (what Ctrl-C does)."""
        self._stop = True

    def run(self) -> Iterator[Progress]:
        """Paint from where it stands to the end."""
        while not self._stop:
            try:
                while self.step < self.config.steps and not self._stop:
                    losses = self._descent.step()
                    self.step += 1
                    yield Progress(self.scale, self.step, losses)
            except FloatingPointError as error:
                raise InputError(
                    f"stopped after step {self.step} of {self.config.steps} at {self.size_name(self.scale)}: {error}: "
                    "try a lower --strength, or --optimizer adam"
                ) from error
            except torch.OutOfMemoryError as error:
                raise InputError(f"not enough memory at {self.size_name(self.scale)}: give a smaller --size") from error
            if self.step < self.config.steps:
                return
            if self.scale + 1 == len(self.sizes):
                self.finished = True
                return
            self._next_scale()

    def save_state(self) -> Path:
        """Write all that it takes to go on.

        Raises:
            InputError: the disk is full or the place cannot be written.
        """
        contents = {"config": replace(self.config, resume=None).to_json(), "scale": self.scale, "step": self.step}
        metadata = {"format": FORMAT, "state": json.dumps(contents), "inputs": self._inputs}
        write_tensors(self.state_path, self._descent.pack(), metadata)
        return self.state_path

    def size_name(self, scale: int) -> str:
        """`512x384 px`."""
        height, width = self.sizes[scale]
        return f"{width}x{height} px"

    def _next_scale(self) -> None:
        coarse = self._descent.x.detach().clamp(0, 1)
        del self._descent  # its memory is wanted
        self.scale, self.step = self.scale + 1, 0
        larger = F.interpolate(coarse, self.sizes[self.scale], mode="bicubic", align_corners=False)
        self._descent = self._begin(larger.clamp(0, 1))

    def _begin(self, start: Tensor) -> Descent:
        return Descent(self._objective(), start.to(self.device), self.config.optimizer)

    def _objective(self) -> PictureLoss:
        return PictureLoss(self.vgg, self._loss(), self._photo_tensor())

    def _loss(self) -> PerceptualLoss:
        c, size = self.config, self.sizes[self.scale]
        style_px = (c.style_size or min(self.sizes[-1])) * min(size) / min(self.sizes[-1])
        painting = views(self.painting, max(MIN_SIZE_PX, round(style_px))).to(self.device)
        with torch.no_grad():
            activations = self.vgg(painting.to(memory_format=torch.channels_last))
        return PerceptualLoss(
            activations,
            content_layer=c.content_layer,
            style_layers=c.style_layers,
            style_weight=c.style_weight or 0.0,
            tv_weight=c.tv_weight,
            grid_weight=0,
        ).to(self.device)

    def photo_at(self, height: int, width: int) -> Frame:
        """The photo at this size, (H, W, 3) uint8 RGB."""
        return resize(self.photo, height, width)

    def _photo_tensor(self) -> Tensor:
        return to_tensor(self.photo_at(*self.sizes[self.scale])).to(self.device)

    def _painting_pixels(self) -> int:
        """Of the painting at its largest."""
        shorter, longer = sorted(self.painting.shape[:2])
        return int((self.config.style_size or min(self.sizes[-1])) ** 2 * longer / shorter)

    def _take_up(self, state: State) -> None:
        try:
            self._descent.unpack(state.tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"--resume: '{self.config.resume}' is damaged: start anew") from error

    def _start(self) -> Tensor:
        photo = self._photo_tensor()
        return photo if self.config.init == "photo" else white_noise(photo, self.config.seed)

    def _check_memory(self) -> None:
        free = free_bytes(self.device)
        if free is not None and self.memory_bytes > free:
            raise InputError(
                f"{self.size_name(-1)} would take about {self.memory_bytes / 1e9:.1f} GB of memory, "
                f"{free / 1e9:.1f} are free: give a smaller --size"
                + (" or --style-size" if self.config.style_size else "")
                + ("" if self.config.optimizer == "adam" else ", or --optimizer adam")
            )


def require_picture_place(path: Path) -> None:
    """Check, before hours of work, that `path` is one that a picture can be written to.

    Raises:
        InputError: it is not.
    """
    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise InputError(f"output '{path}' ends in '{path.suffix}': expected .png, .jpg or .webp")
    require_folder(path)


def read_state(path: Path) -> State:
    """What `save_state` wrote; nothing in it is trusted to be code.

    Raises:
        InputError: missing, damaged, or something else.
    """
    if not path.is_file():
        raise InputError(f"--resume: '{path}' does not exist: give the .safetensors file that Ctrl-C left")
    try:
        metadata, tensors = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise InputError(f"--resume: '{path}' is not what Ctrl-C leaves of `allaprima optimize`: give that file")
        contents = json.loads(metadata["state"])
        config = OptimizeConfig.from_json(contents["config"])
        return State(config, int(contents["scale"]), int(contents["step"]), metadata["inputs"], tensors)
    except InputError:
        raise
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"--resume: '{path}' is damaged: start anew") from error


def _fingerprint(photo: Frame, painting: Frame, vgg_sha256: str) -> str:
    digest = hashlib.sha256(vgg_sha256.encode())
    for picture in (photo, painting):
        digest.update(repr(picture.shape).encode() + picture.tobytes())
    return digest.hexdigest()[:32]
