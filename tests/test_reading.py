"""Raw text as inputs: cut, padded and read, alike in every batch and in an export."""

from pathlib import Path

import numpy as np
import pytest
import tagger_cases as cases
import tensorflow as tf

from nlp_rnn.reading import Inputs, SplitTextReader, TextReader, TokenizedTextReader, WordReader
from nlp_rnn.text import CharacterTokenizer, Normalizer

TEXTS = ["Anna isn't in New York.", "", "\u200b zebra", "THE\tend"]


def pieces() -> CharacterTokenizer:
    return CharacterTokenizer(vocabulary="abn", normalizer=Normalizer(unicode_normalization="nfc", lowercase=True))


def words(**flags: bool) -> SplitTextReader:
    return SplitTextReader(
        WordReader(features=cases.features()), **{"characters": True, "shapes": True, **flags}
    )  # fmt: skip


def readers() -> list[TextReader]:
    return [words(), TokenizedTextReader(pieces())]


def per_token(inputs: Inputs) -> dict[str, np.ndarray]:
    """What is read of each token; characters are padded as far as the batch's longest word, hence cut there."""
    if "positions" not in inputs:
        return {"tokens": inputs["tokens"].numpy()}
    places = inputs["positions"].numpy()
    return {name: values.numpy()[places] for name, values in inputs.items() if name != "positions"}


def test_words_are_those_found_in_the_text() -> None:
    cut = words().cut(tf.constant(TEXTS))
    assert [[word.decode() for word in row] for row in cut.to_list()] == [
        ["Anna", "is", "n't", "in", "New", "York", "."], [], ["\u200b", "zebra"], ["THE", "end"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "read"),
    [
        ({"characters": False, "shapes": False}, set()),
        ({"characters": True, "shapes": False}, {"characters"}),
        ({"characters": False, "shapes": True}, {"shapes"}),
        ({}, {"characters", "shapes"}),
    ],
)
def test_only_what_the_network_reads_is_given(flags: dict[str, bool], read: set[str]) -> None:
    assert words(**flags).inputs(tf.constant([["Anna"]])).keys() == {"words", "positions"} | read


def test_distinct_words_come_once_in_order_of_appearance() -> None:
    inputs = words().inputs(tf.constant([["the", "Anna", "the"], ["yak", "", ""]]))
    np.testing.assert_array_equal(inputs["positions"], [[0, 1, 0], [2, 3, 3]])
    # Of the tests' words: the 4, in 5, anna 6.
    np.testing.assert_array_equal(inputs["words"], [4, 6, 1, 1])
    assert inputs["characters"].shape == (4, 4)
    assert not inputs["characters"][3].numpy().any()  # padding is spelt by nothing


def test_subwords_are_those_of_each_distinct_word() -> None:
    reader = WordReader(features=cases.features(), subwords=pieces())
    inputs = reader(tf.constant([["Anna", "cab", "Anna", ""]]))
    # a 4, b 5, n 6; what is no known character is unknown.
    np.testing.assert_array_equal(inputs["subwords"], [[4, 6, 6, 4], [1, 4, 5, 0], [0, 0, 0, 0]])
    assert inputs["subwords"].dtype == tf.int32


def test_a_tokenizer_s_numbers_are_read_as_they_are() -> None:
    reader = TokenizedTextReader(pieces())
    cut = reader.cut(tf.constant(["Ban", "", "nx"]))
    assert (cut.to_list(), cut.dtype) == ([[5, 4, 6], [], [6, 1]], tf.int32)
    units = cut.to_tensor()
    np.testing.assert_array_equal(reader.inputs(units)["tokens"], [[5, 4, 6], [0, 0, 0], [6, 1, 0]])
    spelt = reader.pieces(units).numpy()
    assert spelt[0].tolist() == [b"b", b"a", b"n"]
    assert spelt[2][0] == b"n"


def test_pieces_of_words_are_the_words() -> None:
    reader = words()
    units = reader.cut(tf.constant(TEXTS)).to_tensor()
    np.testing.assert_array_equal(reader.pieces(units), units)


@pytest.mark.parametrize("reader", readers(), ids=["words", "tokenizer"])
def test_a_text_is_read_alike_alone_padded_and_beside_others(reader: TextReader) -> None:
    together = reader.cut(tf.constant(TEXTS))
    batch = per_token(reader.inputs(together.to_tensor(shape=[None, 30])))
    for row, text in enumerate(TEXTS):
        cut = reader.cut(tf.constant([text]))
        assert cut.to_list() == together[row : row + 1].to_list()
        alone = per_token(reader.inputs(cut.to_tensor()))
        length = cut.row_lengths()[0]
        for name, values in alone.items():
            expected = batch[name][row, :length]
            if values.ndim == 3:
                assert not expected[:, values.shape[2] :].any()
                expected = expected[:, : values.shape[2]]
            np.testing.assert_array_equal(values[0], expected, err_msg=name)


@pytest.mark.parametrize("reader", readers(), ids=["words", "tokenizer"])
@pytest.mark.parametrize("texts", [[], [""], ["", " "], [b"\xff\xfe"], [b"\x00"]])
def test_nothing_and_what_is_no_text_are_read_too(reader: TextReader, texts: list[str | bytes]) -> None:
    units = reader.cut(tf.constant(texts, tf.string)).to_tensor()
    for values in per_token(reader.inputs(units)).values():
        assert values.shape[:2] == units.shape
        assert values.min(initial=0) >= 0
    assert reader.pieces(units).shape == units.shape


@pytest.mark.parametrize("reader", readers(), ids=["words", "tokenizer"])
def test_a_saved_reader_reads_alike(reader: TextReader, tmp_path: Path) -> None:
    """Its tables go with it."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def read(text: tf.Tensor) -> Inputs:
        units = reader.cut(text).to_tensor()
        return {**reader.inputs(units), "pieces": reader.pieces(units)}

    module = tf.Module()
    module.reader, module.read = reader, read
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path)).read(tf.constant(TEXTS))
    expected = reader.inputs(reader.cut(tf.constant(TEXTS)).to_tensor())
    assert loaded.keys() == expected.keys() | {"pieces"}
    for name, values in expected.items():
        np.testing.assert_array_equal(loaded[name], values, strict=True, err_msg=name)
