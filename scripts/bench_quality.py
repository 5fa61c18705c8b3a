"""`--quality auto` while other programs take the processor, and after they end (scripts/bench quality)."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby, pairwise

from bench_cam import Passed, cam, figures
from bench_devices import camera_pictures
from rich.table import Table

from allaprima.errors import InputError
from allaprima.pictures import Frame
from allaprima.terminal import console, show_table

PHASES = ("idle", "load", "idle again")
_HELD_PERCENT = 2  # dropped frames, at most, of a rate that counts as held
# Waits for its start, which comes quicker than a process; ends by itself where nobody ends it.
_BURNER = """
import sys, time
if sys.stdin.readline():
    end = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < end:
        sum(range(10_000))
"""


class _Burners:
    """Other programs, which compute and do nothing else, for at most `most_s`. A context manager."""

    def __init__(self, count: int, most_s: float) -> None:
        command = [sys.executable, "-c", _BURNER, str(most_s)]
        self._processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(count)]

    def __enter__(self) -> "_Burners":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        for process in self._processes:
            process.communicate()

    def start(self) -> None:
        """Let them compute."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()

    def end(self) -> None:
        """Kill them."""
        for process in self._processes:
            process.kill()


def bench_quality(arguments: argparse.Namespace) -> None:
    """A session that chooses its size, and the same at full size, to see what the load is."""
    if len(arguments.seconds) != len(PHASES) or min(arguments.seconds) <= 0:
        raise InputError(f"--seconds: got {arguments.seconds}, expected those of the {len(PHASES)} phases")
    pictures = camera_pictures(arguments.size)
    console.print(f"{arguments.style}, {arguments.size}, {arguments.fps:g} fps, {arguments.burners} burners")
    runs = {}
    for quality in ("auto", "100"):
        console.print(f"--quality {quality}, {sum(arguments.seconds):g} s ...")
        runs[quality] = _session(arguments, pictures, quality)
    starts_s, passed = runs["auto"]
    full = _phases(*runs["100"])
    _show(_phases(starts_s, passed), full, arguments.size)
    console.print("sizes: " + ", ".join(f"{at_s:.1f} s {scale:.0%}" for at_s, scale in sizes(passed)))
    back_s = seconds_until_full(passed, load_end_s=starts_s[2])
    console.print("full size is not back" if back_s is None else f"full size is back {back_s:.1f} s after the load")
    if figures(full[1][1:], full[1][0]).dropped_percent < _HELD_PERCENT:
        console.print("full size, too, holds the rate under this load: give a larger --size or more --burners")


def _session(
    arguments: argparse.Namespace, pictures: Sequence[Frame], quality: str
) -> tuple[list[float], list[Passed]]:
    """When each phase began and the last one ended; and the frames."""
    starts_s: list[float] = []
    passed: list[Passed] = []

    def on_passed(frame: Passed) -> None:
        passed.append(frame)
        if frame.sunk_s - passed[0].sunk_s < sum(arguments.seconds[: len(starts_s)]):
            return
        [lambda: None, burners.start, burners.end, session.end][len(starts_s)]()
        starts_s.append(frame.sunk_s)

    with (
        _Burners(arguments.burners, arguments.seconds[1]) as burners,
        cam(arguments.style, pictures, arguments.fps, on_passed, quality=quality, threads=arguments.threads) as session,
    ):
        session.run()
    return starts_s, passed


def _phases(starts_s: Sequence[float], passed: Sequence[Passed]) -> list[list[Passed]]:
    return [[frame for frame in passed if start_s <= frame.sunk_s < end_s] for start_s, end_s in pairwise(starts_s)]


def _show(auto: Sequence[Sequence[Passed]], full: Sequence[Sequence[Passed]], size: str) -> None:
    table = Table(size, "painted, fps", "dropped, %", "latency p95, ms", "changes", "full size: fps", "dropped, %")
    for name, frames, full_frames in zip(PHASES, auto, full, strict=True):
        chosen, fixed = figures(frames[1:], frames[0]), figures(full_frames[1:], full_frames[0])
        table.add_row(
            name,
            f"{chosen.fps:.1f}",
            f"{chosen.dropped_percent:.1f}",
            f"{chosen.p95_ms:.0f}",
            f"{len(sizes(frames)) - 1}",
            f"{fixed.fps:.1f}",
            f"{fixed.dropped_percent:.1f}",
        )
    show_table(table)


def sizes(passed: Sequence[Passed]) -> list[tuple[float, float]]:
    """When each new size came, in seconds since the first frame, and its scale."""
    return [
        (next(frames).painted_s - passed[0].painted_s, scale)
        for scale, frames in groupby(passed, key=lambda frame: frame.scale)
    ]


def seconds_until_full(passed: Sequence[Passed], *, load_end_s: float) -> float | None:
    """From the end of the load until the last frame at a smaller size; None: it is still smaller at the end."""
    if passed[-1].scale < 1:
        return None
    smaller_s = [frame.painted_s - load_end_s for frame in passed if frame.scale < 1]
    return max([0.0, *smaller_s])
