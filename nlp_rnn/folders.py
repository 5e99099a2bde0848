"""Folders that appear whole or not at all: written beside their place, put on the disk, and renamed into it."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

WRITING, PREVIOUS = "writing", "previous"
_EXPORT = "export"


def replace_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Writes a folder whose old content, if any, is moved aside before and deleted after.

    Args:
        target: The folder. One process at a time may replace it.
        write: Fills the folder it is given. If it raises, the target stays as it was.
    """
    aside = target.with_name(f".{target.name}.{PREVIOUS}")
    with _written(target.parent, target.name, write) as folder:
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
            target.rename(aside)
        try:
            folder.rename(target)
        except OSError:
            if aside.exists():
                aside.rename(target)
            raise
        _sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def replace_file(target: Path, content: str) -> None:
    """Writes a text file beside its place and renames it into it: who reads meanwhile never sees half of it."""
    hidden = target.with_name(f".{target.name}.{WRITING}")
    try:
        hidden.write_text(content, encoding="utf-8")
        hidden.replace(target)
    finally:
        hidden.unlink(missing_ok=True)


def versions(path: str | Path) -> list[int]:
    """Returns the numbers of the exports in a model directory, rising."""
    entries = Path(path).iterdir() if Path(path).is_dir() else ()
    return sorted(int(entry.name) for entry in entries if re.fullmatch("[0-9]+", entry.name) and entry.is_dir())


def next_version(path: str | Path) -> int:
    """Returns the number that the next export gets: one more than the highest, or 1."""
    return max(versions(path), default=0) + 1


def add_version(path: str | Path, write: Callable[[Path], None]) -> Path:
    """Writes the next version folder and returns it.

    Args:
        path: The model directory.
        write: Fills the folder it is given. If it raises, nothing is kept.
    """
    path = Path(path)
    with _written(path, _EXPORT, write) as folder:
        while True:
            target = path / str(next_version(path))
            # Another export may take the number first: then that folder is not empty.
            try:
                folder.rename(target)
                break
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
    _sync(path)
    return target


def remove_versions(path: str | Path, *, keep: int) -> list[Path]:
    """Removes the oldest exports of a model directory and returns what was removed.

    Args:
        path: The model directory.
        keep: How many of the newest stay; at least 1.

    Raises:
        ValueError: `keep` < 1.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, not {keep}: the newest version is never removed.")
    path, removed = Path(path), []
    for version in versions(path)[:-keep]:
        # At once for all who look, and if this stops half-way the next export does the rest.
        hidden = path / f".{_EXPORT}.{WRITING}-{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):  # another export removed it
            (path / str(version)).rename(hidden)
            shutil.rmtree(hidden, ignore_errors=True)
            removed.append(path / str(version))
    _sync(path)
    return removed


@contextlib.contextmanager
def _written(parent: Path, name: str, write: Callable[[Path], None]) -> Iterator[Path]:
    """Gives a hidden folder that is written and on the disk, for the caller to rename; else it is deleted."""
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent, name)
    folder, lock = _locked(parent, name)
    try:
        write(folder)
        for inside in (*folder.rglob("*"), folder):
            _sync(inside)
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _locked(parent: Path, name: str) -> tuple[Path, int]:
    """Makes a hidden folder and locks it; returns it with the lock's descriptor."""
    while True:
        # Not by `tempfile`, whose folders other users, such as a model server's, cannot read.
        folder = parent / f".{name}.{WRITING}-{secrets.token_hex(4)}"
        folder.mkdir()
        # Until it is locked, another process may take it for abandoned and delete it: then a new one is made.
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _remove_abandoned(parent: Path, name: str) -> None:
    """Deletes what killed processes left; the lock of one that lives keeps its own."""
    for folder in parent.glob(f".{name}.{WRITING}-*"):
        # What its writer has put in its place by now is no longer here.
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
