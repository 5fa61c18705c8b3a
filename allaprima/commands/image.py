"""Paint photos.

allaprima image me.jpg --style starry_night -o painted.jpg
allaprima image holiday/ "more/*.jpg" --style great_wave -o painted/ --size 1600
"""

import glob
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from ..contract import MIN_SIZE_PX
from ..errors import InputError
from ..files import describe_write_error, require_folder
from ..pictures import READABLE_SUFFIXES, WRITABLE_SUFFIXES, Frame, find_pictures, read_picture, write_picture
from ..style_flags import StyleFlags
from ..terminal import console, progress_bar

if TYPE_CHECKING:
    from ..infer import Stylizer


@dataclass(kw_only=True)
class Config(StyleFlags):
    """Paint photos: one photo to a file, several to a folder."""

    photos: list[str] = field(metadata={"positional": "*"})
    """Photos (JPEG, PNG, WebP), folders (searched recursively) and patterns such as "trip/**/*.jpg"."""
    output: str
    """Where to: a file for one photo, a folder for several. Sub-folders are kept."""
    size: int | None = None
    """Longest side of what is painted, in pixels; larger photos are scaled down to it. Default: the photo's own."""
    format: Literal["keep", "png", "jpg", "webp"] = "keep"
    """Format of the files in an output folder; `keep` is the photo's own."""

    def __post_init__(self) -> None:
        if self.size is not None and self.size < MIN_SIZE_PX:
            raise InputError(f"--size: got {self.size}, expected {MIN_SIZE_PX} or more")


@dataclass(frozen=True)
class Job:
    """One photo and where its painting goes."""

    photo: Path
    target: Path


def run(config: Config) -> None:
    """Paint every photo that can be read; name the others at the end.

    Raises:
        InputError: nothing to paint, a style or an output that cannot be used, or photos that were skipped.
    """
    jobs = plan(config.photos, config.output, format_=config.format)
    stylizer = config.open_style(keep_memory=False)  # photos are larger than frames, and of many sizes
    skipped = _paint_all(stylizer, jobs, size_px=config.size)
    if len(jobs) == 1 and skipped:
        raise skipped[0]
    if skipped:
        raise InputError(f"{len(skipped)} of {len(jobs)} photos skipped: {'; '.join(map(str, skipped))}")


def _paint_all(stylizer: "Stylizer", jobs: list[Job], *, size_px: int | None) -> list[InputError]:
    """Paint and write; returns why photos were skipped. What is done stays, after Ctrl-C too."""
    started, done = time.perf_counter(), 0
    skipped: list[InputError] = []
    try:
        with _progress(len(jobs)) as report:
            for job in jobs:
                try:
                    painted = paint(stylizer, job.photo, size_px=size_px)
                except InputError as error:
                    skipped.append(error)
                    report(job.photo, None)
                else:
                    _write(job.target, painted)
                    done += 1
                    report(job.photo, job.target)
    finally:
        if done:
            seconds = time.perf_counter() - started
            what = str(jobs[0].target) if len(jobs) == 1 else f"{done} of {len(jobs)} photos"
            console.print(f"{what} painted with {stylizer.name} on {stylizer.provider} in {seconds:.1f} s")
    return skipped


def paint(stylizer: "Stylizer", photo: Path, *, size_px: int | None = None) -> Frame:
    """Read a photo, scale it down until its longest side is `size_px`, and paint it.

    Raises:
        InputError: the photo cannot be read or painted.
    """
    frame = read_picture(photo)
    height, width = frame.shape[:2]
    if size_px is not None and size_px < max(height, width):
        scale = size_px / max(height, width)
        height, width = round(height * scale), round(width * scale)
        if min(height, width) < MIN_SIZE_PX:
            raise InputError(
                f"photo '{photo}' would be {width}x{height} px at --size {size_px}: choose a larger --size"
            )
        frame = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return stylizer(frame)


def plan(words: list[str], output: str, *, format_: str = "keep") -> list[Job]:
    """Photos, folders and patterns -> what to paint, and where to.

    Args:
        words: as on the command line.
        output: a file for one photo, a folder for several; one that ends in a slash or has no suffix is a folder.
        format_: `keep`, or the suffix (without the dot) of files in an output folder.

    Raises:
        InputError: no photo, or an output that does not suit.
    """
    place = Path(output)
    photos = {photo.resolve(): (photo, inner) for word in words for photo, inner in _find(word, place)}
    several = len(photos) > 1 or any(Path(word).is_dir() for word in words)
    names_picture = place.suffix.lower() in WRITABLE_SUFFIXES
    if place.is_dir() or output.endswith(("/", "\\")) or not place.suffix or (several and not names_picture):
        _require_parent(place)
        jobs = [Job(photo, place / inner) for photo, inner in _distinct(list(photos.values()), format_)]
    else:
        _require_one_file(place, len(photos), format_)
        jobs = [Job(photo, place) for photo, _ in photos.values()]
    for job in jobs:
        if job.target.resolve() in photos:
            raise InputError(f"output '{job.target}' would overwrite a photo: choose another place")
    return jobs


def _find(word: str, output: Path) -> Iterator[tuple[Path, Path]]:
    """(photo, its path inside the output folder) for one word of the command line."""
    path = Path(word)
    if path.exists() or not glob.has_magic(word):
        if not path.is_dir():
            yield path, Path(path.name)  # a missing one too: reading it says so
            return
        root, found = path, find_pictures(path)
    else:
        # Expanded here because Windows shells do not, and because quoted patterns are handy for many photos.
        root = _fixed_part(word)
        found = sorted(p for p in root.glob(str(path.relative_to(root))) if _is_photo(p))
    below = root.resolve() in output.resolve().parents  # then paintings of an earlier run are among the photos
    photos = [p for p in found if not (below and output.resolve() in p.resolve().parents)]
    if not photos:
        raise InputError(f"no JPEG, PNG or WebP picture in '{word}': give photos, a folder or a pattern")
    for photo in photos:
        yield photo, photo.relative_to(root)


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in READABLE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _fixed_part(pattern: str) -> Path:
    """The folders of a pattern before its first wildcard."""
    parts = Path(pattern).parts
    count = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:count])


def _distinct(photos: list[tuple[Path, Path]], format_: str) -> Iterator[tuple[Path, Path]]:
    """Give each photo a place of its own: a.jpg and a.png both as PNG become a.png and a-2.png."""
    taken = set()
    for photo, inner in photos:
        suffix = inner.suffix if format_ == "keep" else f".{format_}"
        if suffix.lower() not in WRITABLE_SUFFIXES:
            suffix = ".png"
        place, number = inner.with_suffix(suffix), 1
        while str(place).casefold() in taken:  # some file systems take A.png and a.png for one
            number += 1
            place = inner.with_name(f"{inner.stem}-{number}{suffix}")
        taken.add(str(place).casefold())
        yield photo, place


def _require_parent(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output '{folder}' is a file: give a folder for several photos")
    if not folder.parent.is_dir():
        raise InputError(f"output folder '{folder.parent}' does not exist: create it or choose another place")


def _require_one_file(path: Path, photos: int, format_: str) -> None:
    if photos > 1:
        raise InputError(f"output '{path}' is one file for {photos} photos: give a folder")
    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise InputError(f"output '{path}' ends in '{path.suffix}': expected .png, .jpg or .webp, or a folder")
    if format_ != "keep":
        raise InputError(f"--format {format_} is for an output folder: leave it out, '{path.name}' says the format")
    require_folder(path)


def _write(target: Path, painted: Frame) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(describe_write_error(error, target.parent) or str(error)) from error
    write_picture(target, painted)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Path, Path | None], None]]:
    """Yield a function that is told each photo and its painting (None: skipped); a bar on a terminal, else lines."""
    if total == 1:
        yield lambda photo, painting: None
        return
    if not console.is_terminal:
        count = iter(range(1, total + 1))
        yield lambda photo, painting: console.print(
            f"{next(count)}/{total} {photo} {f'-> {painting}' if painting else 'skipped'}"
        )
        return
    with progress_bar() as bar:
        task = bar.add_task("painting", total=total, text="")

        def report(photo: Path, painting: Path | None) -> None:
            if painting is None:
                console.print(f"{photo} skipped")
            bar.advance(task)

        yield report
