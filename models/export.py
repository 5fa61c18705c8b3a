"""A trained network as a style file: one self-contained ONNX file, checked against PyTorch before it gets its name.

What is written is the graph that `graph` makes of it; what it is checked against is the network as it was trained.

See `allaprima.contract` for what the file promises. `allaprima export RUN -o style.onnx` runs this.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from ..contract import INPUT_NAME, OUTPUT_NAME, Io, StyleCard
from ..errors import InputError
from ..files import replacing
from .graph import float_graph
from .transformer import ImageTransformer

PARITY_SIZES = ((1, 482, 270), (1, 333, 517), (1, 16, 16), (2, 64, 97))
"""(N, H, W) on which PyTorch and ONNX Runtime must agree."""
PARITY_TOLERANCE = 1 / 255
HALF_TOLERANCE = 4 / 255  # two runtimes round fp16 sums differently; still below what an eye can see


class FrameStyle(nn.Module):
    """What the graph of a style file must paint: uint8 (N, H, W, 3) RGB -> the same."""

    def __init__(self, network: ImageTransformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) RGB -> the same."""
        x = frame.permute(0, 3, 1, 2).to(self.network.mean.dtype)
        y: Tensor = self.network(x / 255) * 255
        return y.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


class TensorStyle(nn.Module):
    """The same for GPU and web runtimes: float32 (N, 3, H, W) RGB in 0..1 -> the same."""

    def __init__(self, network: ImageTransformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor) -> Tensor:
        """float32 (N, 3, H, W) RGB in 0..1 -> the same."""
        y: Tensor = self.network(frame.to(self.network.mean.dtype)).float()
        return y.clamp(0, 1)


def export_style(
    network: ImageTransformer, path: Path, card: StyleCard, *, io: Io = "frame", half: bool = False
) -> None:
    """Write `network` to `path` as a style file that says what `card` says.

    Args:
        network: on any device; it is copied, not changed.
        path: where the file goes, whole or not at all.
        card: the metadata; `io` and the network's precision are filled in here.
        io: `frame` (uint8 NHWC) or `tensor` (float32 NCHW).
        half: weights and arithmetic in fp16, for half the size.

    Raises:
        InputError: the path cannot be written, or ONNX Runtime's result differs from PyTorch's.
    """
    network = copy.deepcopy(network).cpu().float().eval()
    if not all(bool(p.isfinite().all()) for p in network.parameters()):
        raise InputError(f"'{path}' not written: the network's weights are not numbers: train it again")
    model = float_graph(network, io=io, half=half)
    data = with_card(model, replace(card, io=io), precision="fp16" if half else "fp32")
    network = network.half() if half else network
    difference = parity(FrameStyle(network) if io == "frame" else TensorStyle(network), data, io)
    tolerance = HALF_TOLERANCE if half else PARITY_TOLERANCE
    if not difference <= tolerance + 1e-6:
        raise InputError(
            f"'{path}' not written: ONNX Runtime's picture differs from PyTorch's by {difference * 255:.1f}/255, "
            f"expected at most {tolerance * 255:.0f}/255: train further or from another seed, the network is unstable"
        )
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def with_card(model: Any, card: StyleCard, *, precision: str) -> bytes:
    """The bytes of a style file: the ONNX model with its card in the metadata."""
    card = replace(card, network={**card.network, "precision": precision})
    onnx.helper.set_model_props(model, card.to_metadata())
    return bytes(model.SerializeToString())


def parity(style: nn.Module, model: bytes, io: Io) -> float:
    """Largest difference between PyTorch and ONNX Runtime over `PARITY_SIZES`, of a full range of 1."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for frame in map(_test_frame, PARITY_SIZES):
        given = frame if io == "frame" else frame.permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            expected = style(given).numpy()
        (got,) = session.run([OUTPUT_NAME], {INPUT_NAME: given.numpy()})
        full = 255.0 if io == "frame" else 1.0
        if got.shape != expected.shape or not np.isfinite(got).all():
            return float("inf")
        worst = max(worst, float(np.abs(got.astype(np.float64) - expected).max()) / full)
    return worst


def _test_frame(size: tuple[int, int, int]) -> Tensor:
    """Smooth shapes with some noise, uint8 (N, H, W, 3): closer to a photo than noise alone."""
    count, height, width = size
    random = np.random.default_rng(height * width)
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(x / (7 + 5 * i) + i) * np.cos(y / (11 - 3 * i)) for i in range(3)]
    frame = np.stack(waves, -1)[None] + random.normal(0, 12, (count, height, width, 3))
    return torch.from_numpy(frame.clip(0, 255).astype(np.uint8))
