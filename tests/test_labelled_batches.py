"""Batches of labelled texts: cut, masked, with their labels, every row once, exact resume; see test_batching.py."""

from collections.abc import Iterable
from typing import Any

import datasets
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.batching import classification_batches, classification_evaluation_batches, measure_texts, text_measure
from nlp_rnn.config import BatchConfig
from nlp_rnn.plans import BatchPlan, Shape
from nlp_rnn.reading import SplitTextReader, TextReader, TokenizedTextReader, WordReader
from nlp_rnn.text import UNK, Normalizer, WordTokenizer
from nlp_rnn.words import WordFeatures

NORMALIZER = Normalizer(unicode_normalization="none", lowercase=False)
# Ids: a 4, b 5, c 6.
SOURCE = WordTokenizer(vocabulary=["a", "b", "c"], normalizer=NORMALIZER)
TOKENIZED = TokenizedTextReader(SOURCE)


def labelled(rows: Iterable[tuple[Any, ...]]) -> datasets.Dataset:
    """Texts, one or two an example, and their labels' numbers."""
    columns = list(zip(*rows, strict=True))
    names = ["text", "text_pair", "label"] if len(columns) == 3 else ["text", "label"]
    features = {name: datasets.Value("string") for name in names} | {"label": datasets.List(datasets.Value("int32"))}
    return datasets.Dataset.from_dict(
        {name: list(values) for name, values in zip(names, columns, strict=True)}, features=datasets.Features(features)
    )


def named_texts(count: int, seed: int = 0, *, pair: bool = False) -> tuple[datasets.Dataset, TextReader]:
    """Texts whose first word names their row, and whose label is the row's last digit; and what reads them."""
    words = WordTokenizer(vocabulary=[f"r{i}" for i in range(count)], normalizer=NORMALIZER)
    lengths = np.random.default_rng(seed).integers(0, 30, (count, 2)).tolist()
    rows: list[tuple[Any, ...]] = [
        (f"r{i}" + " and" * first, *([f"r{i} " * second] if pair else []), [i % 10])
        for i, (first, second) in enumerate(lengths)
    ]
    return labelled(rows), TokenizedTextReader(words)


def texts_plan(dataset: datasets.Dataset, reader: TextReader, **settings: Any) -> BatchPlan:
    return BatchPlan(lengths=measure_texts(dataset, cut=reader.cut), batching=BatchConfig(**settings), end_tokens=0)


def whole(dataset: datasets.Dataset, classes: int = 3, longest: int = 99, **settings: Any) -> list[dict[str, Any]]:
    batches = classification_evaluation_batches(
        dataset,
        reader=settings.pop("reader", TOKENIZED),
        classes=classes,
        batching=BatchConfig(**{"bucket_width": 1, **settings}),
        maximum_length=longest,
    )
    return arrays(batches)


def arrays(batches: tf.data.Dataset) -> list[dict[str, Any]]:
    return list(batches.as_numpy_iterator())


def assert_same(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        tf.nest.assert_same_structure(one, other)
        for values, others_values in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
            np.testing.assert_array_equal(values, others_values, strict=True)


def test_texts_are_measured_by_what_they_are_cut_into() -> None:
    lengths = measure_texts(labelled([("a b", []), ("", []), ("c q", [])] * 700), cut=SOURCE.tokenize)
    np.testing.assert_array_equal(lengths.source, np.int32([2, 0, 2] * 700), strict=True)
    np.testing.assert_array_equal(lengths.target, np.zeros(2100, np.int32), strict=True)
    pairs = measure_texts(labelled([("a", "b c a", []), ("b b", "", [])]), cut=SOURCE.tokenize)
    np.testing.assert_array_equal(pairs.source, np.int32([1, 2]), strict=True)
    np.testing.assert_array_equal(pairs.target, np.int32([3, 0]), strict=True)
    for rows in ([("a b", []), ("", []), ("c q", [])], [("a", "b c a", []), ("b b", "", [])]):
        small, large = (
            text_measure(cut=SOURCE.tokenize)(labelled(rows)),
            measure_texts(labelled(rows), cut=SOURCE.tokenize),
        )
        np.testing.assert_array_equal(small.source, large.source, strict=True)
        np.testing.assert_array_equal(small.target, large.target, strict=True)


def test_texts_labels_and_masks_by_hand() -> None:
    """One label, none, and several."""
    (batch,) = whole(labelled([("a b", [2]), ("", []), ("c q a", [0, 1])]))
    assert batch.keys() == {"texts", "labels", "rows"}
    (text,) = batch["texts"]
    assert text.keys() == {"tokens", "mask"}
    np.testing.assert_array_equal(batch["rows"], np.int64([1, 0, 2]), strict=True)
    np.testing.assert_array_equal(text["tokens"], np.int32([[0, 0, 0], [4, 5, 0], [6, UNK, 4]]), strict=True)
    np.testing.assert_array_equal(text["mask"], np.bool([[0, 0, 0], [1, 1, 0], [1, 1, 1]]), strict=True)
    np.testing.assert_array_equal(batch["labels"], np.float32([[0, 0, 0], [0, 0, 1], [1, 1, 0]]), strict=True)


def test_texts_without_any_label_have_zeros() -> None:
    (batch,) = whole(labelled([("a", []), ("b", [])]))
    np.testing.assert_array_equal(batch["labels"], np.zeros((2, 3), np.float32), strict=True)


def test_both_texts_of_a_pair_are_padded_each_for_itself() -> None:
    (batch,) = whole(labelled([("a b", "c", [1]), ("a", "b c a", [0])]))
    first, second = batch["texts"]
    np.testing.assert_array_equal(first["tokens"], [[4, 5], [4, 0]])
    np.testing.assert_array_equal(first["mask"], [[1, 1], [1, 0]])
    np.testing.assert_array_equal(second["tokens"], [[6, 0, 0], [5, 6, 4]])
    np.testing.assert_array_equal(second["mask"], [[1, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(batch["labels"], [[0, 1, 0], [1, 0, 0]])


def test_long_texts_are_cut_and_no_batch_is_longer() -> None:
    (batch,) = whole(labelled([("a b c a", "c", [0]), ("b", "c b a", [1])]), longest=2, bucket_width=8)
    first, second = batch["texts"]
    np.testing.assert_array_equal(first["tokens"], [[4, 5], [5, 0]])
    np.testing.assert_array_equal(second["tokens"], [[6, 0], [6, 5]])
    np.testing.assert_array_equal(second["mask"], [[1, 0], [1, 1]])
    # However long: `longest_example` leaves nothing out here.
    (batch,) = whole(labelled([("a b c a", [0])]), longest_example=1)
    assert batch["texts"][0]["mask"].sum() == 4


def test_a_training_text_is_cut_where_its_plan_says() -> None:
    dataset = labelled([("a b c a", [0]), ("b c a b", [1])])
    lengths = measure_texts(dataset, cut=SOURCE.tokenize).at_most(3)
    plan = BatchPlan(lengths=lengths, batching=BatchConfig(longest_example=3, bucket_width=4), end_tokens=0)
    (batch,) = arrays(classification_batches(dataset, plan=plan, reader=TOKENIZED, classes=2, seed=1, epoch=0))
    (text,) = batch["texts"]
    assert text["mask"].all() and sorted(text["tokens"].tolist()) == [[4, 5, 6], [5, 6, 4]]


def test_what_is_read_of_words_is_padded_to_few_numbers() -> None:
    features = WordFeatures(words=["a", "b"], counts=[2, 1], characters="ab", lowercase=True, longest_word=20)
    reader = SplitTextReader(WordReader(features=features), characters=True, shapes=True)
    (batch,) = whole(labelled([("a b a", [0]), ("bab", [1])]), reader=reader)
    (text,) = batch["texts"]
    assert {name: values.shape for name, values in text.items()} == {
        "words": (128,), "shapes": (128,), "characters": (128, 8), "positions": (2, 3), "mask": (2, 3),
    }  # fmt: skip
    # Distinct: bab, padding, a, b.
    np.testing.assert_array_equal(text["positions"], [[0, 1, 1], [2, 3, 2]])
    np.testing.assert_array_equal(text["words"], np.int32([UNK, UNK, 4, 5] + [0] * 124), strict=True)
    np.testing.assert_array_equal(text["characters"][:4, :4], [[5, 4, 5, 0], [0] * 4, [4, 0, 0, 0], [5, 0, 0, 0]])
    assert not text["characters"][:, 4:].any() and not text["characters"][4:].any()


@pytest.mark.parametrize("pair", [False, True])
def test_every_text_comes_once_an_epoch_with_its_own_labels(pair: bool) -> None:
    dataset, reader = named_texts(333, pair=pair)
    plan = texts_plan(dataset, reader, batch_size=16)
    batches = arrays(classification_batches(dataset, plan=plan, reader=reader, classes=10, seed=3, epoch=0))
    assert len(batches) == len(plan) and len(plan.shapes) > 1
    assert sorted(np.concatenate([batch["rows"] for batch in batches]).tolist()) == list(range(333))
    shapes = set()
    for batch in batches:
        rows, texts = batch["rows"], batch["texts"]
        assert len(texts) == 1 + pair
        shapes.add(Shape(*texts[0]["mask"].shape, texts[1]["mask"].shape[1] if pair else 0))
        empty = len(batch["labels"]) - len(rows)
        assert empty <= 1
        np.testing.assert_array_equal(texts[0]["tokens"][: len(rows), 0], rows + 4)
        np.testing.assert_array_equal(batch["labels"], np.pad(np.eye(10)[rows % 10], [[0, empty], [0, 0]]))
        for name, text in zip(("text", "text_pair"), texts, strict=False):
            lengths = [len(dataset[row][name].split()) for row in rows.tolist()] + [0] * empty
            np.testing.assert_array_equal(text["mask"], tf.sequence_mask(lengths, text["mask"].shape[1]))
            assert not text["tokens"][~text["mask"]].any()
            assert (text["tokens"][text["mask"]] > 0).all()
    assert shapes == set(plan.shapes)
    assert min(length for shape in shapes for length in shape[1 : 2 + pair]) >= 1


def test_a_seed_and_an_epoch_tell_the_texts_of_each_batch_and_a_resumed_one_is_the_rest() -> None:
    dataset, reader = named_texts(200)
    plan = texts_plan(dataset, reader, batch_size=8)

    def batches(seed: int, epoch: int, start: int = 0) -> list[dict[str, Any]]:
        options: dict[str, Any] = {"plan": plan, "reader": reader, "classes": 10}
        return arrays(classification_batches(dataset, **options, seed=seed, epoch=epoch, start=start))

    first = batches(1, 2)
    assert_same(batches(1, 2), first)
    assert_same(batches(1, 2, 7), first[7:])
    members = {frozenset(batch["rows"].tolist()) for batch in first}
    assert len(members & {frozenset(batch["rows"].tolist()) for batch in batches(1, 3)}) < 3
    with pytest.raises(ValueError, match=f"start must lie between 0 and the {len(plan)} batches"):
        batches(1, 2, len(plan) + 1)
    with pytest.raises(ValueError, match="The plan is for 200 rows, not for 3"):
        classification_batches(dataset.select(range(3)), plan=plan, reader=reader, classes=10, seed=1, epoch=0)


def test_texts_to_evaluate_come_by_length_and_can_be_repeated() -> None:
    dataset, reader = named_texts(100)
    chosen = dataset.add_column("note", ["x"] * 100).select(range(99, -1, -2)).with_format("numpy")
    batches = classification_evaluation_batches(
        chosen, reader=reader, classes=10, batching=BatchConfig(batch_size=8), maximum_length=12
    )
    first = arrays(batches)
    assert_same(arrays(batches), first)
    lengths = [size for batch in first for size in batch["texts"][0]["mask"].sum(axis=1)[: len(batch["rows"])]]
    assert lengths == sorted(lengths) and len(lengths) == 50 and lengths[-1] == 12
    with pytest.raises(ValueError, match="the data set is empty"):
        whole(dataset.select([]))
