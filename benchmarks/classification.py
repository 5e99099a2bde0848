"""The classifier's training against plain Keras models of the same sizes: on SST-2, and as in Keras's own example.

Both sides train one recurrent member on the same ready-made batches, with all that is traced or compiled for a shape
seen first left out; "read" is ours as `nlp_rnn.train` does it, the numbers of words read and looked up while the steps
before run. Each side has a process of its own, ours with `nlp_rnn.train`'s settings of the memory.
The second shape is that of the bidirectional LSTM among Keras's own examples: two layers of 64 units over texts of 200
tokens, embeddings of 128; the words are those of SST-2, drawn at random.

    python -m benchmarks.classification ROUNDS      # try it; the figures are printed and not kept
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import measuring, peers
from benchmarks.measuring import Result, more_is_better

ROUNDS = 5
BATCHES = 16
LENGTH = 200
SHAPES = {"SST-2": "SST-2, 128 units", "long": f"two layers of 64, {LENGTH} tokens"}


def measure(options: argparse.Namespace) -> list[Result]:
    """Measures training in both shapes."""
    del options
    return _measure(ROUNDS)


def _measure(rounds: int) -> list[Result]:
    commands = [[sys.executable, "-m", "benchmarks.classification", "work", side] for side in ("ours", "stock")]
    with measuring.workers(commands) as running:
        seconds = measuring.medians(running, rounds=rounds, repeats=1)
        counts = {name: int(count) for name, count in running[0].versions.items()}
    results = []
    for shape, title in SHAPES.items():
        for run in ("read", "ready", "ready mixed_bfloat16"):
            if f"{shape} {run}" in seconds:
                ours, theirs = (counts[shape] / seconds[f"{shape} {name}"] for name in (run, "stock"))
                against = "keras.layers, float32, batches ready-made"
                results.append(more_is_better(f"classifier train, {title}, {run}", ours, "examples/s", against, theirs))
    return results


# ---- What the worker runs


def calls(side: str) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Returns what is timed of ours, or of the stock layers, and how many examples each run trains on."""
    import tensorflow as tf

    from benchmarks.steps import train
    from nlp_rnn import hardware
    from nlp_rnn.config import BatchConfig, DataConfig
    from nlp_rnn.model_config import ClassifierConfig

    if side == "ours":
        hardware.keep_freed_memory()
    found: dict[str, Callable[[], Any]] = {}
    data = peers.DATA.parent / "sst2"
    files = {name: (str(data / f"{name}.jsonl"),) for name in ("train", "validation")}
    plain = {"ngrams": 0, "pools": ("max", "attention")}
    task = _task(DataConfig(**files), ClassifierConfig(**plain), BatchConfig())
    read = task.set_up().epoch_batches(0, 0).take(BATCHES)
    batches = {"SST-2": (task, list(read))}
    if side == "ours":
        found["SST-2 read"] = partial(train, _step(task, "float32"), read)
    sizes = ClassifierConfig(**plain, embedding_size=128, encoder_size=64, encoder_layers=2)
    long = _task(DataConfig(**files), sizes, BatchConfig(batch_size=32))
    vocabulary = long.text.reader.words.features.word_vocabulary_size
    numbers = tf.random.uniform([32, LENGTH], 4, vocabulary, tf.int32, seed=1)
    batch = {
        "texts": ({"words": tf.range(vocabulary), "positions": numbers, "mask": tf.ones([32, LENGTH], tf.bool)},),
        "labels": tf.one_hot(tf.range(32) % 2, 2),
        "rows": tf.range(32, dtype=tf.int64),
    }
    batches["long"] = (long, [batch] * (BATCHES // 4))
    for shape, (of_shape, ready) in batches.items():
        if side == "stock":
            found[f"{shape} stock"] = _stock(of_shape, ready)
            continue
        for precision, name in (("float32", "ready"), ("mixed_bfloat16", "ready mixed_bfloat16")):
            found[f"{shape} {name}"] = partial(train, _step(of_shape, precision), ready)
    counts = {shape: sum(batch["rows"].shape[0] for batch in ready) for shape, (_, ready) in batches.items()}
    return found, {shape: str(count) for shape, count in counts.items()}


def _task(data: Any, model: Any, batching: Any) -> Any:
    import datasets
    import keras

    from nlp_rnn import corpora
    from nlp_rnn.jobs import ClassifierRun
    from nlp_rnn.tasks.classification import ClassificationTask

    datasets.disable_progress_bars()
    keras.utils.set_random_seed(1)
    run = ClassifierRun(output="none", data=data, batching=batching, model=model)
    return ClassificationTask.prepare(run, corpora.load(data, "classification"), "portable")


def _step(task: Any, precision: str) -> Callable[[Any], Any]:
    from benchmarks import steps

    own = steps.changed(task, precision=precision)
    return steps.step_of(own, own.set_up())


def _stock(task: Any, batches: list[Any]) -> Callable[[], None]:
    """Returns the training of the same network of stock layers, by `train_on_batch`."""
    import keras
    import tensorflow as tf

    sizes, settings = task.run.model, task.run.training
    words = keras.Input([None], dtype="int32")
    size = task.text.reader.words.features.word_vocabulary_size
    embedding = keras.layers.Embedding(size, sizes.embedding_size, mask_zero=True)
    values, mask = keras.layers.SpatialDropout1D(sizes.dropout)(embedding(words)), embedding.compute_mask(words)
    for _ in range(sizes.encoder_layers):
        lstm = keras.layers.LSTM(sizes.encoder_size, return_sequences=True)
        values = keras.layers.SpatialDropout1D(sizes.dropout)(keras.layers.Bidirectional(lstm)(values, mask=mask))
    energies = keras.layers.Dense(1)(keras.layers.Dense(sizes.attention_size, activation="tanh")(values))
    weights = keras.layers.Softmax(axis=1)(energies, mask=keras.ops.expand_dims(mask, -1))
    pooled = [keras.layers.GlobalMaxPooling1D()(values), keras.ops.sum(weights * values, axis=1)]
    dropped = keras.layers.Dropout(sizes.dropout)(keras.ops.concatenate(pooled, axis=-1))
    model = keras.Model(words, keras.layers.Dense(len(task.text.labels), activation="softmax")(dropped))
    model.compile(
        optimizer=keras.optimizers.Adam(settings.learning_rate, global_clipnorm=settings.clip_norm),
        loss="categorical_crossentropy",
    )
    ready = []
    for batch in batches:
        (text,) = batch["texts"]
        numbers = tf.where(text["mask"], tf.gather(text["words"], text["positions"]), 0)
        ready.append((numbers, batch["labels"]))

    def train() -> None:
        for numbers, labels in ready:
            model.train_on_batch(numbers, labels)

    return train


def main() -> None:
    if sys.argv[1] == "work":
        measuring.serve(*calls(sys.argv[2]))
        return
    print(measuring.table(_measure(int(sys.argv[1]))))


if __name__ == "__main__":
    main()
