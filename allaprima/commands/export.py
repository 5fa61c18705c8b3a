"""`--io frame` (the default) takes and gives uint8 (N, H, W, 3) pixels; `--io tensor` float32 (N, 3, H, W) in 0..1."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..terminal import console


@dataclass(kw_only=True)
class Config:
    """Write a training run, or one checkpoint of it, as a style file.

    allaprima export runs/painting -o painting.onnx
    allaprima export runs/painting -o painting-web.onnx --io tensor --half
    """

    run: Path = field(metadata={"positional": ""})
    """Run folder (its newest checkpoint counts) or checkpoint file."""
    output: Path
    """The style file to write (.onnx)."""
    io: Literal["frame", "tensor"] = "frame"
    """Pixels in and out, or tensors for GPU and web runtimes."""
    half: bool = False
    """fp16 weights and arithmetic: half the size."""

    def __post_init__(self) -> None:
        if self.output.suffix != ".onnx":
            raise InputError(f"output '{self.output}' ends in '{self.output.suffix}': expected .onnx")


def run(config: Config) -> None:
    """Load, check against PyTorch, write.

    Raises:
        InputError: no checkpoint there, or the style file cannot be written.
    """
    try:
        from ..models.export import export_style
        from ..models.transformer import build
        from ..train.card import make_card
        from ..train.checkpoint import load_checkpoint
        from ..train.run_folder import read_figures
    except ModuleNotFoundError as error:
        raise InputError(f"export needs {error.name}: pip install 'allaprima[cpu,train]'") from error
    checkpoint = load_checkpoint(config.run)
    network = build(checkpoint.config.build)
    network.load_state_dict(checkpoint.network)
    figures = read_figures(config.run, step=checkpoint.step)
    card = make_card(checkpoint.config, network, checkpoint.loss_network, figures)
    export_style(network, config.output, card, io=config.io, half=config.half)
    console.print(f"{config.output}: {card.name}, step {checkpoint.step}, {config.output.stat().st_size / 1e6:.2f} MB")
