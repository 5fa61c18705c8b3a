"""List the cameras of this machine, and the sizes and rates that they give.

allaprima cameras
allaprima cameras --json
"""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ..errors import InputError
from ..terminal import console, printable, show_table

if TYPE_CHECKING:
    from ..infer.device import Device, Mode


@dataclass(kw_only=True)
class Config:
    """List the cameras of this machine, and the sizes and rates that they give."""

    json: bool = False
    """As JSON, for programs."""


@dataclass(frozen=True)
class Found:
    """A camera, and what it gives or why it cannot tell."""

    device: "Device"
    modes: "list[Mode]"
    problem: str | None


def run(config: Config) -> None:
    """Print the list."""
    from ..infer.device import list_devices

    found = [_ask(device) for device in list_devices()]
    if config.json:
        print(json.dumps([_as_json(camera) for camera in found], indent=2))
    elif found:
        show_table(_table(found))
        console.print(f"\nto paint one: allaprima cam {found[0].device.index}, or a part of its name")
    else:
        console.print("this machine shows no camera: plug one in, or see without one: allaprima cam demo")


def _ask(device: "Device") -> Found:
    from ..infer.device import list_modes

    try:
        return Found(device, list_modes(device), None)
    except InputError as error:
        return Found(device, [], str(error))


def _table(found: list[Found]) -> Table:
    """A row a size; the rates with the formats that reach them."""
    rows = Table(
        "index", "name", "back end", "size", "frames per second", box=None, pad_edge=False, header_style="bold"
    )
    for camera in found:
        what = str(camera.device.index), Text(printable(camera.device.name)), camera.device.back_end
        sizes = dict.fromkeys((mode.width, mode.height) for mode in camera.modes)
        for width, height in sizes:
            rates = "; ".join(_rates(mode) for mode in camera.modes if (mode.width, mode.height) == (width, height))
            rows.add_row(*what, f"{width}x{height}", Text(rates))
            what = "", Text(""), ""
        if not sizes:
            rows.add_row(*what, "", Text(printable(camera.problem or "its driver lists no sizes")))
    return rows


def _rates(mode: "Mode") -> str:
    rates = ", ".join(f"{fps:g}" for fps in mode.fps) or "not said"
    return f"{rates} ({printable(mode.format)})" if mode.format else rates


def _as_json(camera: Found) -> dict[str, object]:
    return {**asdict(camera.device), "modes": [asdict(mode) for mode in camera.modes], "problem": camera.problem}
