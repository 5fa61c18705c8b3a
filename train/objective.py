"""What a training minimises for one painting, as a function of the network and a batch of photos."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.features import Features
from ..pictures import Frame
from .config import TrainConfig
from .losses import MotionLoss, PerceptualLoss
from .photos import views
from .steadiness import Disturbance
from .strength import style_weight
from .view import ClampWithGradient, moving_window

Network = Callable[[Tensor], Tensor]


class Objective:
    """content + k * style, small terms against noise and grids, and one that holds the strokes where they are.

    Args:
        config: what to train, and how; where it has no k, k follows from its strength.
        features: the loss network, on the training's device and in its dtype.
        painting: (H, W, 3) uint8 RGB.
        photos: gives typical ones, (B, 3, S, S) uint8 RGB, where k depends on them.
    """

    def __init__(self, config: TrainConfig, features: Features, painting: Frame, photos: Callable[[], Tensor]) -> None:
        self.features, self.seed = features, config.seed
        self.motion, self.motion_weight = MotionLoss(), config.motion_weight
        self.disturbance = Disturbance()
        device = features.mean.device
        with torch.no_grad():
            activations = features(views(painting, config.style_px).to(device, memory_format=torch.channels_last))
        self.perceptual = PerceptualLoss(
            activations,
            content_layer=config.content_layer,
            style_layers=config.style_layers,
            style_weight=config.style_weight or 0.0,
            tv_weight=config.tv_weight,
            grid_weight=config.grid_weight,
        ).to(device)
        if config.style_weight is None:
            self.perceptual.style_weight = style_weight(
                config.strength, self.perceptual, features, painting, photos().to(device)
            )

    @property
    def k(self) -> float:
        """Weight of the style."""
        return float(self.perceptual.style_weight)

    def losses(self, network: Network, photo: Tensor, step: int) -> dict[str, Tensor]:
        """Scalars by name, `total` and its parts, for (B, 3, S, S) uint8 RGB in the step numbered `step`."""
        photo = photo.to(memory_format=torch.channels_last).float() / 255
        if self.motion_weight:
            # Half hold the strokes as well as all; every other one, however a batch is split over processes.
            moved, others = photo[::2], photo[1::2]
            pair, photo = self.disturbance(moved, seed=self.seed, step=step), torch.cat([moved, others])
            picture, again = _paint(network, torch.cat([pair.first, others])), _paint(network, pair.second)
            motion = (pair.weight * self.motion(pair.expected(picture[: len(moved)]), again, pair.known)).mean()
        else:
            picture, motion = _paint(network, photo), photo.new_zeros(())
        photo, picture = moving_window(step, self.seed, photo, picture)
        with torch.no_grad():  # the photo's features are a target: no graph, no gradient
            wanted = self.features(photo)
        parts: dict[str, Tensor] = self.perceptual(picture, self.features(picture), wanted)
        parts["motion"], parts["total"] = motion, parts["total"] + self.motion_weight * motion
        parts["contrast"] = picture.detach().std(dim=(1, 2, 3)).min()
        return parts

    @torch.no_grad()
    def j(self, network: Network, photo: Tensor) -> float:
        """content + k * style of a photo (1, 3, H, W) in 0..1: what a training is after, without the small terms."""
        picture = network(photo).float().clamp(0, 1)
        parts = self.perceptual(picture, self.features(picture), self.features(photo))
        return float(parts["content"] + self.k * parts["style"])


def _paint(network: Network, frame: Tensor) -> Tensor:
    """(B, 3, S, S) in 0..1 -> the same, painted, clamped."""
    picture: Tensor = network(frame.contiguous(memory_format=torch.channels_last)).float()
    return ClampWithGradient.apply(picture)  # type: ignore[no-any-return]
