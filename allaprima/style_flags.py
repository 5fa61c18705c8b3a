"""The flags that `image`, `video` and `cam` share: which style, and how it is to run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .gallery import find_style

if TYPE_CHECKING:
    from .infer.stylizer import Stylizer


@dataclass(kw_only=True)
class StyleFlags:
    """A style and the place where it computes; the configuration of a painting verb extends it."""

    style: str
    """Name of a style that ships (`allaprima styles` lists them), or a style file."""
    provider: str = "auto"
    """Where to compute: auto, cpu, cuda, tensorrt, directml or coreml."""
    threads: int | None = None
    """CPU threads; default: ONNX Runtime's choice."""
    input_range: Literal["auto", "255", "1"] = "auto"
    """Pixel values that another project's network expects, 0..255 or 0..1, where `auto` gets it wrong."""
    keep_colours: bool = False
    """Keep the colours of the photo: only light and dark come from the painting."""

    def open_style(self, *, keep_memory: bool = True, film: bool = False) -> "Stylizer":
        """The style, ready to paint; see `Stylizer` for the errors, for `keep_memory` and for `film`."""
        from .infer.stylizer import Stylizer

        return Stylizer(
            find_style(self.style),
            provider=self.provider,
            threads=self.threads,
            range_=self.input_range,
            keep_memory=keep_memory,
            keep_colours=self.keep_colours,
            film=film,
        )
