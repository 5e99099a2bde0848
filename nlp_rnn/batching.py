"""Batches of text, padded and masked, for training and for evaluation.

A `BatchPlan` says which rows are in a batch and how far it is padded; here its
texts are read and encoded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow.compute
import tensorflow as tf

from nlp_rnn.config import BatchConfig
from nlp_rnn.examples import Batch, Examples, Planned, encoded
from nlp_rnn.plans import BatchPlan, Lengths, PlannedBatch, Shape, complete_plan
from nlp_rnn.reading import TextReader
from nlp_rnn.text import EOS, PAD, Tokenizer

_ROWS_AT_ONCE = 1000
# What is computed for each distinct word is compiled for multiples of so many words, and characters or pieces of one.
_DISTINCT_WORDS, _CHARACTERS = 128, 8

ReadWords = Callable[[tf.Tensor], Batch]
"""Turns words, string (batch, time), "" at padding, into a network's inputs."""
Cut = Callable[[tf.Tensor], tf.RaggedTensor]
"""Cuts texts, string (batch,), into units (batch, None)."""


def measure(dataset: datasets.Dataset, *, source_tokenizer: Tokenizer, target_tokenizer: Tokenizer) -> Lengths:
    """Tokenizes a corpus once, to count.

    Args:
        dataset: with columns `source` and `target`.
        source_tokenizer: cuts the source texts.
        target_tokenizer: cuts the target texts.
    """
    return Lengths(
        source=_count(dataset, "source", source_tokenizer.tokenize),
        target=_count(dataset, "target", target_tokenizer.tokenize),
    )


def translation_batches(
    dataset: datasets.Dataset,
    *,
    plan: BatchPlan,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    seed: int,
    epoch: int,
    start: int = 0,
) -> tf.data.Dataset:
    """Returns the training batches of one epoch.

    Args:
        dataset: with columns `source` and `target`.
        plan: made from the lengths of this data set, by these tokenizers.
        source_tokenizer: cuts the source texts.
        target_tokenizer: cuts the target texts.
        seed: int >= 0.
        epoch: int >= 0. Each one has its own order.
        start: int. Batches already done, which are passed over at no cost.

    Returns:
        `len(plan) - start` batches of `source` int32 (batch, source),
        `source_mask` bool, `target` int32 (batch, target), `target_mask` bool,
        and `rows` int64 (examples,), the rows that the first examples came from.
        Both sides end in EOS and are padded on the right; a batch may end in
        an empty example, which is padding altogether.

    Raises:
        ValueError: `start` is not within the epoch, or plan and data set do
            not belong together.
    """
    return encoded_pairs(
        _remaining(dataset, plan, seed, epoch, start),
        source_tokenizer=source_tokenizer,
        target_tokenizer=target_tokenizer,
    )


def evaluation_batches(
    dataset: datasets.Dataset, *, source_tokenizer: Tokenizer, target_tokenizer: Tokenizer, batching: BatchConfig
) -> tf.data.Dataset:
    """Returns all pairs of a corpus, however long, in batches as for training, the shortest first.

    The corpus is measured here, once; the result can be iterated over again
    and again.

    Args:
        dataset: with columns `source` and `target`.
        source_tokenizer: cuts the source texts.
        target_tokenizer: cuts the target texts.
        batching: how examples are put together; `longest_example` is for
            training only.

    Raises:
        ValueError: there are no rows.
    """
    lengths = measure(dataset, source_tokenizer=source_tokenizer, target_tokenizer=target_tokenizer)
    planned = Planned(dataset, complete_plan(lengths, batching).in_order())
    return encoded_pairs(planned, source_tokenizer=source_tokenizer, target_tokenizer=target_tokenizer)


def source_batches(
    dataset: datasets.Dataset, *, tokenizer: Tokenizer, batching: BatchConfig, maximum_length: int
) -> tf.data.Dataset:
    """Returns all source sentences, to be translated: the shortest first, with the rows they came from.

    Args:
        dataset: with a column `source`.
        tokenizer: cuts the texts.
        batching: how examples are put together; `longest_example` is for
            training only.
        maximum_length: int. Tokens read of a text, EOS not counted; the rest
            is cut off.

    Returns:
        Batches of `rows` int64 (examples,), `source` int32 (batch, source) and
        `source_mask` bool. The first examples of a batch are those in `rows`;
        a batch may end in one more, which is padding altogether.

    Raises:
        ValueError: there are no rows.
    """
    lengths = np.minimum(_count(dataset, "source", tokenizer.tokenize), maximum_length)
    plan = complete_plan(Lengths(source=lengths, target=np.zeros_like(lengths)), batching)

    def encode(read: Batch) -> Batch:
        tokens = tokenizer.tokenize(read["source"])[:, :maximum_length]
        source, mask = _padded(tokens, read["shape"][0], read["shape"][1])
        return {"rows": read["rows"], "source": source, "source_mask": mask}

    return encoded(Planned(dataset, plan.in_order()), ["source"], encode)


def measure_sentences(dataset: datasets.Dataset) -> Lengths:
    """Counts the words of sentences that are split already.

    Args:
        dataset: with a column `tokens`.
    """
    table = dataset.select_columns(["tokens"]).with_format("arrow")
    counts = [pyarrow.compute.list_value_length(part["tokens"]).to_numpy() for part in table.iter(_ROWS_AT_ONCE)]
    source = np.concatenate([np.zeros(0, np.int32), *counts]).astype(np.int32)
    return Lengths(source=source, target=np.zeros_like(source))


def tagging_batches(
    dataset: datasets.Dataset, *, plan: BatchPlan, read_words: ReadWords, seed: int, epoch: int, start: int = 0
) -> tf.data.Dataset:
    """Returns the training batches of one epoch of tagged sentences.

    Args:
        dataset: with columns `tokens`, and `tags` as numbers.
        plan: made from the lengths of this data set, `end_tokens` 0.
        read_words: turns words into the inputs of `nlp_rnn.models.tagger.Tagger`.
        seed: int >= 0.
        epoch: int >= 0. Each one has its own order.
        start: int. Batches already done, which are passed over at no cost.

    Returns:
        `len(plan) - start` batches of what `read_words` returns, `tags` int32
        (batch, time), 0 at padding, `mask` bool, True = real token, and `rows`
        int64 (examples,), the rows that the first examples came from.

    Raises:
        ValueError: `start` is not within the epoch, or plan and data set do
            not belong together.
    """
    return encoded_sentences(_remaining(dataset, plan, seed, epoch, start), read_words=read_words)


def tagging_evaluation_batches(
    dataset: datasets.Dataset, *, read_words: ReadWords, batching: BatchConfig
) -> tf.data.Dataset:
    """Returns all tagged sentences, however long, in batches as for training, the shortest first.

    Args:
        dataset: with columns `tokens`, and `tags` as numbers.
        read_words: see `tagging_batches`.
        batching: how examples are put together; `longest_example` is for
            training only.

    Raises:
        ValueError: there are no rows.
    """
    plan = complete_plan(measure_sentences(dataset), batching, end_tokens=0)
    return encoded_sentences(Planned(dataset, plan.in_order()), read_words=read_words)


def measure_texts(dataset: datasets.Dataset, *, cut: Cut) -> Lengths:
    """Cuts the texts of a corpus once, to count.

    Args:
        dataset: with a column `text`, and perhaps `text_pair`.
        cut: cuts texts into what a network reads.
    """
    pair = "text_pair" in dataset.column_names
    source = _count(dataset, "text", cut)
    return Lengths(source=source, target=_count(dataset, "text_pair", cut) if pair else np.zeros_like(source))


def classification_batches(
    dataset: datasets.Dataset,
    *,
    plan: BatchPlan,
    reader: TextReader,
    classes: int,
    seed: int,
    epoch: int,
    start: int = 0,
) -> tf.data.Dataset:
    """Returns the training batches of one epoch of labelled texts.

    Args:
        dataset: with columns `text`, perhaps `text_pair`, and `label`, a list of numbers; see also `cutting.cut_texts`.
        plan: made from the lengths of this data set, cut at most, `end_tokens` 0.
        reader: turns texts into the inputs of `nlp_rnn.models.classifier.Classifier`.
        classes: int. Number of labels.
        seed: int >= 0.
        epoch: int >= 0. Each one has its own order.
        start: int. Batches already done, which are passed over at no cost.

    Returns:
        `len(plan) - start` batches of `texts`, one or two dicts of what
        `reader` reads and `mask`, bool (batch, time), True = real token;
        `labels` float32 (batch, classes), 1 where a label is right; `rows`
        int64 (examples,), the rows that the first examples came from. What of
        a text goes beyond its planned length is cut off.

    Raises:
        ValueError: `start` is not within the epoch, or plan and data set do
            not belong together.
    """
    return encoded_texts(_remaining(dataset, plan, seed, epoch, start), reader=reader, classes=classes)


def classification_evaluation_batches(
    dataset: datasets.Dataset, *, reader: TextReader, classes: int, batching: BatchConfig, maximum_length: int
) -> tf.data.Dataset:
    """Returns all labelled texts in batches as for training, the shortest first.

    Args:
        dataset: see `classification_batches`, as for the result.
        reader: see there.
        classes: int. Number of labels.
        batching: how examples are put together.
        maximum_length: int. Tokens read of a text; the rest is cut off.

    Raises:
        ValueError: there are no rows.
    """
    lengths = measure_texts(dataset, cut=reader.cut).at_most(maximum_length)
    plan = complete_plan(lengths, batching, end_tokens=0)
    return _labelled(Planned(dataset, plan.in_order()), reader, reader.cut, classes)


def _remaining(dataset: datasets.Dataset, plan: BatchPlan, seed: int, epoch: int, start: int) -> Planned:
    if plan.rows_in_corpus != len(dataset):
        raise ValueError(f"The plan is for {plan.rows_in_corpus} rows, not for {len(dataset)}: measure them again.")
    batches = plan.shuffled(seed=seed, epoch=epoch)
    if not 0 <= start <= len(batches):
        raise ValueError(f"start must lie between 0 and the {len(batches)} batches of an epoch, not at {start}.")
    return Planned(dataset, batches[start:])


def _count(dataset: datasets.Dataset, column: str, cut: Cut) -> np.ndarray:
    """Returns the tokens of each row's text, int32 (rows,)."""
    rows = np.array_split(np.arange(len(dataset)), -(-len(dataset) // _ROWS_AT_ONCE) or 1)
    chunks = [PlannedBatch(part, Shape(len(part), 0, 0)) for part in rows]
    counts = encoded(Planned(dataset, chunks), [column], lambda read: cut(_given(read, column)).row_lengths())
    return np.concatenate(list(counts.as_numpy_iterator())).astype(np.int32)


def encoded_pairs(examples: Examples, *, source_tokenizer: Tokenizer, target_tokenizer: Tokenizer) -> tf.data.Dataset:
    """Returns batches of pairs; see `translation_batches`."""

    def encode(read: Batch) -> Batch:
        count, source_length, target_length = tf.unstack(read["shape"])
        source, source_mask = _padded(source_tokenizer.tokenize(read["source"]), count, source_length)
        target, target_mask = _padded(target_tokenizer.tokenize(read["target"]), count, target_length)
        sides = {"source": source, "source_mask": source_mask, "target": target, "target_mask": target_mask}
        return {**sides, "rows": read["rows"]}

    return encoded(examples, ["source", "target"], encode)


def encoded_sentences(examples: Examples, *, read_words: ReadWords) -> tf.data.Dataset:
    """Returns batches of tagged sentences; see `tagging_batches`."""

    def encode(read: Batch) -> Batch:
        count, length, _ = tf.unstack(read["shape"])
        lengths = tf.pad(read["tokens_lengths"], [[0, count - tf.size(read["tokens_lengths"])]])
        mask = tf.sequence_mask(lengths, length)
        words, tags = (
            tf.RaggedTensor.from_row_lengths(read[name], lengths).to_tensor(shape=tf.stack([count, length]))
            for name in ("tokens", "tags")
        )
        return {**_few_sizes(read_words(words)), "tags": tags, "mask": mask, "rows": read["rows"]}

    return encoded(examples, ["tokens", "tags"], encode)


def encoded_texts(examples: Examples, *, reader: TextReader, classes: int) -> tf.data.Dataset:
    """Returns batches of labelled texts to learn from; see `classification_batches`."""
    return _labelled(examples, reader, reader.cut_in_training, classes)


def _labelled(examples: Examples, reader: TextReader, cut_texts: Cut, classes: int) -> tf.data.Dataset:
    columns = [name for name in ("text", "text_pair") if name in examples.features]

    def encode(read: Batch) -> dict[str, Any]:
        count, *lengths = tf.unstack(read["shape"])
        texts = []
        for column, length in zip(columns, lengths, strict=False):
            cut = cut_texts(_given(read, column))
            units = cut.to_tensor(shape=tf.stack([count, length]))
            sizes = tf.minimum(tf.cast(cut.row_lengths(), tf.int32), length)
            mask = tf.sequence_mask(tf.pad(sizes, [[0, count - tf.size(sizes)]]), length)
            texts.append({**_few_sizes(reader.inputs(units)), "mask": mask})
        counts = tf.pad(read["label_lengths"], [[0, count - tf.size(read["label_lengths"])]])
        given = tf.RaggedTensor.from_row_lengths(read["label"], counts).to_tensor(-1)
        labels = tf.reduce_sum(tf.one_hot(given, classes), axis=1)
        return {"texts": tuple(texts), "labels": labels, "rows": read["rows"]}

    return encoded(examples, [*columns, "label"], encode)


def _given(read: Batch, column: str) -> tf.Tensor | tf.RaggedTensor:
    """Returns a column's texts, string (rows,), or the numbers that they were cut into before, int32 (rows, None)."""
    lengths = read.get(f"{column}_lengths")
    return read[column] if lengths is None else tf.RaggedTensor.from_row_lengths(read[column], lengths, validate=False)


def _few_sizes(inputs: Batch) -> Batch:
    """Pads what is read of distinct words so that many batches have the same number of words, and of characters."""

    def padded(values: tf.Tensor) -> tf.Tensor:
        sizes, multiples = tf.shape(values), [_DISTINCT_WORDS, _CHARACTERS][: values.shape.rank]
        return tf.pad(values, tf.stack([tf.zeros_like(sizes), -sizes % multiples], axis=1))

    return {name: value if name in ("positions", "tokens") else padded(value) for name, value in inputs.items()}


def pair_measure(*, source_tokenizer: Tokenizer, target_tokenizer: Tokenizer) -> Callable[[datasets.Dataset], Lengths]:
    """Returns what `measure` does, for any number of small data sets one after the other."""
    source, target = _counter(source_tokenizer.tokenize), _counter(target_tokenizer.tokenize)
    return lambda dataset: Lengths(source=source(dataset["source"][:]), target=target(dataset["target"][:]))


def text_measure(*, cut: Cut) -> Callable[[datasets.Dataset], Lengths]:
    """Returns what `measure_texts` does, for any number of small data sets one after the other."""
    count = _counter(cut)

    def measured(dataset: datasets.Dataset) -> Lengths:
        source = count(dataset["text"][:])
        pair = "text_pair" in dataset.column_names
        return Lengths(source=source, target=count(dataset["text_pair"][:]) if pair else np.zeros_like(source))

    return measured


def _counter(cut: Cut) -> Callable[[Sequence[str]], np.ndarray]:
    """Returns what counts the tokens of texts, int32 (rows,)."""

    # Traced once: each further trace, as of a pipeline for each data set, would leave some of its memory behind.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def count(texts: tf.Tensor) -> tf.Tensor:
        return tf.cast(cut(texts).row_lengths(), tf.int32)

    def counted(texts: Sequence[str]) -> np.ndarray:
        parts = [texts[start : start + _ROWS_AT_ONCE] for start in range(0, len(texts), _ROWS_AT_ONCE)]
        return np.concatenate([np.zeros(0, np.int32), *(count(tf.constant(part)).numpy() for part in parts)])

    return counted


def _padded(tokens: tf.RaggedTensor, examples: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Ends rows in EOS and pads to (examples, length): int32 tokens, and bool mask, True = real token."""
    ends = tf.fill([tokens.nrows(), 1], EOS)
    tokens = tf.concat([tokens, ends], axis=1)
    lengths = tf.cast(tokens.row_lengths(), tf.int32)
    # Padding to a shape would cut off what does not fit, EOS first.
    tf.debugging.assert_less_equal(
        lengths, length, "A text has more tokens than its plan says: measure the data set with these tokenizers."
    )
    dense = tokens.to_tensor(default_value=PAD, shape=tf.stack([examples, length]))
    lengths = tf.pad(lengths, [[0, examples - tf.size(lengths)]])
    return dense, tf.sequence_mask(lengths, length)
