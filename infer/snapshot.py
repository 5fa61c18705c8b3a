"""Names for what a live session saves on the way, and the pictures themselves."""

from contextlib import ExitStack
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from threading import Lock

from ..files import replacing
from ..pictures import Frame, encode_picture

_SAVING = Lock()  # a key held down takes many, and each is to have a name of its own


def save_snapshot(folder: Path, photo: Frame, painting: Frame, when: datetime) -> tuple[Path, Path]:
    """Save a photo and its painting, (H, W, 3) uint8 RGB each, as PNG, each whole or not at all, over no other file.

    Returns:
        The photo's path and the painting's.

    Raises:
        InputError: the folder is missing or cannot be written, or the disk is full.
    """
    with _SAVING, ExitStack() as stack:
        paths = new_paths(folder, when, "-photo.png", "-painting.png")
        for path, picture in zip(paths, (photo, painting), strict=True):
            stack.enter_context(replacing(path)).write_bytes(encode_picture(picture, path.suffix))
    return paths[0], paths[1]


def new_paths(folder: Path, when: datetime, *endings: str) -> list[Path]:
    """Paths in `folder` with the time in their names and nothing there: "allaprima-20261121-214003-photo.png"."""
    stem = f"allaprima-{when:%Y%m%d-%H%M%S}"
    numbers = chain([""], (f"-{number}" for number in count(2)))
    candidates = ([folder / f"{stem}{number}{ending}" for ending in endings] for number in numbers)
    return next(paths for paths in candidates if not any(path.exists() for path in paths))
