"""One picture that shows what styles make of the same frames, for the README and for the eye.

python scripts/compare.py look.jpg starry_night great_wave            # of a frame of the demo clip
python scripts/compare.py /tmp/look.jpg starry_night other.onnx --frame me.jpg --frame clip.mp4:40
"""

import argparse
from pathlib import Path

import numpy as np
from make_demo_clip import frame_at
from PIL import Image
from yardstick import frames_of

from allaprima import load
from allaprima.pictures import Frame, read_picture, write_picture

HEIGHT_PX = 480
DEMO_FRAME = 24


def main() -> None:
    """A row for each frame: the frame itself, then each style's painting of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help=".jpg, .png or .webp")
    parser.add_argument("styles", nargs="+", help="shipped styles or .onnx files")
    parser.add_argument("--frame", action="append", default=[], help="a picture, or CLIP:NUMBER")
    parser.add_argument("--width", type=int, help="of the whole picture, px; as large as it comes by default")
    options = parser.parse_args()
    frames = [read_frame(name) for name in options.frame] or [frame_at(DEMO_FRAME)]
    styles = [load(style) for style in options.styles]
    rows = [np.concatenate([fit(frame), *(fit(style(frame)) for style in styles)], axis=1) for frame in frames]
    widest = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    picture = Image.fromarray(np.concatenate(rows))
    if options.width:
        picture = picture.resize((options.width, round(picture.height * options.width / picture.width)))
    write_picture(options.output, np.asarray(picture), quality=88)


def read_frame(name: str) -> Frame:
    """A picture's file, or the numbered frame of a clip."""
    clip, _, number = name.rpartition(":")
    return frames_of(Path(clip))[int(number)] if clip and number.isdecimal() else read_picture(Path(name))


def fit(frame: Frame) -> Frame:
    """Scaled to the common height."""
    width = round(frame.shape[1] * HEIGHT_PX / frame.shape[0])
    return np.asarray(Image.fromarray(frame).resize((width, HEIGHT_PX)))


if __name__ == "__main__":
    main()
