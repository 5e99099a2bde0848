"""Corpora: hub ids, stored data sets, local files and samples as one thing with standard columns.

Whatever the origin, rows are read as a stream, checked one by one, and written
to an Arrow file that is then memory-mapped, so that a corpus may be larger than
the memory. Of a data set that is to stay a stream only the first rows are; see
`nlp_rnn.streams` for the others. The files lie in a folder below the system's
temporary one (`TMPDIR` moves it) that is removed when the process ends.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import datasets
import pyarrow as pa

from nlp_rnn import hub, readers, rows, scratch
from nlp_rnn.config import ConfigError, DataConfig
from nlp_rnn.readers import DataError, Source
from nlp_rnn.rows import COLUMNS, Row, RowReader, Task
from nlp_rnn.streams import Stream

__all__ = ["COLUMNS", "Corpus", "DataError", "Split", "Task", "load", "load_split"]

Split = Literal["train", "validation", "test"]

_SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
_BATCH_ROWS = 1000
_HASHES = 1 << 32


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus with standard columns (`COLUMNS`), in Arrow files on disk.

    Attributes:
        train: What the model learns from; of a stream, its first rows.
        validation: What the best checkpoint is chosen by.
        notes: What the user should know of how this came to be.
        stream: What the model learns from, if it is read meanwhile.
        own_validation: Whether the validation set is that of the data set,
            neither a user's files nor held out of train.
    """

    train: datasets.Dataset
    validation: datasets.Dataset
    notes: tuple[str, ...]
    stream: Stream | None = None
    own_validation: bool = False


def load(data: DataConfig, task: Task) -> Corpus:
    """Loads what a model is trained with and what its best checkpoint is chosen by; a test set is left alone.

    Without a validation set, part of train is held out: the rows whose text
    hashes low, so that the same text is never on both sides and the same rows
    are held out every time.

    Raises:
        DataError: A file, data set, column or row is not what it should be.
        ConfigError: The settings contradict each other.
    """
    _require_used(data)
    sources = _open(data, task, ("train", "validation"))
    notes: list[str] = []
    if "train" not in sources:
        raise ConfigError("There is nothing to train on: give --dataset or --train.")
    reading = _Reading(data, task)
    first_rows = _beginning(sources["train"], data.stream_sample)
    held_out: Callable[[Row], bool] = lambda row: False  # noqa: E731
    if "validation" in sources:
        train = reading.store(first_rows, notes)
        validation = reading.store(_beginning(sources["validation"], data.stream_sample), notes)
        notes.extend(
            f"{source.name}: only the first {data.stream_sample:,} rows are used."
            for source in sources["validation"]
            if source.stream is not None and next(source.rows, None) is not None
        )
    else:
        train, validation, held_out = reading.hold_out(first_rows, notes)
    stream = _stream(data, task, sources["train"][0], held_out) if data.streaming else None
    if stream is not None:
        notes.append(f"{stream.name} is read as a stream: vocabulary and lengths are those of its first rows.")
    own_validation = "validation" in sources and not data.validation
    return Corpus(train=train, validation=validation, notes=tuple(notes), stream=stream, own_validation=own_validation)


def _require_used(data: DataConfig) -> None:
    """Refuses settings that a training would pass over.

    Not where the settings are made: those of a model that was trained before must still be read.
    """
    if data.test:
        raise ConfigError("test is for evaluate.py: nothing is learned from a test set. Leave --test out here.")
    usual = DataConfig()
    for name in ("stream_sample", "shuffle_buffer"):
        if not data.streaming and getattr(data, name) != getattr(usual, name):
            raise ConfigError(f"{name} is for streams: give --streaming too, or leave it out.")


def _beginning(sources: list[Source], most: int) -> list[Source]:
    """Returns sources of which no more than so many rows are read, if they are streams."""
    return [
        source if source.stream is None else dataclasses.replace(source, rows=itertools.islice(source.rows, most))
        for source in sources
    ]


def _stream(data: DataConfig, task: Task, source: Source, held_out: Callable[[Row], bool]) -> Stream:
    assert source.stream is not None  # DataConfig has seen to it
    *_, last = rows.columns(data, task).values()
    return Stream(
        source.stream,
        name=source.name,
        reader=RowReader(data, task),
        window=data.shuffle_buffer,
        held_out=held_out,
        class_names=tuple(readers.class_names((source.stream.features or {}).get(last)) or ()),
    )


def load_split(data: DataConfig, task: Task, split: Split = "test") -> tuple[datasets.Dataset, tuple[str, ...]]:
    """Loads one split alone: local files if `data` names any for it, else that split of the data set.

    Returns:
        The data set with standard columns, and notes as in `Corpus`.

    Raises:
        DataError: As `load`.
        ConfigError: As `load`.
    """
    sources = _open(data, task, (split,))
    if split not in sources:
        raise ConfigError(f"There is no {split} set: give --{split} FILE, or --dataset with such a split.")
    notes: list[str] = []
    return _Reading(data, task).store(sources[split], notes), tuple(notes)


class _Reading:
    """Rows of any source as rows with a task's standard columns, in an Arrow file."""

    def __init__(self, data: DataConfig, task: Task) -> None:
        self._data = data
        self._reader = RowReader(data, task)
        self._schema = rows.schema(data, task)

    def store(self, sources: list[Source], notes: list[str]) -> datasets.Dataset:
        """Writes all rows to one data set."""
        with _ArrowFile(self._schema) as file:
            for row in self._rows(sources):
                file.write(row)
        self._note_dropped(sources, notes)
        _require_rows(file, sources)
        return file.dataset()

    def hold_out(
        self, sources: list[Source], notes: list[str]
    ) -> tuple[datasets.Dataset, datasets.Dataset, Callable[[Row], bool]]:
        """Writes all rows to two data sets, the larger one and the one held out; also returns which rows that takes."""
        bound = max(1, round(self._data.validation_share * _HASHES))
        train, held_out, lowest = _divide(self._rows(sources), self._schema, bound)
        self._note_dropped(sources, notes)
        if not held_out.count:  # only a small corpus: hold out its lowest text
            _require_rows(train, sources)
            bound = lowest + 1
            train, held_out, _ = _divide(train.dataset(), self._schema, bound)
        if not train.count:
            raise DataError(f"{_names(sources)}: too few different texts to hold some out. Give --validation files.")
        notes.append(
            f"No validation set was given: {held_out.count:,} of {train.count + held_out.count:,} training rows "
            "are held out for it, chosen by a hash of their text."
        )
        return train.dataset(), held_out.dataset(), lambda row: _hash(row[self._schema.names[0]]) < bound

    def _rows(self, sources: list[Source]) -> Iterator[Row]:
        self._reader.dropped.clear()
        for source in sources:
            for number, row in source.rows:
                values = self._reader.read(row, functools.partial(source.at, number))
                if values is not None:
                    yield values

    def _note_dropped(self, sources: list[Source], notes: list[str]) -> None:
        notes.extend(
            f"{_names(sources)}: {what} left out: {count:,}." for what, count in self._reader.dropped.items() if count
        )


def _names(sources: list[Source]) -> str:
    return ", ".join(source.name for source in sources)


def _require_rows(file: "_ArrowFile", sources: list[Source]) -> None:
    if not file.count:
        raise DataError(f"{_names(sources)}: there are no examples in it. Expected at least one.")


def _divide(examples: Iterable[Row], schema: pa.Schema, bound: int) -> tuple["_ArrowFile", "_ArrowFile", int]:
    """Writes the rows whose text hashes below `bound` to the second file, and finds the lowest hash."""
    lowest = _HASHES
    with _ArrowFile(schema) as train, _ArrowFile(schema) as held_out:
        for row in examples:
            value = _hash(row[schema.names[0]])
            lowest = min(lowest, value)
            (held_out if value < bound else train).write(row)
    return train, held_out, lowest


def _hash(text: str | list[str]) -> int:
    """Returns a number below `_HASHES` that is the same in every process."""
    joined = text if isinstance(text, str) else "\n".join(text)
    digest = hashlib.md5(joined.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big")


class _ArrowFile(contextlib.AbstractContextManager["_ArrowFile"]):
    """Writes rows to an Arrow stream, a batch at a time.

    `datasets.Dataset.from_generator` would do, but it wraps every error and
    keys its cache by a hash of the generator, which a changed file escapes.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._path = scratch.folder() / f"{next(_file_numbers)}" / "data.arrow"
        self._path.parent.mkdir()
        self._writer = pa.ipc.new_stream(str(self._path), self._schema)
        self._batch: list[Row] = []
        self.count = 0

    def write(self, row: Row) -> None:
        self._batch.append(row)
        self.count += 1
        if len(self._batch) == _BATCH_ROWS:
            self._flush()

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def dataset(self) -> datasets.Dataset:
        return datasets.Dataset.from_file(str(self._path))

    def _flush(self) -> None:
        if self._batch:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._batch, schema=self._schema))
            self._batch = []


_file_numbers = itertools.count()


def _open(data: DataConfig, task: Task, splits: tuple[Split, ...]) -> dict[Split, list[Source]]:
    """Opens the given splits, as far as they exist; local files go before those of a data set."""
    if data.dataset_config is not None and data.dataset is None:
        raise ConfigError("dataset_config is for a data set given by --dataset: leave it out.")
    files: dict[Split, tuple[str, ...]] = {split: getattr(data, split) for split in splits}
    for path in itertools.chain.from_iterable(files.values()):
        readers.check_file(path)
    sources = {split: _open_files(paths, data, task) for split, paths in files.items() if paths}
    if data.dataset is None or len(sources) == len(splits):
        return sources
    found = hub.load_dataset(
        data.dataset, data.dataset_config, revision=data.dataset_revision, streaming=data.streaming
    )
    for split in splits:
        name = next((name for name in _SPLIT_NAMES[split] if name in found), None)
        if split not in sources and name is not None:
            source = readers.read_dataset(found[name], f"{data.dataset} ({name})")
            sources[split] = [dataclasses.replace(source, rows=_explained(source))]
    needed: Split = "train" if "train" in splits else splits[0]
    if needed not in sources:
        raise DataError(f"{data.dataset} has no {needed} split; it has {', '.join(map(repr, found))}.")
    return sources


def _explained(source: Source) -> readers.Rows:
    """Yields the rows of a data set, whose files may still have to be had, and may turn out broken."""
    with hub.explained(f"{source.name} could not be read"):
        yield from source.rows


def _open_files(paths: tuple[str, ...], data: DataConfig, task: Task) -> list[Source]:
    forms = [readers.format_of(path, data.format) for path in paths]
    if task == "translation" and "txt" in forms:
        if forms != ["txt", "txt"]:
            raise DataError(
                f"Parallel text is two text files, source and target, not {', '.join(paths)}. A file with both sides "
                "is read by its extension (.tsv, .csv, .jsonl, .json, .parquet) or with --format."
            )
        return [readers.read_parallel(*paths)]
    named = [column for standard in rows.columns(data, task) if (column := getattr(data, f"{standard}_column"))]
    # Columns of a TSV without a header can be named by their places, the first being 1.
    places = bool(named) and all(column.isdecimal() for column in named)
    columns = () if places else tuple(rows.columns(data, task))
    return [
        readers.read(path, form, columns=columns, header=bool(named) and not places, tag_column=data.tag_column)
        for path, form in zip(paths, forms, strict=True)
    ]
