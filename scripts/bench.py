"""Figures, measured. Run it on an idle machine; on another one only the ratios mean much.

scripts/bench live starry_night                 # a camera at 30 and 60 fps: drops, latency, CPU, memory
scripts/bench live starry_night --size 1280x720 --fps 0 --seconds 20    # as many fps as the whole pipeline paints
scripts/bench live starry_night --sinks record virtual-camera serve window      # into all of them at once
scripts/bench sinks starry_night                # what each of them costs
scripts/bench soak starry_night --json soak.json        # an hour: memory, latency and drops, minute by minute
scripts/bench switch starry_night great_wave    # how long a change of style holds up the picture
scripts/bench quality starry_night              # --quality auto while other programs take the processor
scripts/bench smooth starry_night               # what slow norms and --smooth add to a frame
scripts/bench smooth starry_night --clip FILE   # and to a clip, read, painted and written
scripts/bench overhead starry_night             # milliseconds a frame of all but the network
scripts/bench memory starry_night               # whether `allaprima cam` grows over 10,000 frames
scripts/bench frame --peer other-style.onnx     # milliseconds a frame of both builds and of other networks
scripts/bench train --photos DIR --vgg-weights FILE     # seconds a step, against a plain training loop
"""

import argparse
import os
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bench_cam import SINKS

from allaprima.errors import InputError
from allaprima.infer.providers import import_onnxruntime
from allaprima.terminal import console

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

LIVE = """Run `allaprima cam` with a synthetic camera in real time, into a sink that copies each painting, and into what
--sinks says. The camera gives each picture when it is due, whether or not somebody is ready for it.

  dropped   frames that a newer one replaced before they were painted
  latency   from the moment when a picture was due until all sinks had it: colours, hand-overs, painting and all waiting
            (a recording has it when it waits for the encoder, which works on a thread of its own)
  CPU       of the whole process, in percent of one core; beside it what as many paintings take back to back, without
            a camera: where the two are equal, nothing is spent on anything else
  memory    the process's peak; that of the synthetic camera's pictures, 27 MB at 640x480, is in it
"""
OVERHEAD = """What a frame costs beside the network, in milliseconds:

  camera    from the moment when a picture was due until the pipeline has it as RGB (a copy stands for the driver)
  painter   from there until the painter begins
  sink      from the end of the painting until the sink has made its copy
  call      what a call of the style takes beyond ONNX Runtime's own running of the network

The first three are measured with a painter that returns the frame as it is.
"""
SINKS_TEXT = """What each sink costs, alone against none, in alternating blocks of one run; medians of the blocks. The
recording goes into a temporary folder, the virtual camera into a device that copies, one client reads what is served,
and the window shows its figures.

  ms a frame    from the end of the painting until the sink is done with it, more than without a sink
  CPU           of the whole process, in percent of one core, more than without a sink; without one, all of it
"""
SOAK = """Run `allaprima cam` for an hour in a process of its own, from a source that repeats, and read its memory, the
latency of its frames and its drops every minute. What is known is written after every minute. Linux only.

  latency   from the moment when the source had a frame until all sinks had it
  drift     of its median, from the first minute to the last
"""
SWITCH = """Change between two styles in mid-session, as the key n does, and find the longest time between two painted
frames from each change to the next: in a session in which no key is pressed, in one where both styles are loaded, and
in one that loads the style at each change.
"""
QUALITY = """Run `allaprima cam --quality auto` through three phases (idle, with other programs computing on all cores,
idle again), and then the same at full size, to see what the load is.
"""
MEMORY = """Run `allaprima cam` in a process of its own, with a synthetic camera that has the next picture as soon as
one is painted and a sink in place of the window, and read that process's memory every 1,000 frames. Linux only.
"""


def main() -> int:
    """Run one verb and return the exit code."""
    arguments = _parser().parse_args()
    try:
        runtime = import_onnxruntime().__version__
        console.print(f"{platform.machine()}, torch {version('torch')}, onnxruntime {runtime}")
        # Imported here: torch, which `live` must not carry, is only for `frame` and `train`.
        getattr(import_module(arguments.module), f"bench_{arguments.verb}")(arguments)
    except InputError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, dest="verb", metavar="VERB")

    live = _add(verbs, "live", "bench_live", "a camera in real time: drops, latency, CPU, memory", LIVE)
    live.add_argument(
        "--fps", type=float, nargs="+", default=[30, 60], help="the camera's; 0: as fast as it is painted"
    )
    live.add_argument("--seconds", type=float, default=60, help="for each of them (default: %(default)s)")
    sinks = _add(verbs, "sinks", "bench_sinks", "what each sink costs", SINKS_TEXT)
    sinks.add_argument("--seconds", type=float, default=10, help="a block (default: %(default)s)")
    sinks.add_argument("--blocks", type=int, default=3, help="for each sink (default: %(default)s)")
    soak = _add(verbs, "soak", "bench_soak", "an hour: memory, latency and drops by the minute", SOAK)
    soak.add_argument("--minutes", type=float, default=60, help="of the session (default: %(default)s)")
    soak.add_argument("--every", type=float, default=60, help="seconds between two readings (default: %(default)s)")
    soak.add_argument("--json", type=Path, help="file to write all readings to, after each of them")
    switch = _add(verbs, "switch", "bench_switch", "how long a change of style holds up the picture", SWITCH)
    quality = _add(verbs, "quality", "bench_quality", "--quality auto under load", QUALITY)
    quality.add_argument("--seconds", type=float, nargs="+", default=[10, 30, 20], help="of the three phases")
    quality.add_argument("--burners", type=int, default=4 * (os.cpu_count() or 1), help="programs that compute")
    overhead = _add(verbs, "overhead", "bench_live", "milliseconds a frame of all but the network", OVERHEAD)
    overhead.add_argument("--seconds", type=float, default=20, help="of the session (default: %(default)s)")
    smooth = _add(verbs, "smooth", "bench_smooth", "what slow norms and --smooth add to a frame")
    smooth.add_argument("--frames", type=int, default=200, help="of each scene (default: %(default)s)")
    smooth.add_argument("--clip", type=Path, action="append", help="in place of the scenes: from file to file")
    smooth.add_argument("--rounds", type=int, default=5, help="of a clip (default: %(default)s)")
    memory = _add(verbs, "memory", "bench_live", "whether a session grows", MEMORY)
    memory.add_argument("--frames", type=int, default=10_000, help="to paint (default: %(default)s)")
    for verb in (live, sinks, soak, switch, quality, smooth, overhead, memory):
        verb.add_argument("style", metavar="STYLE", help="a style that ships, or a style file")
    switch.add_argument("other", metavar="OTHER", help="the one to change to, and back")
    switch.add_argument("--changes", type=int, default=20, help="to measure (default: %(default)s)")
    switch.add_argument("--every", type=float, default=2, help="seconds between two changes (default: %(default)s)")
    for verb in (sinks, soak, switch, quality, overhead):
        verb.add_argument("--fps", type=float, default=30, help="the camera's (default: %(default)s)")
    for verb, default in ((live, []), (soak, ["virtual-camera"])):
        verb.add_argument("--sinks", nargs="*", choices=SINKS, default=default, help="what it goes into as well")

    frame = _add(verbs, "frame", "bench_networks", "milliseconds a frame, beside other networks")
    frame.add_argument("--peer", type=Path, action="append", default=[], help="another project's ONNX file")
    frame.add_argument("--blocks", type=int, default=5, help="of frames, in turn (default: %(default)s)")
    frame.add_argument("--frames", type=int, default=20, help="in a block; slow networks get a quarter")
    for verb in (live, sinks, soak, switch, quality, smooth, overhead, memory, frame):
        verb.add_argument("--size", default="640x480", help="WIDTHxHEIGHT, px (default: %(default)s)")
        verb.add_argument("--threads", type=int, default=2, help="ONNX Runtime's (default: %(default)s)")

    train = _add(verbs, "train", "bench_networks", "seconds a training step, beside a plain loop")
    train.add_argument("--photos", required=True, help="folder of photos")
    train.add_argument("--vgg-weights", type=Path, help="VGG-19 weights; default: torchvision downloads them")
    train.add_argument("--steps", type=int, default=5, help="in a block")
    train.add_argument("--blocks", type=int, default=3, help="of steps, in turn")
    return parser


def _add(verbs: "Verbs", name: str, module: str, summary: str, text: str | None = None) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name, help=summary, description=text or summary, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verb.set_defaults(module=module)
    return verb


if __name__ == "__main__":
    sys.exit(main())
