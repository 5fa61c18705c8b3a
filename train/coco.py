"""COCO val2017: 5,000 photos of everyday scenes to train on, where a user has none. `allaprima photos --coco DIR`.

Lin et al., "Microsoft COCO: Common Objects in Context" (2014); https://cocodataset.org. The photos are from Flickr,
each under a licence of its own.
"""

import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NoReturn
from uuid import uuid4
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from ..errors import InputError
from ..files import writing
from ..pictures import READABLE_SUFFIXES
from .download import PAUSES_S, OnBytes, download

# The server has no certificate for its own name. What it sends is accepted by checksum alone, so http does no harm;
# https://s3.amazonaws.com/images.cocodataset.org/zips/val2017.zip is the same file.
URL = "http://images.cocodataset.org/zips/val2017.zip"
# COCO publishes no checksums. This one, and the size, stand in many projects that pin the file, as does its MD5,
# 442b8da7639aecaf257c1dceb8ba8c80 (for example in intel/neural-compressor, maskrcnn/download_dataset.sh).
SHA256 = "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"
SIZE = 815_585_330
NAME = "val2017"

_GROWTH = 2  # times the archive's size that its photos may take: JPEGs hardly shrink in a zip
_LONGEST_NAME = 200
_DAMAGED = (BadZipFile, zlib.error, OSError, EOFError, RuntimeError, UnicodeDecodeError)  # what zipfile raises


class _BadArchiveError(InputError):
    """It is as it was published, and still nothing to unpack."""


def fetch_photos(
    folder: Path,
    *,
    url: str = URL,
    sha256: str = SHA256,
    on_bytes: OnBytes = lambda done, total: None,
    on_photo: Callable[[int, int], None] = lambda done, total: None,
    pauses_s: Sequence[float] = PAUSES_S,
) -> Path:
    """Download the photos and unpack them into `folder`/val2017; where that is there already, nothing is done.

    Args:
        folder: made if it is missing.
        url, sha256: where the archive is and what it has to be.
        on_bytes: told how many bytes are there, of how many.
        on_photo: told how many photos are unpacked, of how many.
        pauses_s: see `download`.

    Returns:
        The folder with the photos.

    Raises:
        InputError: see `download`; or the archive holds what it must not.
    """
    target, part = folder / NAME, archive_path(folder)
    if target.is_dir():
        return target
    for place in (folder, target):
        if place.exists() and not place.is_dir():
            raise InputError(f"'{place}' is a file: give another folder for the photos")
    with writing(folder):
        folder.mkdir(exist_ok=True)
    size = SIZE if sha256 == SHA256 else None
    download(url, part, sha256=sha256, size=size, copies=_GROWTH, on_bytes=on_bytes, pauses_s=pauses_s)
    try:
        unpack(part, target, on_photo=on_photo)
    except _BadArchiveError:
        part.unlink()
        raise
    part.unlink()
    return target


def archive_path(folder: Path) -> Path:
    """Where the archive stands while it is not complete and unpacked."""
    return folder / f"{NAME}.zip.part"


def unpack(archive: Path, target: Path, *, on_photo: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Unpack the photos of a zip into the folder `target`, which appears whole or not at all.

    Folders inside the archive are left out, and so is what is no photo by its suffix.

    Raises:
        InputError: no zip, a damaged one, one that is not what it seems, or a full disk.
    """
    partial = target.with_name(f".{target.name}.{uuid4().hex[:8]}.partial")
    try:
        with _damage_explained(archive), ZipFile(archive) as bundle, writing(target):
            photos = _photos(bundle, archive)
            partial.mkdir()
            for number, (name, entry) in enumerate(photos.items(), 1):
                with bundle.open(entry) as source, (partial / name).open("xb") as file:
                    shutil.copyfileobj(source, file)
                on_photo(number, len(photos))
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _damage_explained(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise _BadArchiveError(f"archive '{archive}' is damaged ({error}): it is removed, download it again") from error


def _photos(bundle: ZipFile, archive: Path) -> dict[str, ZipInfo]:
    """File name -> entry of each photo, after everything that can be checked before unpacking was."""
    photos: dict[str, ZipInfo] = {}
    for entry in bundle.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
            _refuse(archive, f"has an entry outside of its own folder, {entry.filename[:_LONGEST_NAME]!r}")
        if path.suffix.lower() not in READABLE_SUFFIXES or path.name.startswith(".") or entry.is_dir():
            continue
        if path.name in photos or len(os.fsencode(path.name)) > _LONGEST_NAME or not path.name.isprintable():
            _refuse(archive, f"has a file name that cannot be used, {entry.filename[:_LONGEST_NAME]!r}")
        if entry.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
            _refuse(archive, f"is packed in an unusual way (method {entry.compress_type})")
        photos[path.name] = entry
    if not photos:
        _refuse(archive, "holds no JPEG, PNG or WebP")
    size, limit = sum(entry.file_size for entry in photos.values()), _GROWTH * archive.stat().st_size
    if size > limit:
        _refuse(archive, f"would unpack to {size:,} bytes, more than {_GROWTH} times its size")
    free = shutil.disk_usage(archive.parent).free
    if size > free:
        raise InputError(f"not enough space in '{archive.parent}': {size / 1e6:,.0f} MB needed, {free / 1e6:,.0f} free")
    return photos


def _refuse(archive: Path, why: str) -> NoReturn:
    raise _BadArchiveError(f"archive '{archive}' {why}: it is removed, give another address (--url)")
