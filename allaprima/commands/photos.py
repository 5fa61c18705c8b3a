"""Ctrl-C prints what has been seen so far; of a download, the same command goes on where it stopped."""

import json
import re
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ..errors import InputError
from ..pictures import find_pictures
from ..terminal import console, on_interrupt, printable, progress_bar, show_table
from ..train.coco import SHA256, URL, archive_path, fetch_photos
from ..train.config import TrainConfig

if TYPE_CHECKING:
    from ..train.survey import Photo, Survey

NAMES_SHOWN = 10
_BAR_WIDTH = 30
_MB = 1_000_000


@dataclass(kw_only=True)
class Config:
    """Look a folder of photos over before training on it: sizes, damage, duplicates, and whether they are enough.

    allaprima photos ~/Pictures
    allaprima photos ~/Pictures --size 384 --json > pictures.json
    allaprima photos --coco coco
    """

    folder: Path | None = field(default=None, metadata={"positional": "?"})
    """The folder, searched recursively, as a training does."""
    size: int = TrainConfig.size
    """Side of the crops that are to be trained on, in px; a training leaves out what is less than half as large."""
    json: bool = False
    """Print one JSON object, with all names, in place of the tables."""
    coco: Path | None = None
    """Instead: download the 5,000 photos of COCO val2017 (816 MB; 1.7 GB free needed) into this folder. A download
    that broke off is gone on with. Without this flag nothing is downloaded."""
    url: str = URL
    """Address of the archive for --coco, for those who have a mirror."""
    sha256: str = SHA256
    """Checksum of the archive at --url."""

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.coco is None):
            raise InputError("give either a folder of photos or --coco DIR, which downloads some")
        if self.size < 1:
            raise InputError(f"--size: got {self.size}, expected 1 or more")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise InputError(f"--sha256: got '{self.sha256}', expected 64 digits of 0-9 and a-f")
        if self.coco is None and (self.url, self.sha256) != (URL, SHA256):
            raise InputError("--url and --sha256 are for --coco: leave them out")
        if self.coco is not None and self.json:
            raise InputError("--json is for a folder of photos: leave it out, or look at the download afterwards")


def run(config: Config) -> None:
    """Show what the folder is worth, or download photos.

    Raises:
        InputError: no such folder, nothing in it, or a download that failed.
        KeyboardInterrupt: stopped with Ctrl-C; what was seen is printed, what was downloaded stays.
    """
    if config.coco is not None:
        _download(config.coco, config.url, config.sha256)
    else:
        assert config.folder is not None
        _look_over(config.folder, config.size, as_json=config.json)


def _look_over(folder: Path, crop_px: int, *, as_json: bool) -> None:
    from ..train.survey import take_stock, verdict

    if not folder.is_dir():
        raise InputError(f"photo folder '{folder}' does not exist: give a folder with photos")
    paths = find_pictures(folder)
    if not paths:
        raise InputError(f"photo folder '{folder}' has no JPEG, PNG or WebP: give a folder with photos")
    stop = Event()
    with on_interrupt(stop.set):
        seen = _look_at(paths, stop)
    survey = take_stock(seen, crop_px=crop_px)
    says = verdict(survey)
    if as_json:
        print(json.dumps({"folder": str(folder), "files": len(paths), **_facts(survey), "verdict": says}, indent=2))
    else:
        _show(survey, f"{folder}: {len(seen):,} picture files" + (f" of {len(paths):,}" if stop.is_set() else ""))
        console.print("\n".join(["", *says]))
    if stop.is_set():
        raise KeyboardInterrupt


def _look_at(paths: list[Path], stop: Event) -> "list[Photo]":
    from ..train.survey import look_at

    seen: list[Photo] = []
    with progress_bar() as bar, closing(look_at(paths)) as photos:
        task, broken = bar.add_task("looking", total=len(paths), text=""), 0
        for photo in photos:
            seen.append(photo)
            broken += photo.problem is not None
            bar.update(task, advance=1, text=f"{broken} broken" if broken else "")
            if stop.is_set():
                break
    return seen


def _facts(survey: "Survey") -> dict[str, Any]:
    """For programs: everything, with every name."""
    return {
        "seen": len(survey.readable) + len(survey.broken),
        "readable": len(survey.readable),
        "different": survey.different,
        "crop_px": survey.crop_px,
        "formats": survey.formats,
        "shorter_side_px": [{"from": low, "below": high, "photos": count} for low, high, count in survey.sizes],
        "small": [str(photo.path) for photo in survey.small],
        "grey": [str(photo.path) for photo in survey.grey],
        "broken": {str(photo.path): photo.problem for photo in survey.broken},
        "duplicates": [[str(photo.path) for photo in group] for group in survey.duplicates],
    }


def _show(survey: "Survey", title: str) -> None:
    """For people: figures, sizes, and some of the names."""
    console.print(printable(title) + "\n")
    figures = Table(box=None, pad_edge=False, show_header=False)
    figures.add_column(justify="right")
    groups = len(survey.duplicates)
    for count, what in (
        *((count, format_) for format_, count in survey.formats.items()),
        (len(survey.broken), "broken"),
        (len(survey.small), f"too small for --size {survey.crop_px}"),
        (len(survey.grey), "grey"),
        (survey.superfluous, "near-duplicates" + (f", of {groups} photos" if groups else "")),
        (survey.different, "different photos that a training uses"),
    ):
        figures.add_row(f"{count:,}", what)
    show_table(figures)
    console.print()
    show_table(_sizes(survey))
    _name("broken", [str(photo.problem) for photo in survey.broken])
    _name("near-duplicates", [" = ".join(str(photo.path) for photo in group) for group in survey.duplicates])


def _sizes(survey: "Survey") -> Table:
    rows = Table("shorter side", box=None, pad_edge=False, header_style="bold")
    rows.add_column("photos", justify="right")
    rows.add_column("")
    most = max(1, *(count for _, _, count in survey.sizes))
    for low, high, count in survey.sizes:
        bar = "#" * -(-_BAR_WIDTH * count // most)
        rows.add_row(f"{low} px or more" if high is None else f"{low} to {high - 1} px", f"{count:,}", bar)
    return rows


def _name(what: str, lines: list[str]) -> None:
    if lines:
        console.print(f"\n{what}:")
    for line in lines[:NAMES_SHOWN]:
        console.print(f"  {printable(line)}")
    if len(lines) > NAMES_SHOWN:
        console.print(f"  and {len(lines) - NAMES_SHOWN:,} more (--json names all)")


def _download(folder: Path, url: str, sha256: str) -> None:
    part = archive_path(folder)
    try:
        with progress_bar() as bar:
            loading = bar.add_task("downloading", total=None, text="MB")
            unpacking = bar.add_task("unpacking", total=None, text="photos", visible=False)

            def show_bytes(done: int, total: int | None) -> None:
                bar.update(loading, completed=done // _MB, total=total and total // _MB)

            def show_photos(done: int, total: int) -> None:
                bar.update(unpacking, completed=done, total=total, visible=True)

            photos = fetch_photos(folder, url=url, sha256=sha256, on_bytes=show_bytes, on_photo=show_photos)
    except KeyboardInterrupt:
        if part.exists():
            console.print(f"'{part}' is kept: the same command goes on with it")
        raise
    console.print(f"{len(find_pictures(photos)):,} photos in {photos}")
    console.print(f"to train on them: allaprima train PAINTING --photos {photos}")
