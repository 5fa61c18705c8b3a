"""The style file: what the exporter writes and the runner, or another app, reads.

A style is one self-contained ONNX file (opset 18, no external data). With ``io = frame``:

    input   frame     uint8 (N, H, W, 3) RGB, any H, W >= 16
    output  stylized  uint8 (N, H, W, 3) RGB, the same H and W

With ``io = tensor``, for GPU and web runtimes: float32 (N, 3, H, W) RGB in 0..1 in and out, same names and sizes.
Scaling, padding, cropping and rounding are inside the graph. The ONNX metadata holds one :class:`StyleCard`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

CONTRACT = "allaprima/1"
INPUT_NAME = "frame"
OUTPUT_NAME = "stylized"
MIN_SIZE_PX = 16
OPSET = 18

Io = Literal["frame", "tensor"]


@dataclass(kw_only=True)
class StyleCard:
    """What a style file says about itself; each field is one ``allaprima.*`` metadata entry, as JSON."""

    contract: str = CONTRACT
    """Contract and version; a runner refuses what it does not know."""
    io: Io = "frame"
    """`frame` (uint8 NHWC) or `tensor` (float32 NCHW in 0..1)."""
    name: str = "unnamed"
    """Style name, as in ``--style NAME``."""
    title: str = ""
    """Title of the painting."""
    artist: str = ""
    """Who painted it."""
    year: str = ""
    """When."""
    licence: str = ""
    """Licence of the painting."""
    network: dict[str, Any] = field(default_factory=dict)
    """Build name, channels, blocks, parameter count, precision."""
    training: dict[str, Any] = field(default_factory=dict)
    """The training configuration, every flag of ``allaprima train``."""
    loss_network: dict[str, Any] = field(default_factory=dict)
    """Architecture and SHA-256 of the weights that judged the training."""
    figures: dict[str, float] = field(default_factory=dict)
    """What was measured: content, style, J and so on."""

    def to_metadata(self) -> dict[str, str]:
        """ONNX metadata entries, strings to strings."""
        return {f"allaprima.{f.name}": json.dumps(getattr(self, f.name), sort_keys=True) for f in fields(self)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "StyleCard | None":
        """The card of a style file, or None where the file is not one of ours.

        Raises:
            ValueError: an entry is there but is not JSON of the field's type.
        """
        if "allaprima.contract" not in metadata:
            return None
        card = cls()
        for f in fields(cls):
            if (text := metadata.get(f"allaprima.{f.name}")) is None:
                continue
            value = json.loads(text)
            if not isinstance(value, type(getattr(card, f.name))):
                raise ValueError(f"metadata entry allaprima.{f.name}: got {text[:60]!r}")
            setattr(card, f.name, value)
        return card
