"""A translator's training on a data set that is streamed, and on the same one stored first: memory, start, and speed.

    python -m benchmarks streaming                  # a million pairs
    python -m benchmarks.streaming --pairs 20000    # fewer, and nothing is kept of the figures

The corpus is made up: words as frequent as Zipf has them, sentences as long as those of news, in Parquet files. Each
training runs in a process of its own, whose largest resident set is taken; the files that it has mapped count too.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.measuring import Result, less_is_better, more_is_better

PAIRS = 1_000_000
STEPS = 300
_PAIRS_IN_A_FILE = 50_000
_WORDS = 50_000
_SIZES = {"embedding_size": 128, "encoder_size": 128, "decoder_size": 256, "attention_size": 128}


def measure(options: argparse.Namespace) -> list[Result]:
    """Measures both ways; the stored data set is what the stream is compared with."""
    pairs, steps = getattr(options, "pairs", PAIRS), getattr(options, "steps", STEPS)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), pairs)
        streamed, stored = (
            measuring.run_json(
                [sys.executable, "-m", "benchmarks.streaming", "--train", folder, "--how", how, "--steps", str(steps)]
            )
            for how in ("streamed", "stored")
        )
    name, against = f"streaming {pairs:,} pairs, ", "stored first"
    return [
        less_is_better(f"{name}memory", streamed["mebibytes"], "MiB", against, stored["mebibytes"]),
        less_is_better(f"{name}first step after", streamed["first"], "s", against, stored["first"]),
        more_is_better(f"{name}target tokens", streamed["rate"], "1/s", against, stored["rate"]),
    ]


def write(folder: Path, pairs: int) -> None:
    """Writes a corpus of made-up sentences, the same one each time."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet

    generator = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlcumwfgypb"))
    words = np.array(["".join(generator.choice(letters, size)) for size in generator.integers(2, 11, _WORDS)])

    def sentences(lengths: np.ndarray) -> list[str]:
        ranks = np.minimum(generator.zipf(1.2, int(lengths.sum())), _WORDS) - 1
        return [" ".join(part) for part in np.split(words[ranks], np.cumsum(lengths)[:-1])]

    def file(name: str, count: int) -> None:
        source = np.exp(generator.normal(2.8, 0.5, count))
        target = source * np.exp(generator.normal(0, 0.2, count))
        columns = {
            side: sentences(np.clip(np.round(lengths), 1, 60).astype(int))
            for side, lengths in (("source", source), ("target", target))
        }
        pyarrow.parquet.write_table(pa.table(columns), folder / f"{name}.parquet", row_group_size=5000)

    for number, start in enumerate(range(0, pairs, _PAIRS_IN_A_FILE)):
        file(f"train-{number:04}", min(_PAIRS_IN_A_FILE, pairs - start))
    file("validation", 500)


class _EnoughError(Exception):
    """Ends the training: it has been seen."""


def train(folder: str, *, streaming: bool, steps: int) -> dict[str, float]:
    """Trains some steps; returns the peak memory, the time to the first step, and the target tokens a second.

    The first half of the steps, most of which compile something, is no part of the speed.
    """
    import dataclasses

    import datasets
    import keras
    import tensorflow as tf

    import nlp_rnn
    from nlp_rnn import runs, training

    began = time.perf_counter()
    times: list[float] = []
    tokens = tf.Variable(0.0)
    counted: list[float] = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch in (0, steps // 2, steps):
                float(logs["loss"])  # waits for the step
                times.append(time.perf_counter())
                counted.append(float(tokens))
            if batch == steps:
                raise _EnoughError

    with tempfile.TemporaryDirectory() as work:
        datasets.config.HF_DATASETS_CACHE = Path(work)  # a stored data set is stored anew
        run = nlp_rnn.TranslatorRun(
            output=f"{work}/model",
            data=nlp_rnn.DataConfig(dataset=folder, streaming=streaming),
            model=nlp_rnn.TranslatorConfig(**_SIZES),
        )
        made = runs.prepare(run, runs.load_corpus(run)).set_up()

        def objective(batch: Any, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            total, items = made.objective(batch, step)
            tokens.assign_add(items)
            return total, items

        watched = dataclasses.replace(made, objective=objective)
        try:
            training.train(watched, run.training, callbacks=[Watch()])
        except _EnoughError:
            first, warm, last = times
            rate = (counted[2] - counted[1]) / (last - warm)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            return {"mebibytes": peak, "first": first - began, "rate": rate}
    raise RuntimeError(f"The training ended before step {steps}: give more pairs.")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streaming", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=PAIRS, help="sentence pairs (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each training (default: %(default)s)")
    parser.add_argument("--train", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--how", choices=("streamed", "stored"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train(options.train, streaming=options.how == "streamed", steps=options.steps)))
    else:
        print(measuring.table(measure(options)))


if __name__ == "__main__":
    main()
