"""The tagger against a plain Keras tagger of the same sizes, on English-EWT: training, what the CRF costs, and tagging.

Both read words, their characters and their shapes, and train on the same sentences in the same padded batches, with all
that is traced or compiled for a shape seen first left out. The plain one is what one writes with `keras.layers` alone;
`tagging_workers` has it, and says what exactly each run includes.

    python -m benchmarks.tagging BATCHES ROUNDS      # try it on a few batches; the figures are printed and not kept
"""

from __future__ import annotations

import argparse
import sys

from benchmarks import measuring
from benchmarks.measuring import Result, less_is_better, more_is_better

BATCHES = 24  # of a random order in training; of sentences by length in tagging
ROUNDS = 5
REPEATS = 4

PRECISIONS = {"float32": "", "mixed_bfloat16": " mixed_bfloat16"}
KERAS = "keras.layers"


def measure(options: argparse.Namespace) -> list[Result]:
    """Measures training, then tagging."""
    del options
    return _measure(BATCHES, ROUNDS, REPEATS)


def _measure(batches: int, rounds: int, repeats: int) -> list[Result]:
    return _training(*_times("train", batches, rounds, repeats)) + _tagging(*_times("tag", batches, rounds, repeats))


def _times(what: str, batches: int, rounds: int, repeats: int) -> tuple[dict[str, float], dict[str, int]]:
    """Returns the median seconds of each run, and how much one of them does."""
    print(f"tagging: {what}", file=sys.stderr, flush=True)
    with measuring.workers([[sys.executable, "-m", "benchmarks.tagging_workers", what, str(batches)]]) as running:
        seconds = measuring.medians(running, rounds=rounds, repeats=repeats)
        return seconds, {name: int(count) for name, count in running[0].versions.items()}


def _training(seconds: dict[str, float], counts: dict[str, int]) -> list[Result]:
    results = []
    for precision, words in PRECISIONS.items():
        # Ours in either precision against what comes without asking, and against the same precision.
        for theirs in dict.fromkeys(("float32", precision)):
            for run, title in (("read", ""), ("ready", ", batches ready-made")):
                ours, other = (
                    counts["sentences"] / seconds[name] for name in (f"{run} {precision}", f"stock {theirs}")
                )
                name = f"tagging train{words}{title}"
                results.append(
                    more_is_better(name, ours, "sentences/s", f"{KERAS}, {theirs}, batches ready-made", other)
                )
        crf, softmax = (1000 * seconds[f"{run} {precision}"] / counts["steps"] for run in ("ready", "softmax"))
        name = f"tagging train step{words}, CRF"
        results.append(less_is_better(name, crf, "ms", "ours with a softmax for each token", softmax))
    return results


def _tagging(seconds: dict[str, float], counts: dict[str, int]) -> list[Result]:
    results = []
    for size in (32, 1):
        theirs = counts[f"tokens {size}"] / seconds[f"stock {size}"]
        for run, title in (("tokens", "SavedModel from words"), ("text", "SavedModel from raw text")):
            ours = counts[f"{run} {size}"] / seconds[f"{run} {size}"]
            against = f"{KERAS} from ready-made numbers, no probabilities"
            results.append(more_is_better(f"tagging, {title}, batch {size}", ours, "tokens/s", against, theirs))
    return results


if __name__ == "__main__":
    print(measuring.table(_measure(int(sys.argv[1]), int(sys.argv[2]), 1)))
