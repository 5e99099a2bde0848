"""The translator's training against OpenNMT-tf's and JoeyNMT's.

All train the same sizes on the same 29,000 pairs cut into 8,000 pieces, nothing shared or tied, 64 pairs a batch, and
take turns in one run. What is missing is left out, with a note.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

from benchmarks import measuring, peers
from benchmarks.measuring import Result, more_is_better

WARM_UP = 60  # steps, in which each shape of batch is compiled
STEPS = 120
TURNS = 3
PRECISIONS = {"float32": "", "mixed_bfloat16": " mixed_bfloat16"}
NAMES = {"opennmt": "OpenNMT-tf 2.32.0, float32", "joeynmt": "JoeyNMT 2.3.0, float32"}
BATCH_SIZE = 64


def measure(options: argparse.Namespace) -> list[Result]:
    """Measures ours and each peer in turns; figures are medians over the turns."""
    peers.prepare()
    contenders: dict[str, Callable[[], float]] = {precision: partial(_ours, precision) for precision in PRECISIONS}
    for peer in NAMES:
        contenders[peer] = lambda peer=peer: peers.speed(peer, peers=options.peers)["target_tokens_per_second"]
    rates = in_turns("training", contenders)
    return [
        more_is_better(f"translation train{words}", rates[precision], "target tokens/s", name, rates[peer])
        for peer, name in NAMES.items()
        if peer in rates
        for precision, words in PRECISIONS.items()
    ]


def in_turns(what: str, contenders: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Returns the median rate of each contender that can run here; all figures are said on the way."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(1, TURNS + 1):
        for name, measured in contenders.items():
            try:
                rates[name].append(measured())
            except peers.PeerError as error:
                print(error, file=sys.stderr)
                continue
            print(f"translation: {what}, turn {turn}, {name}: {rates[name][-1]:.1f}", file=sys.stderr, flush=True)
    return {name: statistics.median(found) for name, found in rates.items() if found}


def _ours(precision: str) -> float:
    return measuring.run_json([sys.executable, "-m", "benchmarks.translation", precision])["tokens_per_second"]


def train(precision: str) -> dict[str, float]:
    """Trains some steps of the peers' sizes, and returns the speed once all is compiled."""
    import datasets
    import keras
    import tensorflow as tf

    from nlp_rnn import batching, config, hardware, optimization
    from nlp_rnn.models.translator import Translator
    from nlp_rnn.vocabularies import train_tokenizer

    hardware.keep_freed_memory()  # as `nlp_rnn.train` does
    keras.utils.set_random_seed(1)
    folder = peers.prepare()
    sides = {
        name: (folder / f"train.{code}").read_text("utf-8").split("\n")[:-1]
        for name, code in (("source", "en"), ("target", "de"))
    }
    dataset = datasets.Dataset.from_dict(sides)
    tokenizer = train_tokenizer(sides["source"] + sides["target"], config.TextConfig(vocabulary_size=peers.PIECES))
    tokenizers = {"source_tokenizer": tokenizer, "target_tokenizer": tokenizer}
    lengths = batching.measure(dataset, **tokenizers)
    plan = batching.BatchPlan(lengths=lengths, batching=config.BatchConfig(batch_size=BATCH_SIZE))
    sizes = {"source_vocabulary_size": tokenizer.vocabulary_size, "target_vocabulary_size": tokenizer.vocabulary_size}
    network = Translator(
        **sizes, share_embeddings=False, tie_embeddings=False, embedding_size=256, cell="lstm", encoder_size=256,
        encoder_layers=1, decoder_size=512, decoder_layers=1, attention_size=512, residual=False, dropout=0.3,
        dtype=keras.DTypePolicy(precision),
    )  # fmt: skip
    settings = config.TrainingConfig(precision=precision)
    step = optimization.TrainStep(
        network=network,
        objective=lambda batch, step: network.loss_sum(dict(batch), label_smoothing=0.1, training=True),
        optimizer=optimization.build_optimizer(network, settings, optimization.build_schedule(settings, 10_000)),
        clip_norm=settings.clip_norm,
    )
    batches = batching.translation_batches(dataset, plan=plan, seed=1, epoch=0, **tokenizers)
    seen: set[tuple[int, ...]] = set()
    tokens, start = tf.zeros([]), 0.0
    for number, batch in enumerate(batches):
        # A shape seen for the first time is compiled in a step that does not count.
        shape = (*batch["source"].shape, *batch["target"].shape)
        if shape not in seen:
            seen.add(shape)
            paused = time.perf_counter()
            float(step(batch)[0])
            start += time.perf_counter() - paused
            continue
        if number < WARM_UP:
            float(step(batch)[0])
            tokens, start, first = tf.zeros([]), time.perf_counter(), number
            continue
        _, items, _ = step(batch)
        tokens += items
        if number == first + STEPS:
            break
    return {"tokens_per_second": float(tokens) / (time.perf_counter() - start), "parameters": network.count_params()}


if __name__ == "__main__":
    print(json.dumps(train(sys.argv[1])))
