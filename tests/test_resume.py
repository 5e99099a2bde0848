"""Trainings killed by the signal that cannot be caught end as if they had not been: real ones, in real processes."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WORKER = Path(__file__).with_name("resume_worker.py")
KILLED = -9
BATCHES = 16
"""In all epochs."""


def attempts(folder: Path, family: str, *plan: str) -> list[int]:
    """Runs the worker; returns how each attempt ended."""
    command = [sys.executable, str(WORKER), str(folder), family, *plan]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    return [int(line.split()[1]) for line in done.stdout.splitlines()]


def kills(seed: int, times: int) -> list[str]:
    """Draws where to kill; later attempts go on from the checkpoint of batch 3 at least."""
    draw = random.Random(seed)
    first, *further = (draw.randrange(4, BATCHES // times + 1) for _ in range(times))
    return [f"killed:{first}:0", *(f"killed:{batches}:1" for batches in further), "killed:0:1"]


@pytest.mark.parametrize(
    ("family", "times"),
    [
        pytest.param("translator", 1, marks=pytest.mark.slow),
        pytest.param("classifier", 1, marks=pytest.mark.slow),
        ("streamed tagger", 2),
    ],
)
def test_a_killed_training_ends_as_if_it_had_not_been(family: str, times: int, tmp_path: Path) -> None:
    """Bit for bit: batches, dropout, sampling, the optimizer, the best epoch, the mean of the last ones."""
    plan = kills(seed=1, times=times)
    assert attempts(tmp_path, family, "whole:0:0", *plan) == [0, *[KILLED] * times, 0], plan
    with np.load(tmp_path / "whole.npz") as whole, np.load(tmp_path / "killed.npz") as killed:
        assert whole.files == killed.files
        different = [name for name in whole.files if not np.array_equal(whole[name], killed[name])]
    assert different == [], plan
    whole_rows, last_rows = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "killed"))
    assert whole_rows[-len(last_rows) :] == last_rows
    # It did go on, rather than start anew, and has not learned nothing.
    assert len(last_rows) < len(whole_rows) or times == 1
    assert whole_rows[1]["loss"] < whole_rows[0]["loss"]
