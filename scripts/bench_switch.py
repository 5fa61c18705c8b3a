"""What a change of style costs a live session: how long no new frame is painted (scripts/bench switch)."""

import argparse
import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple
from unittest.mock import patch

from bench_cam import Passed, cam
from bench_devices import camera_pictures
from rich.table import Table

from allaprima.errors import InputError
from allaprima.gallery import find_style
from allaprima.infer.rack import KEPT
from allaprima.pictures import Frame
from allaprima.terminal import console, show_table

_WARM_UP = 2  # changes that are not counted: they load both styles, and the session begins


class Change(NamedTuple):
    """What came after a press, until the next one."""

    gap_frames: float
    """The longest time between two painted frames, in frame times of the camera."""
    wait_ms: float
    """Until the first frame in the other style was painted; not a number where none was."""


def bench_switch(arguments: argparse.Namespace) -> None:
    """A session in which no key is pressed, one with both styles loaded, and one that loads at every change."""
    if find_style(arguments.style).samefile(find_style(arguments.other)):
        raise InputError(f"'{arguments.other}' is the style that paints: give another one to change to")
    pictures = camera_pictures(arguments.size)
    columns = "longest gap, frame times", "median of the longest", "changes", "until it paints, ms", "dropped"
    table = Table(f"{arguments.size}, {arguments.fps:g} fps", *columns)
    for name, pressed, kept in (("no key pressed", False, KEPT), ("loaded", True, KEPT), ("not loaded", True, 1)):
        console.print(f"{name}: {arguments.changes} times {arguments.every:g} s ...")
        with patch("allaprima.infer.rack.KEPT", kept):
            presses_s, passed = _session(arguments, pictures, pressed=pressed)
        table.add_row(name, *_row(presses_s[_WARM_UP:], passed, arguments.fps))
    show_table(table)


def _session(
    arguments: argparse.Namespace, pictures: Sequence[Frame], *, pressed: bool
) -> tuple[list[float], list[Passed]]:
    """When a key was pressed, or would have been, with the end as the last; and the frames."""
    presses_s: list[float] = []
    passed: list[Passed] = []

    def on_passed(frame: Passed) -> None:
        passed.append(frame)
        if frame.sunk_s - passed[0].sunk_s < arguments.every * (len(presses_s) + 1):
            return
        presses_s.append(frame.sunk_s)
        if len(presses_s) > arguments.changes + _WARM_UP:
            session.end()
        elif pressed:
            session.session.controls.press("n")

    styles = {name: find_style(name) for name in (arguments.style, arguments.other)}
    with (
        patch("allaprima.commands.cam.shipped_styles", return_value=styles),
        cam(arguments.style, pictures, arguments.fps, on_passed, threads=arguments.threads) as session,
    ):
        session.run()
    return presses_s, passed


def _row(presses_s: Sequence[float], passed: Sequence[Passed], fps: float) -> list[str]:
    changes = changes_at(presses_s, passed, fps)
    waits_ms = [change.wait_ms for change in changes if not math.isnan(change.wait_ms)]
    counted = [frame for frame in passed if frame.sunk_s >= presses_s[0]]
    return [
        f"{max(change.gap_frames for change in changes):.2f}",
        f"{statistics.median(change.gap_frames for change in changes):.2f}",
        f"{len(waits_ms)}",
        f"{statistics.median(waits_ms):.0f}" if waits_ms else "",
        f"{counted[-1].dropped - counted[0].dropped} of {counted[-1].captured - counted[0].captured}",
    ]


def changes_at(presses_s: Sequence[float], passed: Sequence[Passed], fps: float) -> list[Change]:
    """What came after each press but the last, up to the next one."""
    changes = []
    for start_s, end_s in pairwise(presses_s):
        before = next(frame for frame in reversed(passed) if frame.painted_s < start_s)
        after = [frame for frame in passed if start_s <= frame.painted_s < end_s]
        times_s = [before.painted_s, *(frame.painted_s for frame in after)]
        gap_s = max((b - a for a, b in pairwise(times_s)), default=end_s - start_s)
        wait_s = next((frame.painted_s - start_s for frame in after if frame.style != before.style), math.nan)
        changes.append(Change(gap_s * fps, 1000 * wait_s))
    return changes
