"""Plain Keras networks of a stored model's sizes, exported by `keras.Model.export`: numbers in, numbers out.

What Keras has no layer for is left out, to their advantage: search, CRF and marginals, the linear model beside a
classifier's networks, and whatever is done with text. Weights are untrained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import tensorflow as tf

from benchmarks import tagging_workers
from nlp_rnn.families import ClassificationText, TranslationText
from nlp_rnn.reading import SplitTextReader
from nlp_rnn.splitting import split_words

Numbers = dict[str, tf.Tensor]

CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


def load(stored: Any, folder: Path) -> tuple[Callable[[Numbers], Any], Callable[[Sequence[Any]], Numbers]] | None:
    """Exports a plain network and loads it again.

    Returns:
        The network, and what makes its arguments of held-out examples; or None if there are no such layers.
    """
    if isinstance(stored.text, TranslationText):
        model, numbers = StockTranslator(stored), _translation_numbers
    elif isinstance(stored.text, ClassificationText):
        if stored.config.data.text_pair_column is not None or stored.config.model.character_encoder != "none":
            return None
        model, numbers = StockClassifier(stored), _classification_numbers
    else:
        if stored.config.model.character_encoder != "recurrent" or not stored.config.model.shape_size:
            return None
        task = SimpleNamespace(run=stored.config, text=stored.text)
        model, numbers = tagging_workers.StockTagger(task, "float32"), _tagging_numbers
    example = numbers(stored, ["a"])
    model(example)
    signature = {
        name: keras.InputSpec(shape=(None,) * value.shape.rank, dtype="int32", name=name)
        for name, value in example.items()
    }
    model.export(str(folder), input_signature=[signature], verbose=False)
    loaded = tf.saved_model.load(str(folder))  # its function alone would not keep the weights
    return (lambda given: loaded.serve(given)), lambda examples: numbers(stored, examples)


class StockClassifier(keras.Model):
    """The networks of a classifier, averaged."""

    def __init__(self, stored: Any):
        super().__init__()
        sizes, reader = stored.config.model, stored.text.reader
        if isinstance(reader, SplitTextReader):
            features = reader.words.features
            size, further = features.word_vocabulary_size, features.vocabulary_size
        else:
            size = further = reader.tokenizer.vocabulary_size
        layers, self.pools = keras.layers, sizes.pools
        self.vectors = layers.Embedding(further, stored.text.vector_size) if stored.text.vector_size else None
        self.members = []
        for _ in range(sizes.members):
            cells = [CELLS[sizes.cell](sizes.encoder_size, return_sequences=True) for _ in range(sizes.encoder_layers)]
            self.members.append(
                {
                    "embedding": layers.Embedding(size, sizes.embedding_size, mask_zero=True),
                    "encoder": [layers.Bidirectional(cell) for cell in cells],
                    "hidden": layers.Dense(sizes.attention_size, activation="tanh"),
                    "energy": layers.Dense(1),
                    "scores": layers.Dense(len(stored.text.labels)),
                }
            )
        # Keras tracks lists of layers, and not what lies deeper.
        self.parts = [layer for member in self.members for layer in _layers(member)]

    def call(self, inputs: Numbers) -> tf.Tensor:
        scores = [self._member(member, inputs["words"]) for member in self.members]
        return tf.nn.softmax(tf.add_n(scores) / len(scores))

    def _member(self, member: dict[str, Any], words: tf.Tensor) -> tf.Tensor:
        embedding = member["embedding"]
        values = embedding(tf.where(words < embedding.input_dim, words, 1))
        if self.vectors is not None:
            values = tf.concat([values, self.vectors(words)], axis=-1)
        mask = embedding.compute_mask(words)
        for layer in member["encoder"]:
            values = layer(values, mask=mask)
        real, half = tf.cast(mask, tf.float32)[:, :, tf.newaxis], values.shape[-1] // 2
        pooled = []
        for pool in self.pools:
            if pool == "last":
                pooled.append(tf.concat([values[:, -1, :half], values[:, 0, half:]], axis=-1))
            elif pool == "max":
                pooled.append(tf.reduce_max(values, axis=1))
            elif pool == "mean":
                pooled.append(tf.math.divide_no_nan(tf.reduce_sum(values * real, 1), tf.reduce_sum(real, 1)))
            else:
                energies = member["energy"](member["hidden"](values)) - 1e9 * (1 - real)
                pooled.append(tf.reduce_sum(tf.nn.softmax(energies, axis=1) * values, axis=1))
        return member["scores"](tf.concat(pooled, axis=-1))


class StockTranslator(keras.Model):
    """Encoder, decoder with additive attention, and the projection: one pass over given targets."""

    def __init__(self, stored: Any):
        super().__init__()
        sizes, texts, layers = stored.config.model, stored.text, keras.layers
        cell = CELLS[sizes.cell]
        self.tied = sizes.tie_embeddings
        source, target = texts.source.vocabulary_size, texts.target.vocabulary_size
        self.source = layers.Embedding(source, sizes.embedding_size, mask_zero=True)
        shared = stored.config.text.shared_vocabulary
        self.target = self.source if shared else layers.Embedding(target, sizes.embedding_size, mask_zero=True)
        self.encoder = [
            layers.Bidirectional(cell(sizes.encoder_size, return_sequences=True)) for _ in range(sizes.encoder_layers)
        ]
        parts = (2 if sizes.cell == "lstm" else 1) * sizes.decoder_layers
        self.bridges = [layers.Dense(sizes.decoder_size, activation="tanh") for _ in range(parts)]
        self.decoder = [cell(sizes.decoder_size, return_sequences=True) for _ in range(sizes.decoder_layers)]
        self.query, self.key = (layers.Dense(sizes.attention_size, use_bias=False) for _ in range(2))
        self.attention = layers.AdditiveAttention()
        width = sizes.embedding_size if sizes.tie_embeddings else sizes.decoder_size
        self.output_layer = layers.Dense(width, activation="tanh", use_bias=False)
        self.projection = None if self.tied else layers.Dense(target)

    def call(self, inputs: Numbers) -> tf.Tensor:
        mask, values = self.source.compute_mask(inputs["source"]), self.source(inputs["source"])
        for layer in self.encoder:
            values = layer(values, mask=mask)
        half = values.shape[-1] // 2
        summary = tf.concat([values[:, -1, :half], values[:, 0, half:]], axis=-1)
        states, hidden = [bridge(summary) for bridge in self.bridges], self.target(inputs["target"])
        parts = len(states) // len(self.decoder)
        for index, layer in enumerate(self.decoder):
            hidden = layer(hidden, initial_state=states[index * parts : (index + 1) * parts])
        context = self.attention([self.query(hidden), values, self.key(values)], mask=[None, mask])
        outputs = self.output_layer(tf.concat([hidden, context], axis=-1))
        if self.projection is not None:
            return self.projection(outputs)
        return tf.einsum("btu,vu->btv", outputs, tf.convert_to_tensor(self.target.embeddings))


def _layers(parts: dict[str, Any]) -> list[keras.layers.Layer]:
    return [layer for part in parts.values() for layer in (part if isinstance(part, list) else [part])]


def _tagging_numbers(stored: Any, texts: Sequence[Any]) -> Numbers:
    """Looks words up, as the plain tagger reads them."""
    words = split_words(tf.constant([_text(text) for text in texts])).tokens
    tokens = words.to_tensor()
    mask = tf.sequence_mask(words.row_lengths(), tf.shape(tokens)[1])
    return tagging_workers.looked_up({**stored.text.reader(tokens), "mask": mask})


def _classification_numbers(stored: Any, texts: Sequence[Any]) -> Numbers:
    reader = stored.text.reader
    units = reader.cut(tf.constant([_text(text) for text in texts]))
    if not isinstance(reader, SplitTextReader):
        return {"words": tf.cast(units.to_tensor(), tf.int32)}
    numbers = reader.words.features.encode(units.values)["words"]
    return {"words": units.with_values(numbers).to_tensor()}


def _translation_numbers(stored: Any, texts: Sequence[Any]) -> Numbers:
    """Numbers of sources, and of the held-out targets, or of the sources once more."""
    sides = {}
    for side, tokenizer in (("source", stored.text.source), ("target", stored.text.target)):
        given = [text[side] if isinstance(text, dict) else text for text in texts]
        sides[side] = tf.cast(tokenizer.tokenize(tf.constant(given)).to_tensor(), tf.int32)
    return sides


def _text(example: Any) -> str:
    if isinstance(example, str):
        return example
    return example["text"] if "text" in example else " ".join(example["tokens"])
