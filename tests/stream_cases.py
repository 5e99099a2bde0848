"""Streams of numbered rows, from every origin a streamed data set can have."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets

from nlp_rnn import hub
from nlp_rnn.config import DataConfig
from nlp_rnn.rows import Row, RowReader
from nlp_rnn.streams import Position, Stream, Window

ROWS = 103
NAMES = ["bad", "good"]
FEATURES = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=NAMES)})


def text(number: int) -> str:
    """As many words as the last digit, and one that tells the row."""
    return f"r{number}" + " and" * (number % 10)


def rows(count: int = ROWS) -> list[dict[str, Any]]:
    return [{"text": text(number), "label": number % 2} for number in range(count)]


def parquet(folder: Path) -> str:
    """Three files of unequal size, in groups of rows that end in the middle of windows."""
    examples = datasets.Dataset.from_list(rows(), features=FEATURES)
    for number, (start, end) in enumerate(((0, 40), (40, 41), (41, ROWS))):
        examples.select(range(start, end)).to_parquet(folder / f"train-{number}.parquet", batch_size=7)
    return str(folder)


def jsonl(folder: Path) -> str:
    """Two files, whose columns' types a stream does not know beforehand."""
    named = [{**row, "label": NAMES[row["label"]]} for row in rows()]
    for number, part in enumerate((named[:50], named[50:])):
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"train-{number}.jsonl").write_text(lines, encoding="utf-8")
    return str(folder)


def saved(folder: Path) -> str:
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows(), features=FEATURES)}).save_to_disk(folder / "set")
    return str(folder / "set")


ORIGINS: dict[str, Callable[[Path], str]] = {"parquet": parquet, "jsonl": jsonl, "saved": saved}


def opened(name: str, **settings: Any) -> Stream:
    """The training split of a data set as a stream, in windows of ten rows."""
    dataset = hub.load_dataset(name, None, streaming=True)["train"]
    assert isinstance(dataset, datasets.IterableDataset)
    return stream(dataset, **settings)


def stream(dataset: datasets.IterableDataset, **settings: Any) -> Stream:
    reader = RowReader(DataConfig(), "classification")
    plain: dict[str, Any] = {"name": "set", "reader": reader, "window": 10, "held_out": lambda row: False}
    return Stream(dataset, **{**plain, **settings})


def generated(examples: list[Row], seen: list[int] | None = None) -> datasets.IterableDataset:
    """A data set in memory, which notes how far it was read."""

    def generate() -> Any:
        for number, example in enumerate(examples):
            if seen is not None:
                seen.append(number)
            yield example

    return datasets.IterableDataset.from_generator(generate)


def lap(stream: Stream, position: Position | None = None) -> list[tuple[Position, Window]]:
    """All windows up to the stream's end, each with its position, which has been through JSON."""
    position, found = position or Position(), []
    while (window := stream.read(position)).read:
        found.append((position, window))
        state = json.loads(json.dumps(window.state))
        position = Position(lap=position.lap, row=position.row + window.read, state=state)
    return [*found, (position, window)]
