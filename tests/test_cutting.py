"""Texts cut once: numbers in a file, of which the same batches are made as of the texts."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import tagger_cases as cases
import tensorflow as tf

from nlp_rnn.batching import classification_batches, classification_evaluation_batches, measure_texts
from nlp_rnn.config import BatchConfig
from nlp_rnn.cutting import cut_texts
from nlp_rnn.plans import BatchPlan
from nlp_rnn.reading import SplitTextReader, TextReader, TokenizedTextReader, WordReader
from nlp_rnn.text import CharacterTokenizer, Normalizer

WORDS = ["the", "The", "anna", "York", "1984", "🌈", "Straße", "\u200b", "x" * 40, "isn't", "。"]
FEATURES = datasets.Features(
    {"text": datasets.Value("string"), "text_pair": datasets.Value("string"),
     "label": datasets.List(datasets.Value("int32"))}
)  # fmt: skip


def words(**flags: bool) -> SplitTextReader:
    return SplitTextReader(WordReader(features=cases.features()), **{"characters": True, "shapes": True, **flags})


def characters() -> TokenizedTextReader:
    return TokenizedTextReader(
        CharacterTokenizer(vocabulary="adeht ", normalizer=Normalizer(unicode_normalization="nfc", lowercase=True))
    )


def labelled(texts: list[str], pairs: list[str] | None = None) -> datasets.Dataset:
    rows = {"text": texts, "text_pair": pairs or texts, "label": [[row % 3] * (row % 2) for row in range(len(texts))]}
    dataset = datasets.Dataset.from_dict(rows, features=FEATURES)
    return dataset if pairs else dataset.remove_columns("text_pair")


def drawn(count: int, seed: int) -> list[str]:
    """Texts of up to twelve of the words above, among them empty ones."""
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size)) for size in generator.integers(0, 13, count)]


def assert_same(some: tf.data.Dataset, others: tf.data.Dataset) -> None:
    one, other = list(some.as_numpy_iterator()), list(others.as_numpy_iterator())
    assert len(one) == len(other) > 1
    tf.nest.assert_same_structure(one, other)
    for values, expected in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        np.testing.assert_array_equal(values, expected, strict=True)


def test_words_are_numbered_in_order_of_appearance_and_read_by_their_numbers() -> None:
    dataset, reader = cut_texts(labelled(["the zebra the", "", "York zebra"]), words())
    assert dataset["text"][:] == [[1, 2, 1], [], [3, 2]]
    assert dataset["label"][:] == [[], [1], []]
    units = tf.constant([[1, 2, 1], [0, 0, 0], [3, 2, 0]])
    spelt = [["the", "zebra", "the"], ["", "", ""], ["York", "zebra", ""]]
    assert [[word.decode() for word in row] for row in reader.pieces(units).numpy()] == spelt
    inputs = reader.inputs(units)
    # Distinct: the, zebra, padding, York.
    np.testing.assert_array_equal(inputs["positions"], [[0, 1, 0], [2, 2, 2], [3, 1, 2]])
    expected = words().inputs(tf.constant(spelt))
    assert inputs.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(inputs[name], values, strict=True, err_msg=name)


def test_a_tokenizer_s_numbers_are_kept() -> None:
    dataset, reader = cut_texts(labelled(["hat", "", "Dead"], ["a", "x", ""]), characters())
    # a 4, d 5, e 6, h 7, t 8; the x is unknown.
    assert dataset["text"][:] == [[7, 4, 8], [], [5, 6, 4, 5]]
    assert dataset["text_pair"][:] == [[4], [1], []]
    assert reader.pieces(tf.constant([[7, 4, 8]])).numpy().tolist() == [[b"h", b"a", b"t"]]


@pytest.mark.parametrize(
    "reader",
    [words(), words(shapes=False), words(characters=False, shapes=False), characters()],
    ids=["words", "without shapes", "words alone", "tokens"],
)
@pytest.mark.parametrize("pair", [False, True], ids=["texts", "pairs"])
def test_batches_are_those_of_the_texts(reader: TextReader, pair: bool) -> None:
    # More than are cut at once.
    texts = labelled(drawn(1100, 1), drawn(1100, 2) if pair else None)
    numbers, known = cut_texts(texts, reader)
    lengths = [measure_texts(texts, cut=reader.cut), measure_texts(numbers, cut=known.cut)]
    np.testing.assert_array_equal(lengths[1].source, lengths[0].source, strict=True)
    np.testing.assert_array_equal(lengths[1].target, lengths[0].target, strict=True)
    plan = BatchPlan(lengths=lengths[0].at_most(9), batching=BatchConfig(longest_example=9), end_tokens=0)
    options: dict[str, Any] = {"plan": plan, "classes": 3, "seed": 5, "epoch": 2, "start": len(plan) - 3}
    assert_same(
        classification_batches(numbers, reader=known, **options),
        classification_batches(texts, reader=reader, **options),
    )
    evaluated: dict[str, Any] = {"classes": 3, "batching": BatchConfig(batch_size=400), "maximum_length": 9}
    assert_same(
        classification_evaluation_batches(numbers, reader=known, **evaluated),
        classification_evaluation_batches(texts, reader=reader, **evaluated),
    )


def test_the_numbers_lie_in_a_file_that_no_one_has_to_remove(tmp_path: Path) -> None:
    labelled(["the end", "York"]).save_to_disk(str(tmp_path / "rows"))
    rows = datasets.load_from_disk(str(tmp_path / "rows"))
    before = sorted((tmp_path / "rows").iterdir())
    dataset, _ = cut_texts(rows, words())
    (file,) = dataset.cache_files
    assert Path(file["filename"]).is_relative_to(tmp_path / "rows")
    assert sorted((tmp_path / "rows").iterdir()) == before
    assert dataset.with_format("arrow")[[1, 0]]["text"].to_pylist() == [[3], [1, 2]]


def test_parts_of_a_corpus_and_nothing_at_all_are_cut_too() -> None:
    texts = labelled(drawn(30, 3))
    part, reader = cut_texts(texts.select(range(20, 9, -1)), words())
    spelt = [b" ".join(reader.pieces(tf.constant(numbers, tf.int32)).numpy()) for numbers in part["text"][:]]
    cut = words().cut(tf.constant(texts["text"][20:9:-1]))
    assert spelt == [b" ".join(row) for row in cut.to_list()]
    nothing, _ = cut_texts(texts.select([]), words())
    assert (len(nothing), nothing.column_names) == (0, ["text", "label"])
