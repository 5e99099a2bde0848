"""Rows put together into batches, as `tf.data` reads them: values by hand."""

import datasets
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.examples import Planned, encoded
from nlp_rnn.plans import PlannedBatch, Shape

FEATURES = datasets.Features(
    {
        "text": datasets.Value("string"),
        "tokens": datasets.List(datasets.Value("string")),
        "tags": datasets.List(datasets.Value("int32")),
    }
)
ROWS = datasets.Dataset.from_dict(
    {"text": ["a", "é", "c"], "tokens": [["x", "y"], [], ["z"]], "tags": [[1, 2], [], [3]]}, features=FEATURES
)
PLANNED = Planned(ROWS, [PlannedBatch(np.array([2, 0]), Shape(3, 2, 0)), PlannedBatch(np.array([1]), Shape(1, 1, 0))])


def test_columns_come_as_they_are_and_lists_flat_with_their_lengths_in_the_plan_s_order() -> None:
    first, second = encoded(PLANNED, ["text", "tokens", "tags"], lambda read: read).as_numpy_iterator()
    assert {name: values.tolist() for name, values in first.items()} == {
        "rows": [2, 0], "shape": [3, 2, 0], "text": [b"c", b"a"], "tokens": [b"z", b"x", b"y"],
        "tokens_lengths": [1, 2], "tags": [3, 1, 2], "tags_lengths": [1, 2],
    }  # fmt: skip
    assert (first["tags"].dtype, first["rows"].dtype) == (np.int32, np.int64)
    assert second["text"].tolist() == ["é".encode()]
    assert (second["tokens"].tolist(), second["tokens_lengths"].tolist()) == ([], [0])


def test_only_the_columns_asked_for_are_read_and_the_batches_are_counted_beforehand() -> None:
    batches = encoded(PLANNED, ["text"], lambda read: read)
    assert set(batches.element_spec) == {"rows", "shape", "text"}
    assert int(batches.cardinality()) == 2


def test_fewer_batches_than_were_promised_are_an_error() -> None:
    class Short(Planned):
        @property
        def batches(self) -> int:
            return 3

    with pytest.raises(tf.errors.FailedPreconditionError, match="expected to contain 3 elements"):
        list(encoded(Short(*PLANNED), ["text"], lambda read: read))
