"""How a style file meets frames: numpy, OpenCV and ONNX Runtime, never torch.

    from allaprima.infer import Stylizer
    stylize = Stylizer("starry_night.onnx")
    painted = stylize(frame)                      # (H, W, 3) uint8 RGB in, the same out

`stylefile` reads and vets the file, `providers` opens it on the best hardware, `stylizer` feeds it frames.
Clips: `clip` reads, `writer` writes, `video` paints one. Live: `camera` captures, `live` paints, `window` shows.
`timing` measures how fast styles run.
"""

from .stylizer import Stylizer

__all__ = ["Stylizer"]
