"""Rows that have been put together into batches, on their way into TensorFlow.

A stored data set's rows stay in their Arrow file until their batch is due;
those of a stream come by `nlp_rnn.feeds`. Python stands at this source of the
pipelines only.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute
import tensorflow as tf

from nlp_rnn.ahead import worked_ahead
from nlp_rnn.plans import PlannedBatch, Shape

_BATCHES_AHEAD = 4

Batch = dict[str, tf.Tensor]


class Picked(NamedTuple):
    """What a batch is made of: the numbers of its rows int64, its shape, and some columns of the rows."""

    rows: np.ndarray
    shape: Shape
    examples: pa.Table


class Examples(Protocol):
    """Rows that have been put together into batches."""

    @property
    def features(self) -> datasets.Features:
        """What the columns of the rows hold."""

    @property
    def batches(self) -> int:
        """How many batches they make."""

    def read(self, columns: list[str]) -> Iterable[Picked]:
        """Gives these columns of the rows, batch by batch."""


class Planned(NamedTuple):
    """Rows of a stored data set, and which of them make which batch."""

    dataset: datasets.Dataset
    planned: Sequence[PlannedBatch]

    @property
    def features(self) -> datasets.Features:  # noqa: D102
        return self.dataset.features

    @property
    def batches(self) -> int:  # noqa: D102
        return len(self.planned)

    def read(self, columns: list[str]) -> Iterable[Picked]:  # noqa: D102
        table = self.dataset.select_columns(columns).with_format("arrow")
        return (Picked(batch.rows, batch.shape, table[batch.rows]) for batch in self.planned)


def encoded(examples: Examples, columns: list[str], encode: Callable[[Batch], Any]) -> tf.data.Dataset:
    """Reads the rows of each batch and encodes them, ahead of whoever iterates.

    Args:
        examples: the rows.
        columns: what to read of them.
        encode: turns what was read of a batch into numbers: `rows`, `shape`
            int32 (3,), and each column as it is, or flat, with `NAME_lengths`
            beside it, if it holds lists.
    """

    def read() -> Iterable[dict[str, Any]]:
        for picked in examples.read(columns):
            yield {"rows": picked.rows, "shape": np.array(picked.shape, np.int32), **_flat(picked.examples)}

    signature = {"rows": tf.TensorSpec([None], tf.int64), "shape": tf.TensorSpec([3], tf.int32)}
    schema = examples.features.arrow_schema
    for name in columns:
        kind = schema.field(name).type
        numbers = pa.types.is_list(kind) and pa.types.is_integer(kind.value_type)
        signature[name] = tf.TensorSpec([None], tf.int32 if numbers else tf.string)
        if pa.types.is_list(kind):
            signature[f"{name}_lengths"] = tf.TensorSpec([None], tf.int32)
    batches = worked_ahead(read, encode, signature=signature, ahead=_BATCHES_AHEAD)
    return batches.apply(tf.data.experimental.assert_cardinality(examples.batches))


def _flat(rows: pa.Table) -> dict[str, Any]:
    """Returns columns as flat lists, those of lists with the lengths of their rows."""
    values: dict[str, Any] = {}
    for name in rows.column_names:
        column = rows[name].combine_chunks()
        if pa.types.is_list(column.type):
            values[f"{name}_lengths"] = pyarrow.compute.list_value_length(column).to_numpy()
            column = column.flatten()
        values[name] = column.to_numpy() if pa.types.is_integer(column.type) else column.to_pylist()
    return values
