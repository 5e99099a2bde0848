"""Pre-trained word vectors in the text formats of GloVe, word2vec and fastText."""

import itertools
import mmap
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from nlp_rnn.readers import DataError

# Rows that tell how many numbers a word has where no header does: the most frequent width is that of a row.
_ROWS_TO_MEASURE = 100
# Digits of the numbers in a header.
_LONGEST_COUNT = 12


def read_vectors(path: str | Path, *, needed: Collection[str], most: int) -> tuple[list[str], np.ndarray]:
    """Reads the vectors of some words, and those of the first in the file, which are the most frequent.

    The file is memory-mapped; only the rows that are kept are parsed and
    checked, and what comes after the last of them is not read.

    Args:
        path: A word and its numbers a line, separated by spaces. A first line
            of two whole numbers, as word2vec and fastText write it, tells
            the vectors' size; it is never taken for a word and its only
            number. Words may contain spaces, as in GloVe's larger files. Rows whose word is not UTF-8 are passed over.
        needed: Words to be read wherever they stand, spelt as in the file.
        most: How many rows from the start are read besides.

    Returns:
        The words in the file's order, each once with its first vector, and
        float32 (words, size).

    Raises:
        DataError: The file cannot be read, holds no vectors, has rows of
            different widths or a number that is none, or knows no needed word.
    """
    wanted = {word.encode("utf-8", "surrogatepass") for word in needed}
    # What stands before the first space decides at little cost whether a row needs to be parsed.
    beginnings = {word.partition(b" ")[0] for word in wanted}
    lines = _lines(Path(path))
    head = list(itertools.islice(lines, _ROWS_TO_MEASURE))
    size, header = _size(head, path)
    vectors: dict[bytes, np.ndarray] = {}
    missing = set(wanted)
    for row, (number, line) in enumerate(itertools.chain(head[header:], lines)):
        if row >= most and not missing:
            break
        if row >= most and line.partition(b" ")[0] not in beginnings:
            continue
        word, numbers = _parts(line, size, f"{path}, line {number}")
        if word in vectors or (row >= most and word not in wanted) or not _is_text(word):
            continue
        vectors[word] = _vector(numbers, f"{path}, line {number}")
        missing.discard(word)
    if wanted and len(missing) == len(wanted):
        raise DataError(f"{path} knows none of the {len(wanted):,} training words: is it of their language and case?")
    if not vectors:
        raise DataError(f"{path}: there are no vectors in it.")
    return [word.decode("utf-8") for word in vectors], np.stack(list(vectors.values()))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Gives line numbers from 1, and lines that are not blank."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for number, line in enumerate(iter(content.readline, b""), 1):
                    stripped = line.strip(b" \r\n")
                    if stripped:
                        yield number, stripped
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error


def _size(head: list[tuple[int, bytes]], path: str | Path) -> tuple[int, int]:
    """Returns how many numbers a vector has, and how many of the first lines are a header."""
    fields = [line.split(b" ") for _, line in head]
    header = int(bool(fields) and len(fields[0]) == 2 and all(map(_is_count, fields[0])))
    if len(fields) == header:
        raise DataError(f"{path}: there are no vectors in it.")
    size = int(fields[0][1]) if header else Counter(map(len, fields)).most_common(1)[0][0] - 1
    if size < 1:
        shown = head[0][1][:60].decode("utf-8", "replace")
        raise DataError(
            f"{path}, line {head[0][0]}: expected a word and its numbers, separated by spaces, found {shown!r}. "
            "Unpack compressed files first, and write binary ones as text."
        )
    return size, header


def _parts(line: bytes, size: int, place: str) -> tuple[bytes, list[bytes]]:
    """Returns a row's word and numbers, which are counted from the right."""
    word, *numbers = line.rsplit(b" ", size)
    before = word.split(b" ")
    found = len(numbers) + sum(map(_is_number, before[1:]))
    # A word may contain spaces, but one that ends in a number is the sign of a row that is too long.
    if len(numbers) < size or (len(before) > 1 and _is_number(before[-1])):
        raise DataError(f"{place}: expected {size} numbers after the word as in the other rows, found {found}.")
    return word, numbers


def _is_count(field: bytes) -> bool:
    return field.isdigit() and len(field) <= _LONGEST_COUNT


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _is_text(word: bytes) -> bool:
    try:
        word.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _vector(numbers: list[bytes], place: str) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            vector = np.array(numbers, np.float32)
    except ValueError:
        raise DataError(f"{place}: expected {len(numbers)} numbers after the word; one of them is none.") from None
    if not np.isfinite(vector).all():
        raise DataError(f"{place}: expected finite numbers; one of them is NaN, infinite or too large.")
    return vector
