"""Texts that break careless models, and what is wrong with answers, made by hand, to any text."""

import unicodedata
from collections.abc import Mapping
from typing import Any

import pytest
import tensorflow as tf

from nlp_rnn.edge_inputs import answer_problems, named_texts

TEXTS = named_texts()
SPECS = {"label": tf.TensorSpec([None], tf.string), "score": tf.TensorSpec([None], tf.float32)}
GOOD = {"label": tf.constant(["a", "é"]), "score": tf.constant([0.5, 1.0])}


def problems(answer: Mapping[str, tf.Tensor], texts: tuple[str, ...] = ("x", "y"), specs: Any = None) -> list[str]:
    return answer_problems(specs or {name: tf.TensorSpec(None) for name in answer}, {"text": list(texts)}, answer)


def test_every_kind_of_text_is_there_and_is_what_it_is_called() -> None:
    assert TEXTS["an empty text"] == [""]
    assert all(text and not text.strip() for text in TEXTS["white space only"])
    assert [len(text.split()) for text in TEXTS["100,000 words"]] == [100_000]
    assert TEXTS["one word of 100,000 letters"] == ["a" * 100_000]
    for text in TEXTS["invalid UTF-8"]:
        with pytest.raises(UnicodeDecodeError):
            text.encode("utf-8", "surrogateescape").decode("utf-8")
    # Each of the 32 below the space and 33 from 127 on by itself, then all of them together.
    *alone, joined, spaced = TEXTS["control characters"]
    assert [ord(text) for text in alone] == [*range(32), *range(127, 160)]
    assert set(joined) == {*alone, "a", "b"} and set(spaced) == {*alone, " "}


def test_every_plane_with_characters_is_sampled_and_its_texts_are_valid() -> None:
    planes = {int(name.split()[-1]): texts for name, texts in TEXTS.items() if name.startswith("Unicode plane")}
    # Planes 4 to 13 hold nothing; of the private ones only the first and the last code point are taken.
    assert set(planes) == {0, 1, 2, 3, 14, 15, 16}
    assert planes[15] == ["\U000f0000\U000ffffd"]
    assert "\ue000\uf8ff" in "".join(planes[0])
    for plane, texts in planes.items():
        assert all(1 <= len(text) <= 64 and text.encode("utf-8") for text in texts)
        assert {ord(character) >> 16 for text in texts for character in text} == {plane}
    assert 500 < len("".join(planes[0])) < 1100
    categories = {unicodedata.category(character)[0] for character in "".join(planes[0])}
    assert categories >= {"L", "M", "N", "P", "S", "C"}


def test_nothing_is_wrong_with_an_answer_as_documented() -> None:
    assert problems(GOOD, specs=SPECS) == []
    assert answer_problems(SPECS, {"text": []}, {"label": tf.constant([], tf.string), "score": tf.constant([])}) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"score": tf.constant([0.5, float("nan")])}, ["score is NaN or infinite"]),
        ({"score": tf.constant([0.5, float("inf")])}, ["score is NaN or infinite"]),
        ({"score": tf.constant([0.5])}, ["score has the shape (1,) for 2 examples"]),
        ({"score": tf.constant(0.5)},
         ["score has the shape (), which is not one of (None,)", "score has the shape () for 2 examples"]),
        ({"score": tf.zeros([2, 1])}, ["score has the shape (2, 1), which is not one of (None,)"]),
        ({"label": tf.constant([b"a", b"\xff"])}, ["label is not valid UTF-8"]),
        ({"more": tf.constant([1, 2])},
         ["it has the outputs ['label', 'more', 'score'] instead of ['label', 'score']"]),
    ],
)  # fmt: skip
def test_what_breaks_the_documented_form_is_named(changes: dict[str, tf.Tensor], expected: list[str]) -> None:
    assert problems({**GOOD, **changes}, specs=SPECS) == expected


def tagged(starts: Any, ends: Any, lengths: Any, tokens: Any = None) -> dict[str, tf.Tensor]:
    answer = {"starts": tf.constant(starts), "ends": tf.constant(ends), "lengths": tf.constant(lengths)}
    return answer if tokens is None else {**answer, "tokens": tf.constant(tokens)}


def test_offsets_lie_inside_the_text_as_far_as_its_length_says() -> None:
    assert problems(tagged([[0, 2], [0, 9]], [[1, 3], [1, 99]], [2, 1]), ("a b", "c")) == []
    outside = "starts and ends lie outside of the text 'a b'"
    for start, end in ((0, 4), (-1, 1), (2, 2), (3, 1)):
        assert problems(tagged([[start]], [[end]], [1]), ("a b",)) == [outside]


def test_offsets_of_tokens_are_those_of_the_tokens() -> None:
    assert problems(tagged([[0, 2]], [[1, 3]], [2], [["a", "b"]]), ("a b",)) == []
    wrong = "starts and ends are not where the tokens are in 'a b'"
    assert problems(tagged([[0, 1]], [[1, 3]], [2], [["a", "b"]]), ("a b",)) == [wrong]


def test_offsets_count_code_points_of_the_text_as_models_read_it() -> None:
    """What is no text is one U+FFFD: a byte that is no UTF-8, U+0000, and the code point that marks cuts."""
    answer = tagged([[0, 3, 4]], [[3, 4, 5]], [3], [["é\ufffd𝒳", "\ufffd", "\ufffd"]])
    assert problems(answer, ("é\udcff𝒳\0\ufdd0",)) == []


def test_entities_have_counts_of_their_own_and_need_no_tokens() -> None:
    answer = {f"entity_{name}": values for name, values in tagged([[0, 7]], [[1, 9]], [1]).items() if name != "lengths"}
    assert problems({**answer, "entity_counts": tf.constant([1])}, ("abc",)) == []
    expected = ["entity_starts and entity_ends lie outside of the text 'abc'"]
    assert problems({**answer, "entity_counts": tf.constant([2])}, ("abc",)) == expected
