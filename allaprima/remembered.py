"""What a live session was like when it ended, for the next one: one small JSON file in the user's configuration folder.

Whatever is in it is only taken where it is what a flag could say; a damaged file counts as none.
"""

import json
import math
import re
from contextlib import suppress
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from .errors import InputError
from .files import config_folder, replacing


@dataclass(frozen=True)
class Remembered:
    """The last session's settings; the defaults are those of the very first."""

    style: str = ""
    """Name of a style that ships; "" for the first of them."""
    strength: float = 1.0
    smoothing: float = 0.0
    keep_colours: bool = False
    mirror: bool = False
    overlay: bool = True
    mask: Literal["off", "person", "background"] = field(default="off", metadata={"pattern": "off|person|background"})
    quality: str = field(default="100", metadata={"pattern": "auto|[1-9][0-9]|100"})


def recall() -> Remembered:
    """The settings kept last."""
    try:
        values = json.loads(_place().read_text(encoding="utf-8"))
        return Remembered(**{f.name: values[f.name] for f in fields(Remembered) if _sound(f, values.get(f.name))})
    except (OSError, ValueError, AttributeError, RecursionError):
        return Remembered()


def remember(settings: Remembered) -> None:
    """Keep them; where that cannot be done, the next session begins with the defaults."""
    path = _place()
    with suppress(OSError, InputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")


def _sound(setting: Field[Any], value: Any) -> bool:
    default = setting.default
    if isinstance(default, float) and not isinstance(value, bool):
        return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1
    pattern = setting.metadata.get("pattern")
    if isinstance(default, str) and isinstance(value, str) and pattern:
        return re.fullmatch(pattern, value) is not None
    return type(value) is type(default)


def _place() -> Path:
    return config_folder() / "live.json"
