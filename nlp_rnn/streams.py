"""Training data that are read while they are learned from, and never stored: rows of a stream, a window at a time."""

import functools
import queue
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import datasets

from nlp_rnn import hub, readers
from nlp_rnn.readers import Source
from nlp_rnn.rows import Row, RowReader

Result = TypeVar("Result")

_HELD_OUT = "rows held out for validation"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where in a training a window begins, in values that JSON has.

    Attributes:
        batch: Batches before it, of the whole training.
        lap: How often the stream was read to its end before.
        row: Rows before it, of this lap.
        left_out: What was left out of them, and how often.
        state: Where the data set stands, as it says itself; empty at the
            beginning of a lap.
    """

    batch: int = 0
    lap: int = 0
    row: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


class Window(NamedTuple):
    """Some rows of a stream.

    Attributes:
        rows: With standard columns, and their numbers in the stream, from 0.
        read: How many there were before some were left out; 0 at the stream's end.
        left_out: What was left out, and how often.
        state: Where the data set stands after them.
    """

    rows: list[tuple[int, Row]]
    read: int
    left_out: Counter[str]
    state: Mapping[str, Any]


class Stream:
    """A streamed data set, as rows of a task.

    Args:
        dataset: The data set.
        name: What it is called.
        reader: Picks and checks the values of rows; for this stream alone.
        window: How many rows to read at once.
        held_out: Tells of a row whether it is kept for validation.
        class_names: Labels or tags that the data set names beforehand.
    """

    def __init__(
        self,
        dataset: datasets.IterableDataset,
        *,
        name: str,
        reader: RowReader,
        window: int,
        held_out: Callable[[Row], bool],
        class_names: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.class_names = class_names
        self._dataset, self._reader, self._window, self._held_out = dataset, reader, window, held_out
        self._batches: Iterator[Mapping[str, list[Any]]] = iter(())
        self._next: tuple[int, int] | None = None
        # A data set can be read in one place only: whoever reads it waits for the others.
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # An executor's thread would not let a process end that waits for a hub.
        threading.Thread(target=_work, args=(self._calls,), name="stream", daemon=True).start()
        weakref.finalize(self, self._calls.put, None)

    def beside(self, read: Callable[[], Result]) -> "Future[Result]":
        """Calls what reads the stream in a thread of its own, after what else was to be called there."""
        future: Future[Result] = Future()

        def call() -> None:
            try:
                future.set_result(read())
            except Exception as error:
                future.set_exception(error)

        self._calls.put(call)
        return future

    def read(self, position: Position) -> Window:
        """Returns the window that begins at a position; one that does not follow the last one has to be looked for.

        Raises:
            DataError: A row is not what it should be, or the rows cannot be had.
        """
        follows = self._next == (position.lap, position.row)
        self._next = None  # unless all goes well
        with hub.explained(f"{self.name} could not be read on from row {position.row + 1}, where --resume goes on"):
            if not follows:
                self._dataset.load_state_dict(dict(position.state))
                self._batches = self._dataset.iter(batch_size=self._window)
            values = next(self._batches, {})
            state = self._dataset.state_dict()
        self._reader.dropped.clear()
        rows, read = self._checked(values, position.row)
        self._next = (position.lap, position.row + read) if read else None
        return Window(rows, read, self._reader.dropped.copy(), state)

    def _checked(self, values: Mapping[str, list[Any]], before: int) -> tuple[list[tuple[int, Row]], int]:
        """Returns the rows that are learned from, numbered from 0, and how many there were."""
        batches = [values] if values else []
        source = Source(name=self.name, unit="row", rows=readers.named_rows(batches, self._dataset.features))
        rows: list[tuple[int, Row]] = []
        number = 0
        for number, row in source.rows:
            picked = self._reader.read(row, functools.partial(source.at, before + number))
            if picked is not None and self._held_out(picked):
                self._reader.dropped[_HELD_OUT] += 1
            elif picked is not None:
                rows.append((before + number - 1, picked))
        return rows, number


def _work(calls: "queue.SimpleQueue[Callable[[], None] | None]") -> None:
    """Makes one call after the other, until there is none."""
    while (call := calls.get()) is not None:
        call()
