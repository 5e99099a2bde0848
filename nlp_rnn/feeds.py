"""The batches of a training on a stream: dealt window by window, in shapes that were chosen beforehand.

Each window is measured, its rows are put into batches by chance, and those are
shuffled. One window is learned from while the next one is read and measured
beside it; nothing else is in memory. Which rows make which batch follows from
the seed and from where the windows begin: going on from the beginning of one,
it is read again, dealt alike, and the batches done are passed over.
"""

import bisect
import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import datasets
import numpy as np
import tensorflow as tf

from nlp_rnn.examples import Examples, Picked
from nlp_rnn.plans import FixedShapes, Lengths, PlannedBatch
from nlp_rnn.readers import DataError
from nlp_rnn.rows import Row
from nlp_rnn.streams import Position, Stream, Window

_log = logging.getLogger(__name__)

_UNKNOWN = "rows with an unknown label or tag"


class _Dealt(NamedTuple):
    """A window's batches, numbered from `begins.batch` on."""

    begins: Position
    dataset: datasets.Dataset
    numbers: np.ndarray
    batches: list[PlannedBatch]
    ends: Position


@dataclass(kw_only=True)
class Feed:
    """The batches of a training on a stream, the same ones for the same numbers.

    Attributes:
        stream: Where the rows come from.
        shapes: What the batches look like.
        features: The columns of rows as they are learned from.
        prepare: Returns a row with these columns, or None if it has a label or tag that is not known.
        measure: Returns the lengths of prepared rows.
        seed: int >= 0.
        steps: Batches of an epoch.
        failure: What ended the reading, if anything did: on its way through TensorFlow it loses its class.
    """

    stream: Stream
    shapes: FixedShapes
    features: datasets.Features
    prepare: Callable[[Row], Row | None]
    measure: Callable[[datasets.Dataset], Lengths]
    seed: int
    steps: int
    failure: Exception | None = None
    _begun: list[Position] = field(init=False, default_factory=lambda: [Position()])
    _dealt: _Dealt | None = field(init=False, default=None)
    _ahead: Future[_Dealt] | None = field(init=False, default=None)
    _warned: bool = field(init=False, default=False)

    def training(self, encode: Callable[[Examples], tf.data.Dataset]) -> dict[str, Any]:
        """Returns what a `Training` needs to learn from the stream.

        Args:
            encode: Turns examples into batches of numbers.
        """
        _log.info("%s is read while it is learned from: %d batches an epoch.", self.stream.name, self.steps)
        return {
            "epoch_batches": lambda epoch, start=0: encode(_Part(self, epoch * self.steps + start, self.steps - start)),
            "steps_per_epoch": self.steps,
            "padding_share": self.shapes.padding_share,
            "stream": self,
        }

    def position(self, batch: int) -> dict[str, Any]:
        """Returns where to go on from so that a batch comes next; all before it is done."""
        place = self._place(batch)
        del self._begun[:place]
        return dataclasses.asdict(self._begun[0])

    def restore(self, position: Mapping[str, Any]) -> None:
        """Goes on from what `position` returned."""
        self._begun, self._dealt, self._ahead = [Position(**position)], None, None

    def read(self, first: int, count: int, columns: list[str]) -> Iterator[Picked]:
        """Yields what some batches are made of; see `examples.Examples`."""
        dealt: _Dealt | None = None
        try:
            for number in range(first, first + count):
                if dealt is None or number >= dealt.ends.batch:
                    dealt = self._holding(number)
                    table = dealt.dataset.select_columns(columns).with_format("arrow")
                batch = dealt.batches[number - dealt.begins.batch]
                yield Picked(dealt.numbers[batch.rows], batch.shape, table[batch.rows])
            if dealt is not None:
                rows, left_out = f"{dealt.ends.row:,}", _listed(dealt.ends.left_out)
                _log.info("%s: %s rows read since its beginning. Left out: %s.", self.stream.name, rows, left_out)
        except Exception as error:
            self.failure = error
            raise

    def _place(self, batch: int) -> int:
        """Returns which of the windows begun holds a batch."""
        place = bisect.bisect_right(self._begun, batch, key=lambda position: position.batch) - 1
        if place < 0:
            raise ValueError(f"Batch {batch} of the stream is gone; the first to be had is {self._begun[0].batch}.")
        return place

    def _holding(self, batch: int) -> _Dealt:
        """Returns the window that a batch is in, and has the next one read."""
        dealt, ahead = self._dealt, self._ahead
        if dealt is None or ahead is None or batch < dealt.begins.batch:
            begins = self._begun[self._place(batch)]
            dealt, ahead = None, self.stream.beside(functools.partial(self._deal, begins))
        while dealt is None or batch >= dealt.ends.batch:
            dealt = ahead.result()
            if dealt.ends.batch > self._begun[-1].batch:
                self._begun.append(dealt.ends)
            ahead = self.stream.beside(functools.partial(self._deal, dealt.ends))
        self._dealt, self._ahead = dealt, ahead
        return dealt

    def _deal(self, begins: Position) -> _Dealt:
        """Reads a window, or as many as it takes to have a batch, round the stream if need be."""
        position, laps = begins, 0
        while True:
            window = self.stream.read(position)
            if not window.read:
                laps += 1
                position = self._around(position, last=laps == 2)
                continue
            dataset, numbers = self._prepared(window)
            batches: list[PlannedBatch] = []
            if numbers.size:
                generator = np.random.default_rng((self.seed, position.lap, position.row))
                batches, overlong = self.shapes.deal(self.measure(dataset), generator)
                window.left_out[f"rows of more than {self.shapes.longest} tokens"] += overlong
            position = Position(
                batch=begins.batch + len(batches),
                lap=position.lap,
                row=position.row + window.read,
                left_out=dict(Counter(position.left_out) + window.left_out),
                state=window.state,
            )
            if batches:
                return _Dealt(begins, dataset, numbers, batches, position)

    def _around(self, position: Position, *, last: bool) -> Position:
        """Tells what was read, and returns where the stream begins anew."""
        left_out = _listed(position.left_out)
        if last:
            raise DataError(
                f"{self.stream.name}: there is nothing to learn from in {position.row:,} rows. Left out: {left_out}."
            )
        _log.info(
            "%s: all %s rows were read, and it begins anew. Left out: %s.",
            self.stream.name, f"{position.row:,}", left_out,
        )  # fmt: skip
        return Position(batch=position.batch, lap=position.lap + 1)

    def _prepared(self, window: Window) -> tuple[datasets.Dataset, np.ndarray]:
        """Returns the rows whose labels or tags are known, and their numbers."""
        prepared = [(number, self.prepare(row)) for number, row in window.rows]
        kept = [(number, row) for number, row in prepared if row is not None]
        if unknown := len(prepared) - len(kept):
            window.left_out[_UNKNOWN] += unknown
            if not self._warned:
                first = next(number for number, row in prepared if row is None)
                _log.warning(
                    "%s, row %d: a label or tag that the first rows lack. Such rows are left out, and counted where "
                    "the stream ends; a larger stream_sample (--stream-sample) knows more of them.",
                    self.stream.name, first + 1,
                )  # fmt: skip
                self._warned = True
        columns = {name: [row[name] for _, row in kept] for name in self.features}
        dataset = datasets.Dataset.from_dict(columns, features=self.features)
        return dataset, np.array([number for number, _ in kept], np.int64)


def _listed(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{what}: {count:,}" for what, count in left_out.items() if count) or "nothing"


class _Part(NamedTuple):
    """Some batches of a feed, as `examples` takes them."""

    feed: Feed
    first: int
    batches: int

    @property
    def features(self) -> datasets.Features:
        return self.feed.features

    def read(self, columns: list[str]) -> Iterator[Picked]:
        return self.feed.read(self.first, self.batches, columns)
