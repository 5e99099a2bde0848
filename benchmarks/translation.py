"""The translator against OpenNMT-tf and JoeyNMT: training speed, and beam search of the Multi30k test set.

All train the same sizes on the same 29,000 pairs cut into 8,000 pieces, nothing shared or tied, 64 pairs a batch, and
all figures are from one run. Decoding takes trained models: ours from `--translator`, the peers' as `peers.py` trains
them. What is missing is left out, with a note.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import sacrebleu

from benchmarks import measuring, peers
from benchmarks.measuring import Result, more_is_better

WARM_UP = 60  # steps, in which each shape of batch is compiled
STEPS = 120
PRECISIONS = {"float32": "", "mixed_bfloat16": " mixed_bfloat16"}
NAMES = {"opennmt": "OpenNMT-tf 2.32.0, float32", "joeynmt": "JoeyNMT 2.3.0, float32"}
BATCH_SIZE = 64


def measure(options: argparse.Namespace) -> list[Result]:
    """Measures ours, then each peer, in training and in decoding."""
    peers.prepare()
    return _training(options) + _decoding(options)


def _training(options: argparse.Namespace) -> list[Result]:
    results = []
    ours = {}
    for precision in PRECISIONS:
        print(f"translation: training ours in {precision}", file=sys.stderr, flush=True)
        ours[precision] = _worker("train", precision)
    for peer, name in NAMES.items():
        print(f"translation: training {name}", file=sys.stderr, flush=True)
        try:
            theirs = peers.speed(peer, peers=options.peers)["target_tokens_per_second"]
        except peers.PeerError as error:
            print(error, file=sys.stderr)
            continue
        for precision, words in PRECISIONS.items():
            value = ours[precision]["tokens_per_second"]
            results.append(more_is_better(f"translation train{words}", value, "target tokens/s", name, theirs))
    return results


def _decoding(options: argparse.Namespace) -> list[Result]:
    if options.translator is None:
        print("translation: no --translator given, decoding left out", file=sys.stderr)
        return []
    print("translation: decoding", file=sys.stderr, flush=True)
    ours = _worker("decode", str(options.translator))
    results = []
    for peer, name in NAMES.items():
        try:
            decode = {"opennmt": peers.decode_opennmt, "joeynmt": peers.decode_joeynmt}[peer]
            theirs = decode(peers=options.peers)
        except peers.PeerError as error:
            print(error, file=sys.stderr)
            continue
        words = f"{name}, BLEU {theirs['bleu']:.1f}"
        rate, their_rate = (1000 / found["seconds"] for found in (ours, theirs))
        title = f"translation beam 5, BLEU {ours['bleu']:.1f}"
        results.append(more_is_better(title, rate, "sentences/s", words, their_rate))
    return results


def _worker(*arguments: str) -> dict[str, float]:
    return measuring.run_json([sys.executable, "-m", "benchmarks.translation", *arguments])


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


def decode(translator: str) -> dict[str, float]:
    """Translates the test set with an exported model, loaded and warm."""
    from nlp_rnn.serving import Predictor

    folder = peers.prepare()
    source, reference = ((folder / f"test.{code}").read_text("utf-8").split("\n")[:-1] for code in ("en", "de"))
    predictor = Predictor(Path(translator), batch_size=BATCH_SIZE)
    predictor.predict(source[:BATCH_SIZE])
    start = time.perf_counter()
    translations = [found.text for found in predictor.predict(source)]
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "bleu": sacrebleu.corpus_bleu(translations, [reference], lowercase=True).score}


if __name__ == "__main__":
    print(json.dumps({"train": train, "decode": decode}[sys.argv[1]](sys.argv[2])))
