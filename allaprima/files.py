"""Files that are either whole or absent: written under a temporary name, flushed to disk, then renamed."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from .errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) and give it the real name once the block ends well.

    On any exception, Ctrl-C included, the temporary file is removed and what stood at `path` before stays.

    Raises:
        InputError: the folder is missing or cannot be written, or the disk is full.
    """
    require_folder(path)
    temporary = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.partial{path.suffix}")
    try:
        with writing(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into a message for people.

    Raises:
        InputError: the disk is full or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        if (problem := describe_write_error(error, path)) is None:
            raise
        raise InputError(problem) from error


def require_folder(path: Path) -> None:
    """Check that the folder that is to hold `path` exists and that `path` itself is no folder.

    Raises:
        InputError: with the folder's name.
    """
    if not path.parent.is_dir():
        raise InputError(f"output folder '{path.parent}' does not exist: create it or choose another place")
    if path.is_dir():
        raise InputError(f"output '{path}' is a folder: give a file name")


def describe_write_error(error: OSError, path: Path) -> str | None:
    """One line for the operating system's refusal to write `path`; None when the error is of another kind."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"no space left to write '{path}': free some disk space and try again"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR}:
        return f"cannot write '{path}' ({os.strerror(error.errno)}): choose a place you may write to"
    return None


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again, by the platform's custom; it may not exist yet."""
    return _users_folder("LOCALAPPDATA", "AppData/Local", "Library/Caches", "XDG_CACHE_HOME", ".cache")


def config_folder() -> Path:
    """Where this user's programs keep settings, likewise."""
    return _users_folder("APPDATA", "AppData/Roaming", "Library/Application Support", "XDG_CONFIG_HOME", ".config")


def _users_folder(windows: str, windows_else: str, mac: str, linux: str, linux_else: str) -> Path:
    if sys.platform == "win32":
        parent = Path(os.environ.get(windows) or Path.home() / windows_else)
    elif sys.platform == "darwin":
        parent = Path.home() / mac
    else:
        named = Path(os.environ.get(linux, ""))
        parent = named if named.is_absolute() else Path.home() / linux_else  # a relative one is to be ignored
    return parent / "allaprima"
