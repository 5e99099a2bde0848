"""Kills a training again and again, resumes it, and compares its weights with those of an unbroken one.

    python -m benchmarks.soak_resume --kills 50

The kills come at random times after the first step of each attempt, and thus within steps, validations and the writing
of checkpoints too. What is compared is `model/weights.npz`, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measuring import ROOT

SETTINGS = (
    "--dataset", "sample:tagging", "--deterministic", "--checkpoint-steps", "3", "--batch-size", "16",
    "--bucket-width", "4", "--word-size", "16", "--character-encoder", "none", "--encoder-size", "16",
    "--encoder-layers", "1", "--precision", "auto", "--average-checkpoints", "2",
    "--schedule", "reduce_on_plateau", "--patience", "1000",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak_resume", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--kills", type=int, default=50, help="how often to kill (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of the training (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="longest life after the first checkpoint is seen")
    parser.add_argument("--seed", type=int, default=1, help="of the times at which it is killed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), options)
    print(json.dumps(found))
    sys.exit(not found["equal"])


def soak(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Returns how often the training was killed, and whether its weights are those of the unbroken one."""
    draw, kills = random.Random(options.seed), 0
    whole, killed = folder / "whole", folder / "killed"
    if _start(whole, options).wait():
        raise RuntimeError("The unbroken training failed.")
    while kills < options.kills and not (killed / "model").exists():
        process = _start(killed, options)
        newest = _newest(killed)
        # The start alone takes seconds; most kills should come while it trains.
        while process.poll() is None and _newest(killed) == newest:
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, options.seconds))
        process.kill()
        kills += process.wait() == -9
        print(f"kill {kills} at checkpoint {_newest(killed)}", file=sys.stderr, flush=True)
    if not (killed / "model").exists() and _start(killed, options).wait():
        raise RuntimeError("The last resumed training failed.")
    with np.load(whole / "model" / "weights.npz") as one, np.load(killed / "model" / "weights.npz") as other:
        equal = one.files == other.files and all(np.array_equal(one[name], other[name]) for name in one.files)
    return {"kills": kills, "equal": equal}


def _start(output: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, str(ROOT / "pipelines" / "train_tagger.py"), *SETTINGS, "--resume",
        "--epochs", str(options.epochs), "--output", str(output),
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _newest(output: Path) -> int:
    folder = output / "checkpoint"
    return max((int(entry.name) for entry in folder.glob("[0-9]*")), default=0)


if __name__ == "__main__":
    main()
