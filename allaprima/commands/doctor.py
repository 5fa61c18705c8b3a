"""It looks and changes nothing: no file is written, no connection is opened but to the display.

The exit code is 1 where nothing can be painted, and 0 where only a camera, a window or the like is missing.
"""

import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from rich.text import Text

from .. import __version__
from ..checkup import CHECKS, Check, Finding, examine
from ..errors import InputError
from ..gallery import shipped_styles
from ..style_flags import StyleFlags
from ..terminal import console, on_interrupt
from .bench import measure_shown, row

if TYPE_CHECKING:
    from ..infer.timing import Timing

WIDTH, HEIGHT = 640, 480
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_SLOW_FPS = 15


@dataclass(kw_only=True)
class Config:
    """Check whether this machine is ready to paint, and say what to do where it is not.

    allaprima doctor
    allaprima doctor --no-timing
    allaprima doctor --json > report.json
    """

    timing: bool = True
    """Measure how fast each style that ships paints frames of 640x480."""
    seconds: float = 5
    """How long to measure each style."""
    json: bool = False
    """Print one JSON object in place of the lines, for a bug report; it names neither you nor your folders."""

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise InputError(f"--seconds: got {self.seconds}, expected more than 0")


def run(config: Config) -> int:
    """Check, print what was found, and return the exit code.

    Raises:
        KeyboardInterrupt: stopped with Ctrl-C; what was found is printed.
    """
    timings: list[Timing] = []
    stop = Event()
    checks = (*CHECKS, Check("timing", lambda: _time(timings, config.seconds, stop), essential=True))
    findings: list[Finding] = []
    usable = True
    for check in checks if config.timing else CHECKS:
        for finding in examine(check):
            findings.append(finding)
            usable = usable and not (check.essential and finding.mark == "problem")
            if not config.json:
                console.print(_line(finding))
    if config.json:
        print(json.dumps(_report(findings, timings, usable), indent=2))
    elif not stop.is_set():
        console.print("\n".join(["", *_conclusion(findings)]))
    if stop.is_set():
        raise KeyboardInterrupt
    return 0 if usable else 1


def _time(timings: "list[Timing]", seconds: float, stop: Event) -> Iterator[Finding]:
    """Measure the styles that ship, where `--provider auto` computes them; fills `timings`."""
    from ..infer.timing import Entrant, Timing, holds

    for name, path in shipped_styles().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what does not load has been told
            provider = StyleFlags(style=name).open_style().provider
        entrant = Entrant(
            style=name, path=path, provider=provider, open=StyleFlags(style=name, provider=provider).open_style
        )
        timings.append(Timing(entrant, WIDTH, HEIGHT))
    with on_interrupt(stop.set):
        measure_shown(timings, seconds, stop)
    for timing in timings:
        name = timing.entrant.style
        if timing.error:
            yield Finding(name, "problem", timing.error)
        elif timing.times_ms:
            fps = holds(timing.p95_ms)
            slow, where = fps < _SLOW_FPS, f"on {timing.entrant.provider} at {WIDTH}x{HEIGHT}"
            cure = "--quality auto, or a smaller --size" if slow else ""
            text = f"{timing.median_ms:.1f} ms a frame {where}, holds {fps:.3g} fps"
            yield Finding(name, "warning" if slow else "ok", text, cure)


def _line(finding: Finding) -> Text:
    remedy = f" -> {finding.remedy}" if finding.remedy else ""
    mark = (f"{finding.mark:9}", _COLOURS[finding.mark])
    return Text.assemble(mark, f"{finding.about:15} ", finding.text + remedy)


def _conclusion(findings: list[Finding]) -> list[str]:
    """What to do now, as lines."""
    problems = {f.remedy or f.text: f.about for f in reversed(findings) if f.mark == "problem"}  # each once
    if problems:
        steps = (f"{about}: {what}" for what, about in reversed(problems.items()))
        return ["to do:", *(f"  {number}. {step}" for number, step in enumerate(steps, 1))]
    warned = {finding.about for finding in findings if finding.mark == "warning"}
    live, still = "cam --style starry_night", "image PHOTO --style starry_night -o painted.jpg"
    ready = "ready, but for the warnings above" if warned else "everything is ready"
    return [f"{ready}: allaprima {still if warned & {'camera', 'window'} else live}"]


def _report(findings: list[Finding], timings: "list[Timing]", usable: bool) -> dict[str, Any]:
    return {
        "allaprima": __version__,
        "usable": usable,
        "findings": [asdict(finding) for finding in findings],
        "timings": [row(timing, None) for timing in timings if timing.times_ms or timing.error],
    }
