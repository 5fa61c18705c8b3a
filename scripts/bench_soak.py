"""`allaprima cam` for an hour, in a process of its own: memory, latency and drops by the minute (scripts/bench soak).

The table tells the first and the last minute, and the worst. What is known is printed, and with `--json` written, after
every minute: a run that is interrupted has still measured something.
"""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench_cam import Passed, cam, check_sinks, figures, memory_mb, need_memory, process_of
from bench_devices import camera_pictures
from rich.table import Table

from allaprima.errors import InputError
from allaprima.files import replacing, require_folder
from allaprima.gallery import find_style
from allaprima.terminal import console, show_table

SEVERAL = 5
"""Minutes at each end whose medians are compared as well: a single one says little where others use the machine."""


@dataclass(frozen=True, kw_only=True)
class Minute:
    """The frames of a minute, or of whatever `--every` says."""

    end_s: float
    """Seconds since the session's first frame was due."""
    fps: float
    dropped_percent: float
    p50_ms: float
    """Latency: from the moment when the source had a frame until all sinks had it."""
    p95_ms: float
    worst_ms: float
    cpu_percent: float
    memory_mb: float


def bench_soak(arguments: argparse.Namespace) -> None:
    """Run it, and show what it came to."""
    need_memory()
    check_sinks(arguments.sinks)
    if not 0 < 2 * arguments.every <= 60 * arguments.minutes:
        raise InputError(f"--every: got {arguments.every:g}, expected at most half of the session's time, in seconds")
    if arguments.json:
        require_folder(arguments.json)
    options = {
        "style": str(find_style(arguments.style)),
        "size": arguments.size,
        "fps": arguments.fps,
        "threads": arguments.threads,
        "sinks": arguments.sinks,
        "every_s": arguments.every,
        "readings": int(60 * arguments.minutes / arguments.every),
    }
    console.print(f"{arguments.style}, {arguments.size}, {arguments.fps:g} fps, into {', '.join(arguments.sinks)}")
    minutes: list[Minute] = []
    with suppress(KeyboardInterrupt), process_of(__file__, json.dumps(options)) as lines:
        for line in lines:
            minutes.append(Minute(**json.loads(line)))
            console.print(_line(minutes[-1]))
            if arguments.json:
                _write(arguments.json, options, minutes)
    if not minutes:
        raise InputError("stopped before the first reading")
    _show(minutes)


def _line(minute: Minute) -> str:
    return (
        f"{minute.end_s / 60:5.1f} min: {minute.fps:.1f} fps, {minute.dropped_percent:.2f}% dropped, latency "
        f"{minute.p50_ms:.1f}, {minute.p95_ms:.1f} ms, {minute.memory_mb:.1f} MB"
    )


def _write(path: Path, options: dict[str, object], minutes: list[Minute]) -> None:
    text = json.dumps({"options": options, **summary(minutes), "minutes": [asdict(one) for one in minutes]}, indent=2)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def summary(minutes: list[Minute]) -> dict[str, float]:
    """What changed from the first to the last."""
    first, last = minutes[0], minutes[-1]
    several = [[one.p95_ms for one in part] for part in (minutes[:SEVERAL], minutes[-SEVERAL:])]
    return {
        "drift_ms": last.p50_ms - first.p50_ms,
        "memory_growth_mb": last.memory_mb - first.memory_mb,
        "p95_growth_percent": 100 * (last.p95_ms / first.p95_ms - 1),
        "p95_growth_of_several_percent": 100 * (median(several[1]) / median(several[0]) - 1),
    }


def _show(minutes: list[Minute]) -> None:
    rows: list[tuple[str, Callable[[Minute], float], str]] = [
        ("painted, fps", lambda one: -one.fps, "{:.1f}"),  # the worst is the least
        ("dropped, %", lambda one: one.dropped_percent, "{:.2f}"),
        ("latency p50, ms", lambda one: one.p50_ms, "{:.1f}"),
        ("latency p95, ms", lambda one: one.p95_ms, "{:.1f}"),
        ("latency at worst, ms", lambda one: one.worst_ms, "{:.0f}"),
        ("CPU, % of a core", lambda one: one.cpu_percent, "{:.0f}"),
        ("memory, MB", lambda one: one.memory_mb, "{:.1f}"),
    ]
    table = Table(f"{len(minutes)} readings", "first", "last", "worst")
    for name, value, form in rows:
        shown = [value(one) for one in (minutes[0], minutes[-1], max(minutes, key=value))]
        table.add_row(name, *(form.format(abs(number)) for number in shown))
    show_table(table)
    changed = summary(minutes)
    console.print(
        f"drift, last against first: {changed['drift_ms']:+.1f} ms; "
        f"memory growth since the first: {changed['memory_growth_mb']:+.1f} MB; "
        f"p95: {changed['p95_growth_percent']:+.0f} %, "
        f"median of the last {SEVERAL} against the first {SEVERAL}: {changed['p95_growth_of_several_percent']:+.0f} %"
    )


class _Readings:
    """Prints a `Minute` for each `every_s` seconds of frames; `complete` once there are `count`."""

    def __init__(self, every_s: float, count: int) -> None:
        self._every_s, self._count, self._printed = every_s, count, 0
        self._passed: list[Passed] = []
        self._before: Passed | None = None
        self._start_s = 0.0

    @property
    def complete(self) -> bool:
        """Whether there are enough."""
        return self._printed == self._count

    def add(self, frame: Passed) -> None:
        """A frame has passed."""
        self._start_s = self._start_s or frame.due_s
        self._passed.append(frame)
        if frame.sunk_s - self._start_s >= self._every_s * (self._printed + 1) and len(self._passed) > 1:
            print(json.dumps(asdict(self._minute())), flush=True)
            self._before, self._passed = frame, []
            self._printed += 1

    def _minute(self) -> Minute:
        whole = figures(self._passed, self._before)
        return Minute(
            end_s=self._passed[-1].sunk_s - self._start_s,
            fps=whole.fps,
            dropped_percent=whole.dropped_percent,
            p50_ms=whole.p50_ms,
            p95_ms=whole.p95_ms,
            worst_ms=1000 * max(frame.sunk_s - frame.due_s for frame in self._passed),
            cpu_percent=whole.cpu_percent,
            memory_mb=memory_mb(),
        )


def _run(text: str) -> None:
    """The session, in this process."""
    options = json.loads(text)
    readings = _Readings(options["every_s"], options["readings"])

    def on_passed(frame: Passed) -> None:
        readings.add(frame)
        if readings.complete:
            session.end()

    with cam(
        options["style"],
        camera_pictures(options["size"]),
        options["fps"],
        on_passed,
        sinks=options["sinks"],
        threads=options["threads"],
    ) as session:
        session.run()


if __name__ == "__main__":
    _run(sys.argv[1])
