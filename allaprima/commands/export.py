"""`--io frame` (the default) takes and gives uint8 (N, H, W, 3) pixels; `--io tensor` float32 (N, 3, H, W) in 0..1."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..terminal import console


@dataclass(kw_only=True)
class Config:
    """Write a training run, or one checkpoint of it, as a style file.

    allaprima export runs/painting -o painting.onnx
    allaprima export runs/painting -o painting-web.onnx --io tensor --half
    allaprima export runs/painting -o painting-fast.onnx --int8 --photos ~/Pictures
    """

    run: Path = field(metadata={"positional": ""})
    """Run folder (its newest checkpoint counts) or checkpoint file."""
    output: Path
    """The style file to write (.onnx)."""
    io: Literal["frame", "tensor"] = "frame"
    """Pixels in and out, or tensors for GPU and web runtimes."""
    half: bool = False
    """fp16 weights and arithmetic: half the size."""
    int8: bool = False
    """8-bit integers, three times as fast on CPUs; written only if the painting stays as good as in fp32."""
    photos: str | None = None
    """For --int8: a folder of photos like those it will paint, or `synthetic`; by default what it was trained on."""
    vgg_weights: Path | None = None
    """For --int8: the loss network's weights, to judge by; else ALLAPRIMA_VGG, else torchvision's download."""

    def __post_init__(self) -> None:
        if self.output.suffix != ".onnx":
            raise InputError(f"output '{self.output}' ends in '{self.output.suffix}': expected .onnx")
        if self.int8 and (self.half or self.io == "tensor"):
            raise InputError("--int8 is for pixels in and out: leave out --half and --io tensor")
        if not self.int8 and (self.photos or self.vgg_weights):
            raise InputError("--photos and --vgg-weights are for --int8: add it, or leave them out")


def run(config: Config) -> None:
    """Load, check against PyTorch, write.

    Raises:
        InputError: no checkpoint there, the style file cannot be written, or its int8 is not good enough.
    """
    try:
        from ..models.export import export_style
        from ..models.transformer import build
        from ..train.card import make_card
        from ..train.checkpoint import load_checkpoint
        from ..train.int8 import export_int8
        from ..train.run_folder import read_figures
    except ModuleNotFoundError as error:
        raise InputError(f"export needs {error.name}: pip install 'allaprima[cpu,train]'") from error
    checkpoint = load_checkpoint(config.run)
    network = build(checkpoint.config.build)
    checkpoint.fill(network)
    figures = read_figures(config.run, step=checkpoint.step)
    card = make_card(checkpoint.config, network, checkpoint.loss_network, figures, steps=checkpoint.step)
    if config.int8:
        trained = replace(checkpoint.config, vgg_weights=config.vgg_weights or checkpoint.config.vgg_weights)
        photos = config.photos or trained.photos
        assert photos is not None
        check = export_int8(network, config.output, card, config=trained, photos=photos)
        console.print(f"int8: {check.psnr_db:.1f} dB from fp32, J {check.j_ratio:.3f} of its own")
    else:
        export_style(network, config.output, card, io=config.io, half=config.half)
    console.print(f"{config.output}: {card.name}, step {checkpoint.step}, {config.output.stat().st_size / 1e6:.2f} MB")
