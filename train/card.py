"""The metadata of a style file, from what a training knows."""

from pathlib import Path

from ..contract import StyleCard
from ..models.transformer import ImageTransformer, describe
from .config import TrainConfig
from .evaluate import Figures


def make_card(
    config: TrainConfig, network: ImageTransformer, loss_network: dict[str, str], figures: Figures | None, *, steps: int
) -> StyleCard:
    """The card of `network`, trained with `config` for so many steps; folders of this machine stay out of it."""
    training = config.to_json() | {"out": None, "resume": None} | config.kinds_of_photos
    training |= {"steps": steps, "epochs": None}
    told = ("painting", "vgg_weights", "from_")
    training |= {name: Path(getattr(config, name)).name for name in told if getattr(config, name)}
    return StyleCard(
        name=config.style_name,
        title=config.title,
        artist=config.artist,
        year=config.year,
        licence=config.licence,
        network=describe(network, config.build),
        training=training,
        loss_network=loss_network,
        figures={} if figures is None else figures.short(),
    )
