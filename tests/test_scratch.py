"""Folders of processes that live, that were killed, and that were forked."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from nlp_rnn import scratch

ROOT = Path(__file__).resolve().parents[1]
WAITS = "import time\nfrom nlp_rnn import scratch\nprint(scratch.folder(), flush=True)\ntime.sleep(60)\n"
FORKS = """
import os, sys
from nlp_rnn import scratch
mine = scratch.folder()
if os.fork() == 0:
    print(scratch.folder(), flush=True)
    sys.exit(0)
os.wait()
print(mine, mine.is_dir())
"""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}


def waiting(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """Starts a process that has a folder and lives on."""
    command = [sys.executable, "-c", WAITS]
    process = subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    others = tmp_path / "nlp_rnn-results"
    others.mkdir()
    processes = [waiting(tmp_path) for _ in range(2)]
    try:
        (dead, abandoned), (_, kept) = processes
        dead.kill()
        dead.wait()
        assert sorted(tmp_path.iterdir()) == sorted([others, abandoned, kept])
        third, own = waiting(tmp_path)
        processes.append((third, own))
        assert sorted(tmp_path.iterdir()) == sorted([others, kept, own])
    finally:
        for process, _ in processes:
            process.kill()
            process.communicate()


def test_a_forked_process_has_a_folder_of_its_own_and_leaves_its_parent_s_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKS]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=True, timeout=60)
    child, (parent, there) = done.stdout.splitlines()[0], done.stdout.splitlines()[1].split()
    assert child != parent
    assert there == "True"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_taken_for_abandoned_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lock, taken = fcntl.flock, []

    def late(descriptor: int, how: int) -> Any:
        if not taken:
            taken.extend(tmp_path.iterdir())
            shutil.rmtree(taken[0])
        return lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    made = scratch._folder_of.__wrapped__(os.getpid())
    assert made.is_dir()
    assert [made] == list(tmp_path.iterdir()) != taken
