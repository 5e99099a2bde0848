"""Pre-trained word vectors in the text formats of GloVe, word2vec and fastText."""

import mmap
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from nlp_rnn.readers import DataError


def read_vectors(path: str | Path, *, needed: Collection[str], most: int) -> tuple[list[str], np.ndarray]:
    """Reads the vectors of some words, and those of the first in the file, which are the most frequent.

    The file is memory-mapped, and only the rows that are kept are parsed.

    Args:
        path: A word and its numbers a line, separated by spaces; a first line
            of two numbers, as word2vec and fastText write it, is passed over.
        needed: Words to be read wherever they stand.
        most: How many rows from the start are read besides.

    Returns:
        The words in the file's order, each once, and float32 (words, size).

    Raises:
        DataError: The file cannot be read, holds no vectors, has rows of
            different widths or a number that is none, or knows no needed word.
    """
    wanted = {word.encode("utf-8", "surrogatepass") for word in needed}
    words: dict[bytes, np.ndarray] = {}
    found, size = 0, None
    for number, row, line in _lines(Path(path)):
        if number == 1 and len(line.split()) == 2:
            continue
        if size is None:
            size = len(line.split()) - 1
            if size < 1:
                raise DataError(f"{path}, line {number}: expected a word and its numbers, found {_shown(line)!r}.")
        parts = line.rsplit(b" ", size)
        word = parts[0]
        if word in words or (row >= most and word not in wanted):
            continue
        words[word] = _numbers(parts[1:], size, f"{path}, line {number}")
        found += word in wanted
    if not words:
        raise DataError(f"{path}: there are no vectors in it.")
    if wanted and not found:
        raise DataError(f"{path} knows none of the {len(wanted):,} training words: is it of their language and case?")
    return [word.decode("utf-8", "replace") for word in words], np.stack(list(words.values()))


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Gives line numbers from 1, row numbers from 0, and lines that are not blank."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                row = 0
                for number, line in enumerate(iter(content.readline, b""), 1):
                    stripped = line.strip(b" \r\n\t")
                    if stripped:
                        yield number, row, stripped
                        row += 1
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error


def _numbers(parts: list[bytes], size: int, place: str) -> np.ndarray:
    if len(parts) != size:
        raise DataError(f"{place}: expected {size} numbers after the word, found {len(parts)}.")
    try:
        vector = np.array(parts, np.float32)
    except ValueError:
        raise DataError(f"{place}: expected {size} numbers after the word; one of them is none.") from None
    if not np.isfinite(vector).all():
        raise DataError(f"{place}: expected finite numbers; one of them is NaN or infinite.")
    return vector


def _shown(line: bytes) -> str:
    return line[:60].decode("utf-8", "replace")
