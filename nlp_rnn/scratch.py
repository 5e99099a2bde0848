"""A folder for what is needed only while a process runs: it goes with its process, however that ends."""

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from pathlib import Path

# All that has this name and no lock is removed, hence a name that nothing else has.
_PREFIX = "nlp_rnn-corpora-"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def folder() -> Path:
    """Returns this process's folder, made on the first call below the system's temporary one (`TMPDIR` moves it).

    It is removed when the process ends. One that is killed cannot do so: what
    such processes left is removed by the next one that makes a folder of its own.
    """
    # A forked process has its parent's memory, but not its parent's folder.
    return _folder_of(os.getpid())


@functools.cache
def _folder_of(process: int) -> Path:
    _remove_abandoned(Path(tempfile.gettempdir()))
    while (path := _make()) is None:
        pass
    atexit.register(_remove, path, process)
    return path


def _make() -> Path | None:
    """Makes a folder and locks it; gives None if another process took it for abandoned before it was locked."""
    path = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        lock = os.open(path, _OPEN)  # held until this process, and what it has forked, has ended
    except FileNotFoundError:
        return None
    # Where a file system has no locks nobody gets one, and nothing is taken for abandoned.
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
    if path.is_dir():
        return path
    os.close(lock)
    return None


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(path, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it is in use, another user's, or gone by now
            lock = os.open(path, _OPEN)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
