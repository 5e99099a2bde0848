"""Rows of any source as rows with a task's standard columns, checked one by one."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pyarrow as pa

from nlp_rnn.config import ConfigError, DataConfig
from nlp_rnn.readers import DataError
from nlp_rnn.settings import nearest

Task = Literal["classification", "tagging", "translation", "language_modelling"]

COLUMNS: dict[Task, tuple[str, ...]] = {
    "classification": ("text", "label"),
    "tagging": ("tokens", "tags"),
    "translation": ("source", "target"),
    "language_modelling": ("text",),
}

Row = dict[str, Any]
At = Callable[[], str]
"""Says where a row is, for a message."""


def columns(data: DataConfig, task: Task) -> dict[str, str]:
    """Returns a task's standard columns, and what the data call them."""
    names = COLUMNS[task]
    if task == "classification" and data.text_pair_column is not None:
        names = ("text", "text_pair", "label")
    return {standard: getattr(data, f"{standard}_column") or standard for standard in names}


def schema(data: DataConfig, task: Task) -> pa.Schema:
    """Returns the types of a task's standard columns."""
    lists = {"tokens", "tags"} | ({"label"} if data.multi_label else set())
    return pa.schema([(name, pa.list_(pa.string()) if name in lists else pa.string()) for name in columns(data, task)])


class RowReader:
    """Picks and checks the values of rows.

    Args:
        data: How columns and languages are called.
        task: Whose standard columns are wanted.

    Attributes:
        dropped: What was left out of the rows read so far, and how often.

    Raises:
        ConfigError: `data` names one language of two.
    """

    def __init__(self, data: DataConfig, task: Task) -> None:
        if (data.source_language is None) != (data.target_language is None):
            raise ConfigError("source_language and target_language belong together: give both or neither.")
        self._data = data
        self._task = task
        self._columns = columns(data, task)
        self.dropped: Counter[str] = Counter()

    def read(self, row: Mapping[str, Any], at: At) -> Row | None:
        """Returns the standard columns of one row, or None for a row to leave out.

        Args:
            row: As the source has it.
            at: Says where the row is.

        Raises:
            DataError: A column or a value is missing, or holds something else.
        """
        picked = self._pick(row, at)
        if self._task == "tagging":
            return self._tagged(picked["tokens"], picked["tags"], at)
        values = {
            column: self._label(value, at) if column == "label" else self._text(column, value, at)
            for column, value in picked.items()
        }
        # A blank line is part of running text, but neither an example nor a translation.
        blank = any(not str(value).strip() for column, value in values.items() if column != "label")
        if blank and self._task != "language_modelling":
            self.dropped["rows with blank text"] += 1
            return None
        return values

    def _pick(self, row: Mapping[str, Any], at: At) -> Row:
        if self._task == "translation" and self._data.source_language is not None:
            pair = _column(row, "translation", at, "source-column and --target-column")
            if not isinstance(pair, Mapping):
                raise DataError(f"{at()}: column 'translation' must map languages to sentences, not hold {pair!r:.60}.")
            languages = {"source": self._data.source_language, "target": self._data.target_language}
            return {side: _language(pair, str(code), at, side) for side, code in languages.items()}
        return {
            standard: _column(row, column, at, f"{standard.replace('_', '-')}-column")
            for standard, column in self._columns.items()
        }

    def _text(self, column: str, value: Any, at: At) -> str:
        if value is None:
            raise DataError(f"{at()}: no value in column {self._columns[column]!r}. Fill it or remove the row.")
        if not isinstance(value, str):
            raise DataError(f"{at()}: column {self._columns[column]!r} must hold text, not {value!r:.60}.")
        return value

    def _label(self, value: Any, at: At) -> str | list[str]:
        if not self._data.multi_label:
            return self._class(value, at)
        if isinstance(value, str):  # of a table's cell; an empty one has no labels
            value = [name.strip() for name in value.split(",") if name.strip()]
        names = value if isinstance(value, list) else [value]
        return list(dict.fromkeys(self._class(name, at) for name in names))

    def _class(self, value: Any, at: At) -> str:
        column = self._columns["label"]
        # A table with missing values has them as NaN, and all its numbers with a point.
        if isinstance(value, float) and math.isnan(value):
            value = None
        if isinstance(value, float):
            if not value.is_integer():
                raise DataError(
                    f"{at()}: column {column!r} must hold the name or number of a class, not {value!r}. "
                    "Classify values first, such as into ranges."
                )
            value = int(value)
        return _label(value, column, at)

    def _tagged(self, tokens: Any, tags: Any, at: At) -> Row | None:
        for standard, value in (("tokens", tokens), ("tags", tags)):
            column = self._columns[standard]
            if value is None or (isinstance(value, list) and None in value):
                raise DataError(f"{at()}: no value in column {column!r}. Fill it or remove the row.")
            if not isinstance(value, list):
                raise DataError(
                    f"{at()}: column {column!r} must hold a list, not {value!r:.60}. "
                    "Tagged text is read from CoNLL, CoNLL-U, JSON and Parquet."
                )
        if len(tokens) != len(tags):
            raise DataError(f"{at()}: expected one tag a token, found {len(tokens)} tokens and {len(tags)} tags.")
        words = [self._text("tokens", token, at) for token in tokens]
        kept = [
            (word, _label(tag, self._columns["tags"], at))
            for word, tag in zip(words, tags, strict=True)
            if word.strip()
        ]
        self.dropped["blank tokens"] += len(words) - len(kept)
        if not kept:
            self.dropped["sentences without tokens"] += 1
            return None
        return {"tokens": [word for word, _ in kept], "tags": [tag for _, tag in kept]}


def _column(row: Mapping[str, Any], column: str, at: At, flag: str) -> Any:
    try:
        return row[column]
    except KeyError:
        mend = f"Name the column with --{flag}."
        if "translation" in row and column in ("source", "target"):
            mend = "Name the languages with --source-language and --target-language."
        elif list(row) == ["text"]:
            mend = "If the file is not plain text, name its format with --format."
        there = ", ".join(map(repr, row))
        raise DataError(
            f"{at()}: there is no column {column!r}; there are {there}.{nearest(column, row)} {mend}"
        ) from None


def _language(pair: Mapping[str, Any], language: str, at: At, side: str) -> Any:
    if language not in pair:
        raise DataError(
            f"{at()}: there is no language {language!r}; there are {', '.join(map(repr, pair))}. "
            f"Name one with --{side}-language."
        )
    return pair[language]


def _label(value: Any, column: str, at: At) -> str:
    if value is None or value == "":
        raise DataError(f"{at()}: no value in column {column!r}. Fill it or remove the row.")
    if not isinstance(value, str | int | float):
        several = " Are there several? Then set multi_label." if isinstance(value, list) else ""
        raise DataError(f"{at()}: column {column!r} must hold a name or a number, not {value!r:.60}.{several}")
    return str(value)
