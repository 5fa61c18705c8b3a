"""Make a clip, paint it with a style that ships, and show before and after (scripts/demo installs what this needs).

python scripts/demo.py [--style NAME|FILE] [--out DIR]
python scripts/demo.py --train [--out DIR] [FLAG...]    # makes a painting, learns it, and paints with that

Flags after `--train` are those of `allaprima train`: `--photos DIR`, `--steps 100`.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import allaprima
from allaprima.errors import InputError, describe_missing_library
from allaprima.gallery import shipped_styles
from allaprima.pictures import Frame, write_picture
from allaprima.terminal import console, progress_bar

if TYPE_CHECKING:
    from allaprima.infer import Stylizer

BEFORE_AND_AFTER = (50, 84)  # frames of the clip: the astronaut, the rocket
LINE_EVERY = 48  # frames between two lines where there is no terminal to draw a bar on
CAPTION_PX, GAP_PX = 40, 8
RUN, TRAINED = "demo_training", "lake"


def main() -> int:
    """Run the demo and return the exit code."""
    parser = argparse.ArgumentParser(description="Paint a demo clip with a style.")
    parser.add_argument("--style", default="starry_night", help="a style that ships, or a style file")
    parser.add_argument("--train", action="store_true", help="train a style first; more flags are allaprima train's")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    options, flags = parser.parse_known_args()
    if flags and not options.train:
        parser.error(f"{' '.join(flags)}: not known without --train")
    try:
        style = options.style
        if options.train:
            style = str(options.out / RUN / f"{TRAINED}.onnx")
            if code := train(options.out, flags):
                return code
        demo(style, options.out)
    except InputError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        if (problem := describe_missing_library(error)) is None:
            raise
        print(f"demo: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    return 0


def train(out: Path, flags: list[str]) -> int:
    """Make a painting and learn it, or go on with that, as `allaprima train` does; returns its exit code."""
    from make_demo_painting import demo_painting

    from allaprima.cli import main as allaprima_main
    from allaprima.train.run_folder import can_be_resumed

    painting, run = out / "demo_painting.png", out / RUN
    if can_be_resumed(run):
        return allaprima_main(["train", "--resume", str(run)])
    out.mkdir(parents=True, exist_ok=True)
    write_picture(painting, demo_painting())
    console.print(f"a painting: {painting}")
    return allaprima_main(["train", str(painting), "--out", str(run), "--name", TRAINED, "--proof", "0", *flags])


def demo(style: str, out: Path) -> None:
    """Write demo_clip.mp4, demo.mp4 and demo.png into `out`.

    Raises:
        InputError: the style or the photographs cannot be used, or `out` cannot be written.
    """
    from make_demo_clip import FRAMES, HEIGHT_PX, WIDTH_PX, frame_at, make_clip

    stylize = allaprima.load(style)
    out.mkdir(parents=True, exist_ok=True)
    clip, painted, picture = out / "demo_clip.mp4", out / "demo.mp4", out / "demo.png"
    console.print(f"1/3 making a clip of {FRAMES} frames: {clip}")
    make_clip(clip)
    console.print(f"2/3 painting it with {stylize.name}: {painted}")
    seconds = paint(clip, allaprima.load(style, film=True), painted)
    console.print(f"3/3 before and after: {picture}")
    write_picture(picture, before_and_after([frame_at(index) for index in BEFORE_AND_AFTER], stylize))
    console.print(
        f"\n{FRAMES} frames of {WIDTH_PX}x{HEIGHT_PX} painted in {seconds:.1f} s, reading and writing included: "
        f"{FRAMES / seconds:.1f} frames per second\n\n{_try_next(style)}"
    )


def paint(clip: Path, stylize: "Stylizer", painted: Path) -> float:
    """Paint a clip, showing how far it is, and return how long that took."""
    from allaprima.infer.video import paint_video

    with progress_bar() as bar:
        task = bar.add_task("painting", total=None, text="")
        begin = time.perf_counter()

        def report(done: int, total: int | None) -> None:
            speed = f"{done / (time.perf_counter() - begin):.1f} frames/s"
            bar.update(task, completed=done, total=total, text=speed)
            if not console.is_terminal and (done % LINE_EVERY == 0 or done == total):
                console.print(f"    {done}/{total} {speed}")

        paint_video(clip, stylize, painted, on_frame=report)
        return time.perf_counter() - begin


def before_and_after(photos: list[Frame], stylize: "Stylizer") -> Frame:
    """Each photo with its painting at the right, under a caption: (H, W, 3) uint8 RGB."""
    height, width, _ = photos[0].shape
    sheet = Image.new("RGB", (2 * width + GAP_PX, CAPTION_PX + len(photos) * (height + GAP_PX) - GAP_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(24)
    for column, caption in enumerate(("before", f"after: {stylize.name}")):
        draw.text((column * (width + GAP_PX) + 4, 5), caption, fill="black", font=font)
    for row, photo in enumerate(photos):
        top = CAPTION_PX + row * (height + GAP_PX)
        sheet.paste(Image.fromarray(photo), (0, top))
        sheet.paste(Image.fromarray(stylize(photo)), (width + GAP_PX, top))
    return np.asarray(sheet)


def _try_next(style: str) -> str:
    program = Path(sys.executable).with_name("allaprima")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    other = next((name for name in shipped_styles() if name != style), style)
    return (
        "Try next:\n"
        f"  {program} styles\n"
        f"  {program} image PHOTO --style {other} -o painted.jpg\n"
        f"  {program} video CLIP --style {style} -o painted.mp4\n"
        f"  {program} cam --style {style}\n"
        "and, to train a painting of your own:\n"
        f"  {program.with_name('pip')} install -e '.[cpu,train]'\n"
        f"  {program} train PAINTING"
    )


if __name__ == "__main__":
    sys.exit(main())
