"""Local files as rows: one small generator for each format, nothing held in memory.

Every reader yields `(number, row)`: the line (or row) a user can look up, and a
dictionary from column to value. Text is taken as it stands, but for the line
feed (LF or CRLF) at its end; only a line feed ends a line, so that U+2028,
vertical tabs and the like stay inside their sentence.
"""

import csv
import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets

from nlp_rnn import parquet
from nlp_rnn.config import ConfigError, DataError
from nlp_rnn.settings import nearest

Rows = Iterator[tuple[int, Mapping[str, Any]]]

CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")

_FORMATS = {
    "jsonl": "jsonl",
    "json": "json",
    "csv": "csv",
    "tsv": "tsv",
    "parquet": "parquet",
    "txt": "txt",
    "conllu": "conllu",
    "conll": "conll",
    "iob": "conll",
    "bio": "conll",
}
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_BATCH_ROWS = 1000
_CHUNK_CHARACTERS = 1 << 16
# The csv module stops at 128 KiB a cell unless told otherwise; documents can be
# longer, and a forgotten quote must still not read a whole file into one cell.
_LONGEST_CELL = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows, and how to speak of one of them.

    Attributes:
        name: The file or data set, as the user knows it.
        unit: What `rows` counts.
        rows: The rows with their numbers, from 1; can be read once.
        stream: What they are read from, if that is a streamed data set.
    """

    name: str
    unit: Literal["line", "row"]
    rows: Rows
    stream: datasets.IterableDataset | None = None

    def at(self, number: int) -> str:
        """Returns where a row is, for a message."""
        return f"{self.name}, {self.unit} {number}"


def format_of(path: str, override: str | None) -> str:
    """Returns the format a file is read as; an unknown extension is plain text.

    Raises:
        DataError: `override` is no format.
    """
    if override is None:
        extension = Path(path).suffix.lower()
        if extension in _PACKED:
            raise DataError(f"{path} is packed, and only plain files are read: unpack it first.")
        return _FORMATS.get(extension[1:], "txt")
    if override not in _FORMATS:
        raise DataError(
            f"Unknown format {override!r}: expected one of {', '.join(_FORMATS)}.{nearest(override, _FORMATS)}"
        )
    return _FORMATS[override]


def check_file(path: str) -> None:
    """Raises DataError unless `path` is a file that can be read."""
    if Path(path).is_dir():
        raise DataError(f"{path} is a folder: expected a file. A folder of data files is read with --dataset.")
    try:
        open(path, "rb").close()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error


def read(path: str, form: str, *, columns: tuple[str, ...], header: bool, tag_column: str) -> Source:
    """Opens one local file.

    Args:
        path: The file.
        form: What `format_of` returned.
        columns: Names for the columns of a table without a header; if there
            are none, the columns are called "1", "2" and so on.
        header: Whether a TSV begins with the names of its columns.
        tag_column: The CoNLL-U column that holds the tags.

    Raises:
        DataError: While the rows are read: one of them is malformed.
        ConfigError: `tag_column` is not a column of CoNLL-U.
    """
    if form == "conllu" and tag_column not in CONLLU_COLUMNS:
        raise ConfigError(
            f"tag_column must be one of {', '.join(CONLLU_COLUMNS)}, not {tag_column!r}."
            f"{nearest(tag_column, CONLLU_COLUMNS)}"
        )
    openers: dict[str, Callable[[], Rows]] = {
        "txt": lambda: _read_text(path),
        "tsv": lambda: _read_tsv(path, columns, header),
        "csv": lambda: _read_csv(path),
        "json": lambda: _read_json(path),
        "jsonl": lambda: _read_json_lines(path),
        "parquet": lambda: _read_parquet(path),
        "conll": lambda: _read_conll(path),
        "conllu": lambda: _read_conllu(path, CONLLU_COLUMNS.index(tag_column)),
    }
    row_numbers = form == "parquet" or (form == "json" and _first_character(path) == "[")
    return Source(name=path, unit="row" if row_numbers else "line", rows=openers[form]())


def read_parallel(source: str, target: str) -> Source:
    """Opens two text files whose lines with the same number are translations of each other.

    Raises:
        DataError: While the rows are read: one file has more lines.
    """
    return Source(name=f"{source} and {target}", unit="line", rows=_read_parallel(source, target))


def read_dataset(dataset: datasets.Dataset | datasets.IterableDataset, name: str) -> Source:
    """Opens a loaded data set; class numbers become class names."""
    if isinstance(dataset, datasets.IterableDataset):
        rows = named_rows(dataset.iter(batch_size=_BATCH_ROWS), dataset.features)
        return Source(name=name, unit="row", rows=rows, stream=dataset)
    return Source(name=name, unit="row", rows=named_rows(dataset.with_format(None).iter(_BATCH_ROWS), dataset.features))


def lines(path: str) -> Iterator[tuple[int, str]]:
    """Yields the numbered lines of a UTF-8 file without their line feeds.

    Raises:
        DataError: A line is not UTF-8.
    """
    for number, line in _raw_lines(path):
        yield number, _without_line_feed(line)


def _raw_lines(path: str) -> Iterator[tuple[int, str]]:
    with open(path, "rb") as file:  # a binary file is split at line feeds alone
        for number, raw in enumerate(file, start=1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, line {number}: byte 0x{error.object[error.start]:02x} is not UTF-8. "
                    "Convert the file first, for example with iconv -f WINDOWS-1252 -t UTF-8."
                ) from error


def _without_line_feed(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _read_text(path: str) -> Rows:
    for number, line in lines(path):
        yield number, {"text": line}


def _read_parallel(source: str, target: str) -> Rows:
    counts = [0, 0]
    for left, right in itertools.zip_longest(lines(source), lines(target)):
        for side, line in enumerate((left, right)):
            counts[side] += line is not None
        if left is not None and right is not None:
            yield left[0], {"source": left[1], "target": right[1]}
    if counts[0] != counts[1]:
        raise DataError(
            f"Parallel files must have equally many lines: {source} has {counts[0]:,}, {target} has {counts[1]:,}."
        )


def _read_tsv(path: str, columns: tuple[str, ...], header: bool) -> Rows:
    names = columns
    for number, line in lines(path):
        cells = line.split("\t")
        if not names:
            names = tuple(map(str, range(1, len(cells) + 1)))
        if header and number == 1:
            names = tuple(cells)
        elif line.strip(" ") or len(names) == 1:
            _check_width(cells, names, f"{path}, line {number}", "separated by TAB")
            yield number, dict(zip(names, cells, strict=True))


def _read_csv(path: str) -> Rows:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    reader = csv.reader((line for _, line in _raw_lines(path)), strict=True)
    names: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            if names is None:
                names = cells
            elif cells:
                _check_width(cells, names, f"{path}, line {start}", "separated by commas; a comma in text needs quotes")
                yield start, dict(zip(names, cells, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, the row from line {start} on is not CSV: {error}. Is a quote not closed?") from error


def _check_width(cells: list[str], names: Iterable[str], place: str, how: str) -> None:
    names = list(names)
    if len(cells) != len(names):
        raise DataError(f"{place}: expected {len(names)} columns ({', '.join(names)}), found {len(cells)} ({how}).")


def _first_character(path: str) -> str:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        while window := file.read(_CHUNK_CHARACTERS):
            if window.strip():
                return window.lstrip()[0]
    return ""


def _read_json(path: str) -> Rows:
    return _read_json_array(path) if _first_character(path) == "[" else _read_json_lines(path)


def _read_json_lines(path: str) -> Rows:
    for number, line in lines(path):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:  # a number may have too many digits
                raise DataError(f"{place}: expected one JSON object a line; {error}.") from error
            yield number, _json_object(value, place, line)


def _read_json_array(path: str) -> Rows:
    """Reads a JSON array of objects through a window, never the whole file at once."""
    decoder, separators = json.JSONDecoder(), re.compile(r"[\s,]*")
    number = 0
    try:
        with open(path, encoding="utf-8-sig") as file:
            window = file.read(_CHUNK_CHARACTERS).lstrip()[1:]
            position = 0
            while True:
                position = _end(separators.match(window, position))
                if position < len(window) and window[position] == "]":
                    _require_nothing_more(window[position + 1 :] + file.read(_CHUNK_CHARACTERS), path, number)
                    return
                try:
                    value, end = decoder.raw_decode(window, position)
                except json.JSONDecodeError as error:
                    # Perhaps the window ends inside the object. It doubles, so that retries cost no more than reading.
                    more = file.read(max(_CHUNK_CHARACTERS, len(window) - position))
                    if not more:
                        raise DataError(
                            f"{path}, row {number + 1}: not a JSON array of objects; {error.msg}."
                        ) from error
                    window, position = window[position:] + more, 0
                    continue
                except RecursionError as error:
                    raise DataError(f"{path}, row {number + 1}: nested too deeply to be an example.") from error
                except ValueError as error:
                    raise DataError(f"{path}, row {number + 1}: cannot be an example; {error}.") from error
                number += 1
                yield number, _json_object(value, f"{path}, row {number}", window[position:end])
                position = end
    except UnicodeDecodeError:
        deque(lines(path), maxlen=0)  # reads to the same byte again, and raises with its line


def _require_nothing_more(rest: str, path: str, rows: int) -> None:
    if rest.strip():
        raise DataError(
            f"{path}: expected the end of the file after the array of {rows} rows, found {rest.strip()[:60]!r}. Of "
            "several arrays make one, or write one JSON object a line."
        )


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match else 0


def _json_object(value: Any, place: str, written: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f'{place}: expected a JSON object such as {{"text": …}}, found {written[:60].strip()}.')
    if "\\ud" in written.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{place}: half of a surrogate pair (an escape \\ud800 to \\udfff alone) is no text."
            ) from error
    return value


def _read_parquet(path: str) -> Rows:
    with parquet.opened(path) as (features, batches):
        yield from named_rows(batches, features)


def named_rows(batches: Iterable[Mapping[str, list[Any]]], features: datasets.Features | None) -> Rows:
    """Yields the rows of batches, numbered from 1, with class names instead of class numbers.

    Args:
        batches: The values of some rows, by column.
        features: What the columns hold; a stream does not always know.
    """
    classes = {column: class_names(feature) for column, feature in (features or {}).items()}
    number = 0
    for batch in batches:
        columns = [
            [_class_name(value, names) for value in values] if (names := classes.get(column)) else values
            for column, values in batch.items()
        ]
        for values in zip(*columns, strict=True):
            number += 1
            yield number, dict(zip(batch, values, strict=True))


def class_names(feature: Any) -> list[str] | None:
    """Returns the names of a ClassLabel, alone or inside a list."""
    inner = getattr(feature, "feature", feature)
    return inner.names if isinstance(inner, datasets.ClassLabel) else None


def _class_name(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_class_name(item, names) for item in value]
    # The hub marks a label that is kept secret with -1.
    return names[value] if value is not None and value >= 0 else None


def _read_conll(path: str) -> Rows:
    """Reads token first, tag last; a line of white space ends a sentence."""
    tokens: list[str] = []
    tags: list[str] = []
    start = width = 0
    for number, line in lines(path):
        if not line.strip():
            if tokens:
                yield start, {"tokens": tokens, "tags": tags}
            tokens, tags = [], []
            continue
        cells = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
        width = width or len(cells)
        if len(cells) != width or width < 2 or not cells[-1].strip():
            wanted = f"{width} columns as in the lines before" if width > 1 else "at least 2 columns"
            raise DataError(
                f"{path}, line {number}: expected {wanted}, the token first and the tag last, found {len(cells)}: "
                f"{line[:60]!r}."
            )
        if cells[0] == "-DOCSTART-":
            continue
        start = start if tokens else number
        tokens.append(cells[0])
        tags.append(cells[-1])
    if tokens:
        yield start, {"tokens": tokens, "tags": tags}


def _read_conllu(path: str, tag_index: int) -> Rows:
    """Reads CoNLL-U; multiword tokens (id `1-2`) and empty nodes (id `1.1`) are no words of their own."""
    tokens: list[str] = []
    tags: list[str] = []
    start = 0
    for number, line in lines(path):
        if not line.strip():
            if tokens:
                yield start, {"tokens": tokens, "tags": tags}
            tokens, tags = [], []
        elif not line.startswith("#"):
            cells = line.split("\t")
            _check_width(cells, CONLLU_COLUMNS, f"{path}, line {number}", "separated by TAB")
            if cells[0].isdecimal():
                start = start if tokens else number
                tokens.append(cells[1])
                tags.append(cells[tag_index])
    if tokens:
        yield start, {"tokens": tokens, "tags": tags}
