"""How long an answer takes: `Predictor`, in one process, with a model's own held-out texts.

Beside it stands the bare call of the same SavedModel, with a tensor of texts: what `Predictor` adds is sorting, and
reading the answer into Python objects. Taggers stand also beside a plain Keras tagger of the same sizes, exported by
`keras.Model.export`, which is given numbers looked up beforehand and answers with numbers: see `tagging_workers`.

    python -m benchmarks serving --models saved_models/en-de saved_models/names
    python -m benchmarks.serving REPEATS DIR ...     # try it a few times; the figures are printed and not kept
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.measuring import Result, less_is_better

BATCHES = (1, 32)
REPEATS = 300
PERCENTILES = (50, 95, 99)
AGAINST = {"bare": "its SavedModel, called with a tensor", "stock": "keras.Model.export, numbers in and out"}
TEXTS = ("Two dogs are running across a green field.", "What is the name of this town?", "No.", "Anna lives in York.")


def measure(options: argparse.Namespace) -> list[Result]:
    """Measures the models that were named."""
    if not options.models:
        print("serving: left out, as --models names no model directory", file=sys.stderr)
    return [result for folder in options.models for result in _measure(folder, REPEATS)]


def _measure(folder: Path, repeats: int) -> list[Result]:
    print(f"serving: {folder}", file=sys.stderr, flush=True)
    with measuring.workers([[sys.executable, "-m", "benchmarks.serving", "work", str(folder)]]) as (worker,):
        seconds = worker.time(repeats)
    results = []
    for batch, (other, against), percent in itertools.product(BATCHES, AGAINST.items(), PERCENTILES):
        if f"{other} {batch}" in seconds:
            ours, theirs = (1000 * percentile(seconds[f"{name} {batch}"], percent) for name in ("predictor", other))
            name = f"serving {folder.resolve().name}, batch {batch}, p{percent}"
            results.append(less_is_better(name, ours, "ms", against, theirs))
    return results


def percentile(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


# ---- What the worker runs


def calls(folder: Path, scratch: Path) -> dict[str, Callable[[], Any]]:
    """Returns what is timed; each call takes the next batch, in the same order."""
    import tensorflow as tf

    from nlp_rnn import store
    from nlp_rnn.serving import Predictor

    stored = store.load(folder)
    predictor = Predictor(folder, batch_size=max(BATCHES))
    bare = tf.saved_model.load(str(predictor.folder)).signatures["serving_default"]
    texts = [
        next((sample[column] for column in ("source", "text") if column in sample), None) or " ".join(sample["tokens"])
        for sample in stored.samples
    ] or list(TEXTS)
    texts = list(itertools.islice(itertools.cycle(texts), max(BATCHES)))
    stock = _stock(stored, scratch) if predictor.family == "tagger" else None
    found: dict[str, Callable[[], Any]] = {}
    for size in BATCHES:
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        found[f"predictor {size}"] = _by_turns(predictor.predict, batches)
        found[f"bare {size}"] = _by_turns(bare, [tf.constant(batch) for batch in batches])
        if stock:
            found[f"stock {size}"] = _by_turns(stock, [_numbers(stored, batch) for batch in batches])
    return found


def _by_turns(function: Callable[[Any], Any], batches: Sequence[Any]) -> Callable[[], Any]:
    endless = itertools.cycle(batches)
    return lambda: function(next(endless))


def _stock(stored: Any, scratch: Path) -> Callable[[Any], Any]:
    """Exports a plain tagger of the same sizes as Keras does it, and loads it again."""
    from types import SimpleNamespace

    import keras
    import tensorflow as tf

    from benchmarks import tagging_workers

    model = tagging_workers.StockTagger(SimpleNamespace(run=stored.config, text=stored.text), "float32")
    model(_numbers(stored, TEXTS))
    ranks = {"words": 2, "shapes": 2, "characters": 3}
    signature = {name: keras.InputSpec(shape=(None,) * rank, dtype="int32", name=name) for name, rank in ranks.items()}
    model.export(str(scratch), input_signature=[signature], verbose=False)
    loaded = tf.saved_model.load(str(scratch))  # its function alone would not keep the weights
    return lambda numbers: loaded.serve(numbers)


def _numbers(stored: Any, texts: Sequence[str]) -> Any:
    """Looks words up, as the plain tagger reads them."""
    import tensorflow as tf

    from benchmarks import tagging_workers
    from nlp_rnn.splitting import split_words

    words = split_words(tf.constant(texts)).tokens
    tokens = words.to_tensor()
    mask = tf.sequence_mask(words.row_lengths(), tf.shape(tokens)[1])
    return tagging_workers.looked_up({**stored.text.reader(tokens), "mask": mask})


def main() -> None:
    if sys.argv[1] == "work":
        with tempfile.TemporaryDirectory() as scratch:
            measuring.serve(calls(Path(sys.argv[2]), Path(scratch)), {})
        return
    for folder in sys.argv[2:]:
        print(measuring.table(_measure(Path(folder), int(sys.argv[1]))))


if __name__ == "__main__":
    main()
