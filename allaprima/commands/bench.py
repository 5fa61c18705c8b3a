"""Timed are whole calls, uint8 pixels in and out, after a warm-up, on pictures that move. Several styles or providers
take turns in three blocks each, with one session alive at a time, so that their ratios hold on a busy machine.

Ctrl-C prints what has been measured so far.
"""

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ..errors import InputError
from ..gallery import find_style, shipped_styles
from ..style_flags import StyleFlags
from ..terminal import console, on_interrupt, printable, progress_bar, show_table

if TYPE_CHECKING:
    from ..infer.timing import Entrant, Timing

EXPLANATION = (
    "ms: median of whole calls; p95: 19 of 20 frames took no longer; fps: by the median; "
    "holds: the highest camera rate that p95 fits with a tenth of the time to spare"
)


@dataclass(kw_only=True)
class Config:
    """Measure how fast styles run on this machine, and which camera rate they hold at each size.

    allaprima bench
    allaprima bench starry_night painting.onnx --size 640x480,1280x720
    allaprima bench great_wave --provider cpu,cuda --seconds 5
    allaprima bench --provider all --json > bench.json
    """

    styles: list[str] = field(default_factory=list, metadata={"positional": "*"})
    """Styles that ship, by name, or style files. Default: the first that ships; the others are the same network with
    other weights, and as fast."""
    size: str = "320x240,640x480,1280x720,1920x1080"
    """Width and height of the frames; several with commas between them."""
    provider: str = "auto"
    """Where to compute: auto, cpu, cuda, tensorrt, directml or coreml, several with commas between them, or `all` for
    every one that the installed ONNX Runtime has. TensorRT compiles each style for minutes."""
    threads: int | None = None
    """CPU threads; default: ONNX Runtime's choice."""
    seconds: float = 2
    """How long to measure each style at each size on each provider. More time gives steadier figures."""
    json: bool = False
    """Print one JSON object in place of the table."""

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise InputError(f"--seconds: got {self.seconds}, expected more than 0")


def run(config: Config) -> None:
    """Measure, and print the table or the JSON object.

    Raises:
        InputError: a style, size or provider that cannot be used.
        KeyboardInterrupt: stopped with Ctrl-C; what was measured is printed.
    """
    from ..infer.camera import parse_size
    from ..infer.timing import Timing

    sizes = dict.fromkeys(parse_size(word.strip()) for word in config.size.split(","))
    timings = [Timing(entrant, width, height) for entrant in _entrants(config) for width, height in sizes]
    stop = Event()
    with on_interrupt(stop.set):
        measure_shown(timings, config.seconds, stop)
    rows = [row(timing, config.threads) for timing in timings if timing.times_ms or timing.error]
    if config.json:
        print(json.dumps({"machine": machine(), "rows": rows}, indent=2))
    elif rows:
        _show(rows)
    if stop.is_set():
        raise KeyboardInterrupt


def measure_shown(timings: "list[Timing]", seconds: float, stop: Event) -> None:
    """Fill `timings`, each for about `seconds`, under a progress bar, until `stop` is set."""
    from ..infer.timing import measure

    with progress_bar() as bar:
        task = bar.add_task("measuring", total=None, text="")

        def show(timing: "Timing", done: int, total: int) -> None:
            outcome = "failed" if timing.error else f"{timing.median_ms:.1f} ms"
            what = f"{timing.entrant.style} on {timing.entrant.provider}, {timing.width}x{timing.height}"
            bar.update(task, completed=done, total=total, text=f"{what}: {outcome}")

        measure(timings, seconds=seconds, on_block=show, stopped=stop.is_set)


def _entrants(config: Config) -> "list[Entrant]":
    """Every style on every provider that really loads, each once."""
    entrants: dict[tuple[str, str], Entrant] = {}
    for label, style in _named(config.styles or list(shipped_styles())[:1]).items():
        for provider in _providers(config.provider):
            entrant = _entrant(label, style, provider, config.threads)
            entrants.setdefault((label, entrant.provider), entrant)
    if not entrants:
        raise InputError("no styles ship with this copy: give a .onnx file")
    return list(entrants.values())


def _entrant(label: str, style: str, provider: str, threads: int | None) -> "Entrant":
    """Load it once, to see what it is; the warning where another provider loads comes from here."""
    from ..infer.timing import Entrant

    stylizer = StyleFlags(style=style, provider=provider, threads=threads).open_style()
    precision = stylizer.card.network.get("precision") if stylizer.card else None
    return Entrant(
        style=label,
        path=stylizer.path,
        provider=stylizer.provider,
        precision=None if precision is None else printable(precision),
        open=StyleFlags(style=style, provider=stylizer.provider, threads=threads).open_style,
    )


def _named(styles: list[str]) -> dict[str, str]:
    """Label -> style, each file once. A label tells no folders; files of the same name are numbered."""
    distinct: dict[Path, str] = {}
    for style in styles:
        distinct.setdefault(find_style(style).resolve(), style)
    named: dict[str, str] = {}
    for style in distinct.values():
        name = label = printable(Path(style).name)
        number = 1
        while label in named:
            number += 1
            label = f"{name} ({number})"
        named[label] = style
    return named


def _providers(words: str) -> dict[str, None]:
    """The providers to try, each once, in the order given."""
    from ..infer.providers import available_providers

    wanted = [word.strip() for word in words.split(",")]
    return dict.fromkeys(p for word in wanted for p in (available_providers() if word == "all" else [word]))


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    from ..infer.providers import import_onnxruntime

    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "os": platform.system(),
        "onnxruntime": import_onnxruntime().__version__,
    }


def row(timing: "Timing", threads: int | None) -> dict[str, Any]:
    """One timing as JSON has it; without figures where there is an error."""
    from ..infer.timing import holds

    failed, path = timing.error is not None, timing.entrant.path
    return {
        "style": timing.entrant.style,
        "provider": timing.entrant.provider,
        "precision": timing.entrant.precision,
        "width": timing.width,
        "height": timing.height,
        "threads": threads,
        "median_ms": None if failed else round(timing.median_ms, 3),
        "p95_ms": None if failed else round(timing.p95_ms, 3),
        "fps": None if failed else round(timing.fps, 2),
        "holds_fps": None if failed else round(holds(timing.p95_ms), 2),
        "frames": len(timing.times_ms),
        "error": timing.error and timing.error.replace(str(path), path.name),  # no folders of this machine
    }


def _show(rows: list[dict[str, Any]]) -> None:
    here = machine()
    threads = rows[0]["threads"]
    console.print(
        f"{here['machine']}, {here['cpus']} CPUs, {here['os']}, ONNX Runtime {here['onnxruntime']}, "
        + (f"--threads {threads}" if threads else "threads as ONNX Runtime chooses")
    )
    show_table(table(rows))
    console.print(EXPLANATION, soft_wrap=not console.is_terminal)


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for people."""
    figures = Table("style", "provider", "precision", box=None, pad_edge=False, header_style="bold")
    for heading in ("size", "ms", "p95", "fps"):
        figures.add_column(heading, justify="right", no_wrap=True)
    figures.add_column("holds", overflow="fold")
    for r in rows:
        measured = ("", "", "", f"failed: {r['error']}") if r["error"] else _figures(r)
        words = r["style"], r["provider"], r["precision"] or "", f"{r['width']}x{r['height']}", *measured
        figures.add_row(*map(Text, words))
    return figures


def _figures(r: dict[str, Any]) -> tuple[str, str, str, str]:
    from ..infer.timing import RATES_FPS

    lowest, held = RATES_FPS[-1], r["holds_fps"]
    rate = f"{held:g} fps" if held >= lowest else f"under {lowest} ({held:.1f})"
    return f"{r['median_ms']:.1f}", f"{r['p95_ms']:.1f}", f"{r['fps']:.1f}", rate
