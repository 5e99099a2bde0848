"""What the tagging benchmark runs.

    python -m benchmarks.tagging_workers train|tag BATCHES

"read" is our training as `nlp_rnn.train` does it: sentences are read, cut into characters and looked up while the steps
before them run. "ready" and "softmax" are its steps alone over batches that lie in memory, with a CRF and without.
"stock" is the plain tagger's `train_on_batch` over the same batches, their numbers looked up beforehand.

When tagging, "tokens" and "text" are the two signatures of the SavedModel, from strings to tags and their
probabilities: the text work, Viterbi and marginals are part of it. "stock" is a traced function from numbers looked up
beforehand to the numbers of the best tags, each token's for itself. Weights are untrained everywhere: no figure here
depends on them.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import keras
import tensorflow as tf

from benchmarks import measuring, peers, steps
from nlp_rnn import corpora, export
from nlp_rnn.config import BatchConfig, DataConfig
from nlp_rnn.jobs import TaggerRun
from nlp_rnn.model_config import TaggerConfig, TaggerTrainingConfig
from nlp_rnn.models.tagging import TaggingModule
from nlp_rnn.tasks.tagging import TaggingTask
from nlp_rnn.words import SHAPES

DATA = peers.DATA.parent / "ud_english_ewt"
BATCH_SIZE = 32
PRECISIONS = ("float32", "mixed_bfloat16")

Calls = dict[str, Callable[[], Any]]
Counts = dict[str, int]
Batch = dict[str, tf.Tensor]


def prepare() -> TaggingTask:
    """Reads the corpus and builds our tagger, its sizes the defaults."""
    datasets.disable_progress_bars()
    keras.utils.set_random_seed(1)
    files = {
        name: (str(DATA / f"en_ewt-ud-{short}.conllu"),) for name, short in (("train", "train"), ("validation", "dev"))
    }
    run = TaggerRun(
        output="none",
        data=DataConfig(**files),
        batching=BatchConfig(batch_size=BATCH_SIZE, longest_example=160),
        model=TaggerConfig(
            head="crf", word_size=100, shape_size=16, character_encoder="recurrent", character_embedding_size=32,
            character_size=128, encoder_size=256, encoder_layers=2, dropout=0.4,
        ),
    )  # fmt: skip
    return TaggingTask.prepare(run, corpora.load(run.data, "tagging"), "portable")


# ---- The plain tagger


class StockTagger(keras.Model):
    """The same network of stock layers: a softmax for each token, and every word read wherever it occurs.

    Characters are folded into the batch, which costs less than `TimeDistributed`.
    """

    def __init__(self, task: TaggingTask, precision: str):
        super().__init__(dtype=keras.DTypePolicy(precision))
        sizes, features = task.run.model, task.text.reader.features

        def recurrent(units: int, **options: Any) -> keras.layers.Layer:
            return keras.layers.Bidirectional(keras.layers.LSTM(units, **options, dtype=precision), dtype=precision)

        def embedding(size: int, width: int, **options: Any) -> keras.layers.Layer:
            return keras.layers.Embedding(size, width, **options, dtype=precision)

        self.word_embedding = embedding(features.word_vocabulary_size, sizes.word_size, mask_zero=True)
        self.shape_embedding = embedding(SHAPES, sizes.shape_size)
        self.vectors = embedding(features.vocabulary_size, task.text.vector_size) if task.text.vector_size else None
        self.character_embedding = embedding(
            features.character_vocabulary_size, sizes.character_embedding_size, mask_zero=True
        )
        self.character_encoder = recurrent(sizes.character_size // 2)
        self.encoder = [recurrent(sizes.encoder_size, return_sequences=True) for _ in range(sizes.encoder_layers)]
        self.dropout = [
            keras.layers.SpatialDropout1D(sizes.dropout, dtype=precision) for _ in range(sizes.encoder_layers + 1)
        ]
        self.tags = keras.layers.Dense(len(task.text.tags), activation="softmax", dtype="float32")

    def call(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        words, characters = inputs["words"], inputs["characters"]
        # What pre-trained vectors alone know is unknown to the trained embedding.
        known = tf.where(words < self.word_embedding.input_dim, words, 1)
        mask = self.word_embedding.compute_mask(words)
        folded = self.character_embedding(tf.reshape(characters, [-1, tf.shape(characters)[2]]))
        read = self.character_encoder(folded)  # heeds the embedding's mask
        read = tf.reshape(read, tf.concat([tf.shape(words), [read.shape[-1]]], axis=0))
        embedded = [self.word_embedding(known), self.shape_embedding(inputs["shapes"]), read]
        if self.vectors is not None:
            embedded.append(self.vectors(words))
        values = self.dropout[0](tf.concat(embedded, axis=-1), training=training)
        for layer, dropout in zip(self.encoder, self.dropout[1:], strict=True):
            values = dropout(layer(values, mask=mask), training=training)
        return self.tags(values)


def looked_up(batch: Batch) -> Batch:
    """Returns a batch of ours as the plain tagger's: words and shapes (batch, time), characters (batch, time, c)."""
    mask, positions = batch["mask"], batch["positions"]
    found = {name: tf.gather(batch[name], positions) for name in ("words", "shapes", "characters")}
    return {
        name: tf.where(mask[:, :, tf.newaxis] if values.shape.rank == 3 else mask, values, 0)
        for name, values in found.items()
    }


# ---- Training


def train_calls(task: TaggingTask, batches: int) -> tuple[Calls, Counts]:
    """Ours in two precisions, read or ready-made, with and without a CRF; stock Keras in two precisions."""
    # Iterated anew in every run: starting to read, once an epoch otherwise, and what is read ahead count against us.
    read = task.set_up().epoch_batches(0, 0).take(batches)
    ready = list(read)
    calls: Calls = {}
    for precision in PRECISIONS:
        crf, softmax = (_our_step(task, precision, head) for head in ("crf", "softmax"))
        calls[f"read {precision}"] = partial(steps.train, crf, read)
        calls[f"ready {precision}"] = partial(steps.train, crf, ready)
        calls[f"softmax {precision}"] = partial(steps.train, softmax, ready)
        calls[f"stock {precision}"] = _stock_training(task, precision, ready)
    return calls, {"sentences": sum(int(tf.size(batch["rows"])) for batch in ready), "steps": len(ready)}


def _our_step(task: TaggingTask, precision: str, head: str) -> Callable[[Batch], Any]:
    own = steps.changed(task, precision=precision, head=head)
    return steps.step_of(own, own.set_up())


def _stock_training(task: TaggingTask, precision: str, batches: Sequence[Batch]) -> Callable[[], None]:
    settings = TaggerTrainingConfig()
    model = StockTagger(task, precision)
    model.compile(
        optimizer=keras.optimizers.Adam(settings.learning_rate, global_clipnorm=settings.clip_norm),
        loss=keras.losses.SparseCategoricalCrossentropy(),
    )
    ready = [(looked_up(batch), batch["tags"], tf.cast(batch["mask"], tf.float32)) for batch in batches]

    def train() -> None:
        for batch in ready:
            model.train_on_batch(*batch)

    return train


# ---- Tagging


def tag_calls(task: TaggingTask, batches: int, folder: Path) -> tuple[Calls, Counts]:
    """The SavedModel's two signatures and the stock model, many sentences at once and one by one."""
    module = TaggingModule(
        network=task.network,
        reader=task.text.reader,
        tags=task.text.tags,
        spans=False,
        maximum_length=task.run.words.maximum_length,
    )
    export.write_saved_model(module, folder, {"maximum_length": module.maximum_length})
    model = tf.saved_model.load(str(folder))
    stock = _stock_tagging(task)
    calls: Calls = {}
    counts: Counts = {}
    for size in (BATCH_SIZE, 1):
        sentences = _sentences(batches * BATCH_SIZE if size > 1 else 4 * batches)
        parts = [sentences[start : start + size] for start in range(0, len(sentences), size)]
        tokens = [_padded([words for _, words in part]) for part in parts]
        texts = [{"text": tf.constant([text for text, _ in part])} for part in parts]
        numbers = [looked_up({**task.text.reader(part["tokens"]), "mask": _mask(part)}) for part in tokens]
        runs = {
            "tokens": (lambda part: model.signatures["tokens"](**part), tokens),
            "text": (lambda part: model.signatures["serving_default"](**part), texts),
            "stock": (stock, numbers),
        }
        for name, (function, inputs) in runs.items():
            calls[f"{name} {size}"] = partial(_each, function, inputs)
        for name in ("tokens", "text"):
            counts[f"{name} {size}"] = sum(
                int(tf.reduce_sum(answer["lengths"])) for answer in calls[f"{name} {size}"]()
            )
    return calls, counts


def _each(function: Callable[[Batch], Any], inputs: Sequence[Batch]) -> list[Any]:
    return [function(part) for part in inputs]


def _sentences(count: int) -> list[tuple[str, list[str]]]:
    """Returns some test sentences, as raw text and as words; by length, as whoever has many of them would tag them."""
    path = DATA / "en_ewt-ud-test.conllu"
    test, _ = corpora.load_split(DataConfig(test=(str(path),)), "tagging", "test")
    mark = "# text = "
    lines = path.read_text("utf-8").split("\n")
    texts = [line.removeprefix(mark) for line in lines if line.startswith(mark)]
    found = list(zip(texts, test["tokens"], strict=True))
    return sorted(random.Random(1).sample(found, count), key=lambda sentence: len(sentence[1]))


def _padded(sentences: Sequence[Sequence[str]]) -> Batch:
    """Returns the inputs of the signature `tokens`."""
    ragged = tf.ragged.constant(sentences, dtype=tf.string)
    return {"tokens": ragged.to_tensor(), "lengths": tf.cast(ragged.row_lengths(), tf.int32)}


def _mask(part: Batch) -> tf.Tensor:
    return tf.sequence_mask(part["lengths"], tf.shape(part["tokens"])[1])


def _stock_tagging(task: TaggingTask) -> Callable[[Batch], tf.Tensor]:
    model = StockTagger(task, "float32")
    signature = {name: tf.TensorSpec([None, None], tf.int32) for name in ("words", "shapes")}
    signature["characters"] = tf.TensorSpec([None, None, None], tf.int32)
    return tf.function(lambda inputs: tf.argmax(model(inputs), axis=-1), input_signature=[signature], autograph=False)


def main() -> None:
    what, batches = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        task = prepare()
        calls, counts = train_calls(task, batches) if what == "train" else tag_calls(task, batches, Path(folder) / "1")
        measuring.serve(calls, {name: str(count) for name, count in counts.items()})


if __name__ == "__main__":
    main()
