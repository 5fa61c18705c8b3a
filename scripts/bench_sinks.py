"""What each sink of a live session costs: alone, against none, in turn within one run (scripts/bench sinks)."""

import argparse
import statistics
from dataclasses import dataclass, field

from bench_cam import SINKS, Passed, cam, figures
from bench_devices import camera_pictures
from rich.table import Table

from allaprima.infer.window import display_problem
from allaprima.terminal import console, show_table


@dataclass
class _Cost:
    """Of one sink, or of none: a value for each block."""

    sink_ms: list[float] = field(default_factory=list)
    """From the end of the painting until the sink was done, median of the block."""
    cpu_percent: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    dropped_percent: list[float] = field(default_factory=list)


def bench_sinks(arguments: argparse.Namespace) -> None:
    """Each sink that can be had here."""
    names = [None, *SINKS]
    if problem := display_problem():
        console.print(f"without the window, there is no display: {problem} (xvfb-run scripts/bench sinks ... has one)")
        names.remove("window")
    pictures = camera_pictures(arguments.size)
    costs = {name: _Cost() for name in names}
    for block in range(arguments.blocks):
        for name, cost in costs.items():
            console.print(f"block {block + 1} of {arguments.blocks}: {name or 'none'}, {arguments.seconds:g} s")
            passed: list[Passed] = []
            sinks = [name] if name else []
            with cam(
                arguments.style,
                pictures,
                arguments.fps,
                passed.append,
                sinks=sinks,
                seconds=arguments.seconds,
                threads=arguments.threads,
            ) as session:
                session.run()
            whole = figures(passed)
            cost.sink_ms.append(1000 * statistics.median(frame.sunk_s - frame.painted_s for frame in passed))
            cost.cpu_percent.append(whole.cpu_percent)
            cost.p50_ms.append(whole.p50_ms)
            cost.dropped_percent.append(whole.dropped_percent)
    _show(costs, f"{arguments.size}, {arguments.fps:g} fps")


def _show(costs: dict[str | None, _Cost], title: str) -> None:
    none = costs[None]
    table = Table(title, "ms a frame", "CPU, % of a core", "latency p50, ms", "dropped, %")
    for name, cost in costs.items():
        table.add_row(
            name or "none",
            "" if name is None else f"{_more(cost.sink_ms, none.sink_ms):+.2f}",
            f"{statistics.median(none.cpu_percent):.1f}"
            if name is None
            else f"{_more(cost.cpu_percent, none.cpu_percent):+.1f}",
            f"{statistics.median(cost.p50_ms):.1f}",
            f"{statistics.median(cost.dropped_percent):.1f}",
        )
    show_table(table)


def _more(values: list[float], none: list[float]) -> float:
    """Than without a sink, in the same block: the median of the blocks."""
    return statistics.median(value - base for value, base in zip(values, none, strict=True))
