"""Pre-trained vectors: the formats in use, which rows are read, and files that are no vectors."""

from pathlib import Path

import numpy as np
import pytest

from nlp_rnn.readers import DataError
from nlp_rnn.vectors import read_vectors

ROWS = "the 1 2 3\nof -4 5e-1 .25\ncat 7 8 9\nÄrger 0 0 1\n"
VECTORS = {"the": [1, 2, 3], "of": [-4, 0.5, 0.25], "cat": [7, 8, 9], "Ärger": [0, 0, 1]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vectors.txt"


def write(file: Path, content: str | bytes) -> Path:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def read(file: Path, content: str | bytes, *, needed: tuple[str, ...] = (), most: int = 9) -> dict[str, list[float]]:
    words, values = read_vectors(write(file, content), needed=needed, most=most)
    assert values.dtype == np.float32 and len(words) == len(values)
    return dict(zip(words, values.tolist(), strict=True))


@pytest.mark.parametrize(
    "content",
    [ROWS, "4 3\n" + ROWS, "4 3\n" + ROWS.replace("\n", " \n"), ROWS.replace("\n", "\r\n"), ROWS[:-1], "\n" + ROWS],
    ids=["glove", "word2vec", "fasttext", "crlf", "no last line feed", "blank line"],
)
def test_every_format_gives_the_same(file: Path, content: str) -> None:
    assert read(file, content) == VECTORS
    assert list(read(file, content)) == list(VECTORS)


@pytest.mark.parametrize("header", ["", "4 3\n"])
def test_the_first_rows_and_the_needed_ones_are_read(file: Path, header: str) -> None:
    assert list(read(file, header + ROWS, needed=("cat", "unseen"), most=1)) == ["the", "cat"]
    assert list(read(file, header + ROWS, needed=("Ärger", "of"), most=0)) == ["of", "Ärger"]
    assert list(read(file, header + ROWS, most=2)) == ["the", "of"]


def test_rows_that_nobody_needs_are_not_parsed(file: Path) -> None:
    broken = "the 1 2 3\ncat 4 5 6\nof no numbers here\ndog 7 8 9\nlast"
    assert list(read(file, broken, needed=("dog",), most=2)) == ["the", "cat", "dog"]


def test_a_row_without_numbers_is_not_taken_for_a_needed_word(file: Path) -> None:
    assert list(read(file, "cat 4 5 6\nowls\nowl 7 8 9\n", needed=("owl",), most=0)) == ["owl"]


def test_vectors_of_one_number(file: Path) -> None:
    assert read(file, "a 1\nb 2\n") == {"a": [1], "b": [2]}
    assert read(file, "2 1\na 1\nb 2\n") == {"a": [1], "b": [2]}
    # Two whole numbers are a header, so that these are not the word 7 and its number.
    with pytest.raises(DataError, match="line 2: expected 5 numbers after the word as in the other rows, found 1"):
        read(file, "7 5\na 1\nb 2\n")


def test_of_a_word_s_vectors_the_first_is_kept(file: Path) -> None:
    assert read(file, "a 1 2\nb 3 4\na 5 6\n", needed=("a",), most=9) == {"a": [1, 2], "b": [3, 4]}


@pytest.mark.parametrize("first", ["a 1 2 3\nb 4 5 6\n", ""])
def test_words_may_contain_spaces(file: Path, first: str) -> None:
    """GloVe's largest files have such words."""
    content = first + ". . . 7 8 9\nat x@y.org 1 1 1\nc 0 0 0\nd 0 0 0\n"
    assert read(file, content)[". . ."] == [7, 8, 9]
    assert read(file, content, needed=("at x@y.org", ". ."), most=0) == {"at x@y.org": [1, 1, 1]}


def test_other_spaces_belong_to_the_word(file: Path) -> None:
    assert read(file, "1\u00a01/2 1 2\n\u3000 3 4\na\x0bb 5 6\n") == {
        "1\u00a01/2": [1, 2],
        "\u3000": [3, 4],
        "a\x0bb": [5, 6],
    }


def test_words_that_are_not_utf8_are_passed_over(file: Path) -> None:
    assert read(file, b"\xff\xfe 1 2\nb 3 4\nc\xc3 5 6\n") == {"b": [3, 4]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a 1 2 3\nb 1 2\nc 1 2 3\n", "line 2: expected 3 numbers after the word as in the other rows, found 2"),
        ("a 1 2 3\nb 1 2 3 4\nc 1 2 3\n", "line 2: expected 3 numbers after the word as in the other rows, found 4"),
        ("a 1 2\nb 1 2 3\nc 1 2 3\n", "line 1: expected 3 numbers after the word as in the other rows, found 2"),
        ("2 2\na 1 2\nb 1 2 3\n", "line 3: expected 2 numbers after the word as in the other rows, found 3"),
        ("3 2\na 1 2\n\nb 1 x\n", "line 4: expected 2 numbers after the word; one of them is none"),
        ("2 99999999999999999999\na 1 2\nb 1 2\n", "line 1: expected 2 numbers after the word .*, found 1"),
        ("2 " + "9" * 5000 + "\na 1 2\nb 1 2\n", "line 1: expected 2 numbers after the word .*, found 1"),
        ("2 0\na 1 2\n", "line 1: expected a word and its numbers, separated by spaces, found '2 0'"),
        ("a 1 inf\n", "line 1: expected finite numbers"),
        ("a 1 nan\n", "line 1: expected finite numbers"),
        ("a 1 1e39\n", "line 1: expected finite numbers"),
        ("", "there are no vectors in it"),
        (" \n\n", "there are no vectors in it"),
        ("400000 300\n", "there are no vectors in it"),
        ("some\ntext\n", "line 1: expected a word and its numbers, separated by spaces, found 'some'"),
        ("a\t1\t2\n", "separated by spaces, found 'a\\\\t1\\\\t2'. Unpack compressed files first"),
    ],
)
def test_what_is_no_table_of_vectors_is_refused(file: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(file, content)
    assert str(file) in str(caught.value)


def test_vectors_of_another_language_or_case_are_refused(file: Path) -> None:
    with pytest.raises(DataError, match="knows none of the 2 training words: is it of their language and case"):
        read(file, ROWS, needed=("CAT", "OF"))
    assert list(read(file, ROWS, needed=("CAT", "of"), most=0)) == ["of"]


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.txt", tmp_path):
        with pytest.raises(DataError, match=f"Cannot read {path}"):
            read_vectors(path, needed=(), most=1)


def test_many_rows_agree_with_numpy_s_reader(file: Path) -> None:
    expected = np.random.default_rng(1).normal(size=(500, 20)).astype(np.float32)
    names = [f"w{row}" for row in range(500)]
    rows = (" ".join([name, *map(repr, vector.tolist())]) for name, vector in zip(names, expected, strict=True))
    write(file, "\n".join(rows))
    words, values = read_vectors(file, needed=names[::7], most=100)
    kept = [row for row in range(500) if row < 100 or row % 7 == 0]
    assert words == [names[row] for row in kept]
    np.testing.assert_array_equal(values, np.loadtxt(file, usecols=range(1, 21), dtype=np.float32)[kept])
