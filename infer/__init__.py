"""How a style file meets frames: numpy, OpenCV and ONNX Runtime, never torch.

    from allaprima.infer import Stylizer
    stylize = Stylizer("starry_night.onnx")
    painted = stylize(frame)                      # (H, W, 3) uint8 RGB in, the same out

`stylefile` reads and vets the file, `providers` opens it on the best hardware, `stylizer` feeds it frames.
Clips: `clip` reads, `writer` writes, `video` paints one.

Live, `live` joins camera, studio and sinks. Frames come from `device` (with `v4l2`), `played` or `demo`; `camera` keeps
the newest, `steady` brings lost ones back. `studio` paints them as `look` has it: with a style of the `rack`, at a size
that `quality` chooses, in a `mask`. They go to `sinks` (recordings, with the `microphone`), `virtual_camera`,
`mjpeg_server`, `snapshot` and the `window`, where `overlay` draws and `controls` answers keys.

`timing` measures how fast styles run.
"""

from .stylizer import Stylizer

__all__ = ["Stylizer"]
