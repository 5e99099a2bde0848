"""Training of tokenizers: what is learned, from how much text, in how large a vocabulary, and the same each time."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from text_cases import CORPUS, run_python, strings, trained

from nlp_rnn import vocabularies
from nlp_rnn.config import ConfigError, TextConfig
from nlp_rnn.text import UNK, Normalizer
from nlp_rnn.vocabularies import train_tokenizer


def test_characters_are_numbered_by_frequency() -> None:
    letters = train_tokenizer(["cab", "bab"], TextConfig(tokenizer="characters", vocabulary_size=6))
    assert letters.vocabulary == ("b", "a")
    assert letters.tokenize(["abc"]).to_list() == [[5, 4, UNK]]
    assert strings(letters.detokenize(letters.tokenize(["abc"]))) == ["ab"]


def test_words_are_numbered_by_frequency_and_ties_by_spelling() -> None:
    words = train_tokenizer(["b a  b", "c\ta <s>"], TextConfig(tokenizer="words", vocabulary_size=8))
    assert words.vocabulary == ("a", "b", "<s>", "c")
    assert words.vocabulary_size == 8
    assert words.tokenize(["a x c", "<s> <unk> <pad>", ""]).to_list() == [[4, UNK, 7], [6, UNK, UNK], []]
    assert strings(words.detokenize(words.tokenize([" a\n x  c "]))) == ["a c"]


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_frequent_words_become_pieces(algorithm: str) -> None:
    subwords = trained("sentencepiece", subword_model=algorithm)
    tokens = subwords.tokenize(["house river Straße"])
    assert strings(subwords.pieces(tokens.values)) == ["▁house", "▁river", "▁Straße"]


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_a_vocabulary_larger_than_the_text_supports(algorithm: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="nlp_rnn.vocabularies"):
        small = train_tokenizer(["hello", "hollow"], TextConfig(subword_model=algorithm, vocabulary_size=8000))
    assert 260 < small.vocabulary_size < 300
    assert f"supports {small.vocabulary_size} subwords only; vocabulary_size asked for 8000" in caplog.text
    assert strings(small.detokenize(small.tokenize(["hello wörld"]))) == ["hello wörld"]


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@pytest.mark.parametrize("size", [6, 40, 319])
def test_a_vocabulary_without_room_for_bytes(algorithm: str, size: int) -> None:
    small = train_tokenizer(CORPUS, TextConfig(subword_model=algorithm, vocabulary_size=size))
    assert small.vocabulary_size <= size
    (tokens,) = small.tokenize(["e日e"]).to_list()
    assert UNK in tokens
    assert strings(small.detokenize(small.tokenize(["e日e"]))) == ["ee"]


def test_more_characters_than_the_vocabulary_holds() -> None:
    """SentencePiece itself refuses this."""
    texts = ["".join(map(chr, range(0x4E00, 0x4E00 + 2000))) + "一" * 50]
    model = train_tokenizer(texts, TextConfig(vocabulary_size=400))
    assert model.vocabulary_size <= 400
    assert model.tokenize(["一一"]).row_lengths().numpy()[0] <= 3  # frequent: not spelt in bytes
    assert strings(model.detokenize(model.tokenize(texts))) == texts


def test_a_vocabulary_that_holds_no_character_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocabulary_size must be at least 6"):
        train_tokenizer(CORPUS, TextConfig(vocabulary_size=5))


@pytest.mark.parametrize("kind", ["sentencepiece", "characters", "words"])
@pytest.mark.parametrize("texts", [[], [""], [" \n", "\t\u3000"]])
def test_training_on_nothing_is_refused(kind: str, texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="the training text is empty"):
        train_tokenizer(texts, TextConfig(tokenizer=kind))


def test_training_text_is_normalised() -> None:
    words = train_tokenizer(["E\u0301T\u00c9 \ud800"], TextConfig(tokenizer="words", lowercase=True))
    assert words.vocabulary == ("\u00e9t\u00e9", "\ufffd\ufffd\ufffd")  # three bytes that are no UTF-8
    subwords = trained("sentencepiece", lowercase=True)
    assert strings(subwords.detokenize(subwords.tokenize(["THE CAT"]))) == ["the cat"]
    assert subwords.tokenize(["THE CAT"]).to_list() == subwords.tokenize(["the cat"]).to_list()


def test_long_lines_are_learnt_from() -> None:
    """SentencePiece leaves out lines of more than 4192 bytes, unless told otherwise."""
    model = train_tokenizer(["qwertz " * 5000 + "x" * 9000], TextConfig(vocabulary_size=400))
    assert model.tokenize(["qwertz"]).row_lengths().numpy().tolist() == [1]


def test_long_lines_are_cut_at_spaces() -> None:
    value = " ".join(f"word{number}" for number in range(1000))
    lines = list(vocabularies._lines([tf.constant([value + "\n\n \r\nnext", ""])]))
    assert " ".join(lines) == value + " next"
    assert max(map(len, lines)) <= vocabularies._LINE_LENGTH
    assert [len(line) for line in vocabularies._lines([tf.constant(["x" * 2500])])] == [1000, 1000, 500]


def test_texts_are_read_as_a_stream_and_sampled_evenly() -> None:
    def numbers() -> Iterator[str]:
        yield from map(str, range(100_000))

    sample = vocabularies._sample(numbers(), 500)
    assert len(set(sample)) == 500
    assert sample == vocabularies._sample(numbers(), 500)
    mean = sum(map(int, sample)) / 500
    assert abs(mean - 50_000) < 4 * 100_000 / (12 * 500) ** 0.5  # four standard deviations
    assert vocabularies._sample(iter("abc"), 500) == ["a", "b", "c"]


def test_the_normalising_stream_reads_no_further_than_a_batch() -> None:
    taken = []

    def endless() -> Iterator[str]:
        while True:
            taken.append(1)
            yield "a"

    next(vocabularies._normalized(endless(), Normalizer(unicode_normalization="nfc", lowercase=False)))
    assert len(taken) == vocabularies._TEXTS_AT_ONCE


def test_training_repeats_in_another_process_and_is_silent(tmp_path: Path) -> None:
    trained("sentencepiece").save(tmp_path / "here" / "unigram")
    trained("sentencepiece", subword_model="bpe").save(tmp_path / "here" / "bpe")
    (tmp_path / "corpus.json").write_text(json.dumps(CORPUS))
    program = """
import json, sys, pathlib
from nlp_rnn import vocabularies
from nlp_rnn.config import TextConfig
folder = pathlib.Path(sys.argv[1])
print("start", file=sys.stderr, flush=True)
for algorithm in ("unigram", "bpe"):
    config = TextConfig(vocabulary_size=400, subword_model=algorithm)
    tokenizer = vocabularies.train_tokenizer(json.loads((folder / "corpus.json").read_text()), config)
    tokenizer.save(folder / "there" / algorithm)
"""
    done = run_python(program, tmp_path, PYTHONHASHSEED="7")
    for name in ("unigram/tokenizer.model", "unigram/tokenizer.json", "bpe/tokenizer.model"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    after = done.stderr.partition("start\n")[2]
    assert done.stdout == ""
    for chatter in ("LOG(", "trainer_interface", "normalizer.cc", "trainer_spec"):
        assert chatter not in after
