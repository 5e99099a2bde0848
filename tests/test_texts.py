"""What a classifier reads, learned from its training texts."""

import tracemalloc
from pathlib import Path

import datasets
import numpy as np
import tensorflow as tf

from nlp_rnn.jobs import ClassifierRun
from nlp_rnn.model_config import ReadingConfig
from nlp_rnn.reading import SplitTextReader, TextReader
from nlp_rnn.tasks.texts import learn_reader
from nlp_rnn.text import UNK

ROWS = {"text": ["A film.", "a film"], "text_pair": ["Trains ran", "late"]}


def learn(rows: dict[str, list[str]], **reading: object) -> tuple[TextReader, list[str], np.ndarray]:
    run = ClassifierRun(output="unused", reading=ReadingConfig(**reading))
    return learn_reader(run, datasets.Dataset.from_dict(rows))


def test_the_words_of_both_texts_are_known() -> None:
    reader, words, vectors = learn(ROWS)
    assert isinstance(reader, SplitTextReader)
    numbers = reader.words.features.encode(tf.constant(["a", "film", ".", "trains", "ran", "late", "unheard"]))["words"]
    assert np.all(numbers.numpy()[:-1] > UNK)
    assert numbers.numpy()[-1] == UNK
    assert (words, vectors.shape) == ([], (0, 0))


def test_words_of_the_file_of_vectors_are_known_too(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("film 1 2\nunheard 3 4\n")
    reader, words, vectors = learn(ROWS, vectors=str(path))
    assert isinstance(reader, SplitTextReader)
    assert sorted(words) == ["film", "unheard"]
    np.testing.assert_array_equal(vectors[words.index("unheard")], [3, 4])
    # Known by its vector alone: beyond the words that are learned.
    number = reader.words.features.encode(tf.constant(["unheard"]))["words"].numpy()[0]
    assert number >= reader.words.features.word_vocabulary_size


def test_characters_are_those_of_both_texts() -> None:
    reader, _, _ = learn({"text": ["ab"], "text_pair": ["c"]}, tokenizer="characters", vocabulary_size=20)
    assert reader.pieces(reader.cut(tf.constant(["cab"]))).to_list() == [[b"c", b"a", b"b"]]
    known = reader.cut(tf.constant(["abc"])).to_list()[0]
    assert UNK not in known
    assert reader.cut(tf.constant(["x"])).to_list() == [[UNK]]


def test_the_words_of_a_corpus_are_counted_without_being_kept() -> None:
    rows = datasets.Dataset.from_dict({"text": [" ".join(map(str, range(50)))] * 10_000})
    learn_reader(ClassifierRun(output="unused"), rows.select(range(1)))  # what is made once for all
    tracemalloc.start()
    learn_reader(ClassifierRun(output="unused"), rows)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # As Python strings, half a million words take 26 MB.
    assert most < 15e6
