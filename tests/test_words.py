"""Words as numbers: by hand, in any Unicode text, from files, and in an exported graph."""

import itertools
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_rnn import words
from nlp_rnn.config import ConfigError
from nlp_rnn.text import EOS, PAD, UNK
from nlp_rnn.words import SHAPES, WordFeatures, learn_features

SENTENCES = [["The", "cat", "saw", "the", "dog"], ["the", "Dog", "do", "n't"], []]


def features(**changes: Any) -> WordFeatures:
    chosen: dict[str, Any] = {
        "words": ["the", "dog", "été"],
        "counts": [5, 2, 1],
        "further_words": ["zebra", "dog"],
        "characters": "dogé",
        "lowercase": True,
        "longest_word": 5,
    }
    return WordFeatures(**(chosen | changes))


def encoded(known: WordFeatures, *tokens: str | bytes) -> dict[str, list[Any]]:
    return {key: value.numpy().tolist() for key, value in known.encode(tf.constant(tokens, tf.string)).items()}


def test_training_words_come_before_further_ones() -> None:
    known = features()
    assert encoded(known, "the", "dog", "zebra", "cat", "<unk>")["words"] == [4, 5, 7, UNK, UNK]
    assert known.word_vocabulary_size == 7
    assert known.vocabulary_size == 8  # a further word that is a training word has one number, not two
    assert known.character_vocabulary_size == 8
    assert known.counts.tolist() == [0, 0, 0, 0, 5, 2, 1]
    assert known.counts.dtype == np.int32


def test_words_are_looked_up_in_lower_case_if_asked() -> None:
    assert encoded(features(), "THE", "Ét\u00c9", "ÉTE\u0301")["words"] == [4, 6, 6]
    cased = features(lowercase=False, words=["The", "the", "été"])
    assert encoded(cased, "The", "the", "THE", "e\u0301te\u0301")["words"] == [4, 5, UNK, 6]


def test_characters_keep_their_case_and_are_padded_on_the_right() -> None:
    assert encoded(features(), "god", "Go", "x", "é", "e\u0301")["characters"] == [
        [6, 5, 4, PAD, PAD],
        [UNK, 5, PAD, PAD, PAD],
        [UNK, PAD, PAD, PAD, PAD],
        [7, PAD, PAD, PAD, PAD],
        [7, PAD, PAD, PAD, PAD],  # one code point in normal form
    ]


@pytest.mark.parametrize(("longest", "kept"), [(1, "j"), (4, "abij"), (5, "abhij"), (9, "abcdfghij"), (10, None)])
def test_of_a_long_word_the_ends_are_kept(longest: int, kept: str | None) -> None:
    word = "abcdefghij"
    known = features(characters=word, longest_word=longest)
    read = encoded(known, "a", word, "b")["characters"]
    assert read[1] == [EOS + 1 + word.index(character) for character in kept or word]
    assert [row[0] for row in read[::2]] == [4, 5]
    assert not np.any(np.array(read)[::2, 1:])


def test_an_empty_word_is_unknown_and_has_no_characters() -> None:
    assert encoded(features(), "", "the", "") == {
        "words": [UNK, 4, UNK],
        "characters": [[PAD] * 5, [UNK, UNK, UNK, PAD, PAD], [PAD] * 5],
        "shapes": [SHAPES - 1, 1, SHAPES - 1],
    }
    known = learn_features([["", "a", ""]], vocabulary_size=9, lowercase=False, longest_word=3, further_words=["", "b"])
    assert known.words == ("a",) and known.further_words == ("b",)
    assert encoded(known, "")["words"] == [UNK]


def test_bytes_that_are_no_text_are_read_as_replaced() -> None:
    known = features(characters="\ufffda")
    assert encoded(known, b"a\xff\x00", b"\xf0\x9f")["characters"] == [[5, 4, 4, PAD, PAD], [4, PAD, PAD, PAD, PAD]]


SHAPE_CLASSES = [
    ["the", "straße", "ŀe\u0301"],
    ["I", "É", "E\u0302"],
    ["The", "Éte\u0301"],
    ["USA", "ÉE\u0301"],
    ["iPhone", "McDonald", "日本", "שלום", "हिन्दी"],
    ["1984", "٣"],
    ["3.14", "10:30", "9/11", "½", "1,000", "50%", "-3"],
    ["http://a.b/c", "WWW.a.de", "me.too@a-b.org"],
    ["@me", "@a_b"],
    ["#tag", "#1"],
    ["mp3", "B2B", "4th"],
    ["n't", "'s", "’S", "U.S.", "o'clock", "Jean-Luc"],
    [".", "-", "'", "...", ",", "?!", "--", "’", "“", ":)"],
    ["$", "+", "👍", "👍🏽", "❤\ufe0f", "👩\u200d🔬", "🇩🇪", "©"],
    ["", "+1", "C++", "a b", "\ufeff"],
]


@pytest.mark.parametrize(("number", "examples"), list(enumerate(SHAPE_CLASSES, 1)))
def test_shapes(number: int, examples: list[str]) -> None:
    assert len(SHAPE_CLASSES) == SHAPES - 1
    assert dict(zip(examples, encoded(features(), *examples)["shapes"], strict=True)) == dict.fromkeys(examples, number)


def reference(known: WordFeatures, token: str) -> tuple[int, list[int]]:
    """What Python makes of a word."""
    composed = unicodedata.normalize("NFC", token.replace("\0", "\ufffd"))
    numbers = {character: number for number, character in enumerate(known.characters, EOS + 1)}
    read = [numbers.get(character, UNK) for character in composed]
    size, first = known.longest_word, known.longest_word // 2
    read = read if len(read) <= size else read[:first] + read[len(read) - (size - first) :]
    everything = known.words + known.further_words
    word = unicodedata.normalize("NFC", composed.lower()) if known.lowercase else composed
    return everything.index(word) + EOS + 1 if word in everything else UNK, read + [PAD] * (size - len(read))


_LETTERS = "doghé\u0301TÉEZtheÀ\0\u03a3aIİJ\u030cı"


@given(st.lists(st.text(st.one_of(st.sampled_from(_LETTERS), st.characters(codec="utf-8")), max_size=9)), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_words_are_read_as_python_reads_them(tokens: list[str], lowercase: bool) -> None:
    known = features(lowercase=lowercase)
    read = encoded(known, *tokens)
    assert list(zip(read["words"], read["characters"], strict=True)) == [reference(known, token) for token in tokens]
    assert all(1 <= shape < SHAPES for shape in read["shapes"])


def test_one_word_s_numbers_do_not_depend_on_the_others() -> None:
    known = features()
    tokens = ["the", "", "x" * 10_000, "dog", "👩\u200d🔬"]
    together = encoded(known, *tokens)
    for place, token in enumerate(tokens):
        assert {key: [value[place]] for key, value in together.items()} == encoded(known, token)


def test_no_words_at_all() -> None:
    empty = tf.function(features().encode, input_signature=[tf.TensorSpec([None], tf.string)])(tf.zeros([0], tf.string))
    assert {key: (value.shape, value.dtype) for key, value in empty.items()} == {
        "words": ((0,), tf.int32),
        "characters": ((0, 5), tf.int32),
        "shapes": ((0,), tf.int32),
    }


def test_a_sentence_takes_milliseconds_at_most() -> None:
    encode = tf.function(features(longest_word=24).encode, input_signature=[tf.TensorSpec([None], tf.string)])
    tokens = tf.constant([f"word{number}" for number in range(640)])
    encode(tokens)
    spent = []
    for _ in range(20):
        start = time.perf_counter()
        encode(tokens)
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.02  # 2 ms on a quiet core


def test_words_are_numbered_by_frequency_and_ties_by_spelling() -> None:
    known = learn_features(SENTENCES, vocabulary_size=7, lowercase=True, longest_word=8, further_words=["Owl", "THE"])
    assert known.words == ("the", "dog", "cat")
    assert known.counts.tolist() == [0, 0, 0, 0, 3, 2, 1]
    assert known.further_words == ("owl",)
    assert (known.longest_word, known.lowercase) == (8, True)
    cased = learn_features(iter(SENTENCES), vocabulary_size=99, lowercase=False, longest_word=8)
    assert cased.words == ("the", "Dog", "The", "cat", "do", "dog", "n't", "saw")


def test_further_words_take_the_place_of_rare_ones() -> None:
    known = learn_features(
        SENTENCES, vocabulary_size=5, lowercase=True, longest_word=8, further_words=["saw", "dog", "saw"]
    )
    assert known.words == ("the",)
    assert known.further_words == ("saw", "dog")
    assert encoded(known, "dog", "saw", "cat")["words"] == [6, 5, UNK]


def test_characters_are_those_seen_twice() -> None:
    seen = Counter(itertools.chain.from_iterable(itertools.chain.from_iterable(SENTENCES)))
    known = learn_features(SENTENCES, vocabulary_size=4 + 1, lowercase=True, longest_word=8)
    assert set(known.characters) == {character for character, count in seen.items() if count >= 2}
    assert "T" not in known.characters and "h" in known.characters


def test_training_words_are_in_normal_form() -> None:
    known = learn_features([["e\u0301", "é", "\0"]], vocabulary_size=9, lowercase=False, longest_word=2)
    assert known.words == ("é", "\ufffd")
    assert known.characters == ("é",)


def test_lone_surrogates_are_read_as_replaced(tmp_path: Path) -> None:
    known = learn_features(
        [["\ud800a", "\ud800a"]], vocabulary_size=9, lowercase=True, longest_word=9, further_words=["\udfff"]
    )
    assert known.words == ("\ufffd" * 3 + "a",)  # one for each byte, as decoders do
    assert known.further_words == ("\ufffd" * 3,)
    assert known.characters == ("a", "\ufffd")
    known.save(tmp_path)
    assert words.load(tmp_path).words == known.words


def test_a_vocabulary_of_special_words_needs_further_ones() -> None:
    for size in (0, 3, 4):
        known = learn_features(
            SENTENCES, vocabulary_size=size, lowercase=True, longest_word=8, further_words=["dog", "cat"]
        )
        assert (known.words, known.further_words) == ((), ("dog", "cat"))
        with pytest.raises(ConfigError, match="There are no words.* vocabulary_size of at least 5"):
            learn_features(SENTENCES, vocabulary_size=size, lowercase=True, longest_word=8)


def test_more_words_than_are_counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learn_features(SENTENCES, vocabulary_size=99, lowercase=True, longest_word=8, further_words="bcd")
    monkeypatch.setattr(words, "_WORDS_AT_ONCE", 2)
    parts = learn_features(SENTENCES, vocabulary_size=99, lowercase=True, longest_word=8, further_words="bcd")
    assert (parts.words, parts.characters, parts.further_words) == (
        whole.words,
        whole.characters,
        whole.further_words,
    )
    assert parts.counts.tolist() == whole.counts.tolist()


def test_no_character_need_be_known() -> None:
    known = learn_features([["ab"]], vocabulary_size=9, lowercase=False, longest_word=2)
    assert known.characters == ()
    assert encoded(known, "ab", "")["characters"] == [[UNK, UNK], [PAD, PAD]]


@pytest.mark.parametrize("sentences", [[], [[]], [[""], []]])
def test_nothing_to_learn_from_is_refused(sentences: Sequence[Sequence[str]]) -> None:
    with pytest.raises(ConfigError, match="the training set is empty"):
        learn_features(sentences, vocabulary_size=9, lowercase=False, longest_word=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": ["a", "b", "a"]}, "A word or character is listed twice"),
        ({"characters": "abca"}, "A word or character is listed twice"),
        ({"words": [], "counts": [], "further_words": []}, "There are no words"),
        ({"longest_word": 0}, "longest_word must be at least 1, not 0"),
        ({"counts": [1, 2]}, "There are 3 words but 2 counts"),
        ({"words": ["a", "", "b"]}, "A word is empty"),
        ({"further_words": [""]}, "A word is empty"),
    ],
)
def test_impossible_vocabularies_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        features(**changes)


TOKENS = ["THE", "dog", "Zebra", "", "cat", "ÉTÉ", "👍🏽", "d" * 30, "\u2028"]


def test_a_folder_gives_the_same_words_back(tmp_path: Path) -> None:
    known = features(words=["the", "dog", "\u2028"], characters='dé\u2028\u0085"\\😀')
    known.save(tmp_path / "deep" / "folder")
    back = words.load(tmp_path / "deep" / "folder")
    assert encoded(back, *TOKENS) == encoded(known, *TOKENS)
    assert back.counts.tolist() == known.counts.tolist()
    assert (back.words, back.further_words, back.characters) == (known.words, known.further_words, known.characters)
    assert (back.lowercase, back.longest_word) == (known.lowercase, known.longest_word)
    (file,) = (tmp_path / "deep" / "folder").iterdir()
    assert "é" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "is broken"),
        (lambda text: "[]", "is broken"),
        (lambda text: text.replace('"words"', '"wards"'), "is broken"),
        (lambda text: text.replace('"d"', '"dd"'), "is broken"),
        (lambda text: text.replace('"the"', '"\\ud800"'), "is broken"),
        (lambda text: text.replace('"longest_word": 5', '"longest_word": "5"'), "is broken"),
        (lambda text: text.replace('"zebra"', "3"), "is broken"),
        (lambda text: text.replace("5", str(1 << 40), 2), "is broken"),
        (lambda text: text.replace('"format": 1', '"format": 7'), "has format 7; this version reads format 1"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    features().save(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        words.load(tmp_path)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the words of a model were expected"):
        words.load(tmp_path)


class Exported(tf.Module):
    """What an export looks like: the words, and one signature."""

    def __init__(self, known: WordFeatures) -> None:
        super().__init__()
        self.known = known

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="tokens")])
    def encode(self, tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.known.encode(tokens)


def test_an_export_reads_words_the_same_way(tmp_path: Path) -> None:
    known = features()
    module = Exported(known)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.encode})
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    answer = {key: value.numpy().tolist() for key, value in served(tokens=tf.constant(TOKENS)).items()}
    assert answer == encoded(known, *TOKENS)


def test_words_are_read_inside_a_pipeline() -> None:
    known = features()
    batches = tf.data.Dataset.from_tensor_slices(tf.constant(TOKENS[:8])).batch(4).map(known.encode)
    read = [number for batch in batches for number in batch["words"].numpy().tolist()]
    assert read == encoded(known, *TOKENS[:8])["words"]
