"""Which rows make a batch, and how far it is padded: planned for all epochs before a text is read.

A compiled train step is compiled once for each shape, and works on padding as
hard as on text: batches should have few shapes and little padding. Both are
had by measuring all lengths first and then planning: a `BatchPlan`
knows every batch of every epoch, which rows are in it and how far it is
padded, before a single text is read. Hence also an exact resume: `seed`,
`epoch` and the number of batches done say all there is to know.
"""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from nlp_rnn.config import BatchConfig, ConfigError

# A further shape is worth it if it saves more padding than some of its batches
# have positions. In each pass half a batch is lost because examples do not
# divide evenly; and once it is to be compiled, which takes as long as so many.
_LOST_BATCHES, _COMPILED_BATCHES = 0.5, 40.0
# Every shape's compiled step stays in memory.
_MOST_SHAPES = 24
# Merging takes time with the square of this.
_MOST_CELLS = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lengths:
    """How many tokens each row of a corpus has, EOS not counted; texts without a target have none there.

    Attributes:
        source: int32 (rows,).
        target: int32 (rows,).
    """

    source: np.ndarray
    target: np.ndarray

    def at_most(self, longest: int) -> "Lengths":
        """Returns the lengths of texts that are cut after so many tokens."""
        return Lengths(source=np.minimum(self.source, longest), target=np.minimum(self.target, longest))

    def stretched(self, factor: float) -> "Lengths":
        """Returns the lengths of texts that may turn out longer by this factor, rounded up."""
        source, target = (np.ceil(factor * lengths).astype(np.int32) for lengths in (self.source, self.target))
        return Lengths(source=source, target=target)


class Shape(NamedTuple):
    """The shape of a batch; lengths include EOS and padding."""

    examples: int
    source: int
    target: int


class PlannedBatch(NamedTuple):
    """What a batch will be made of.

    Attributes:
        rows: int64. At least one (of a part, maybe none), at most
            `shape.examples`; the rest are empty examples, masked altogether.
        shape: What the batch is padded to.
    """

    rows: np.ndarray
    shape: Shape


class Part(NamedTuple):
    """One of the parts that each batch is divided into, each for a device of its own; by default all of it."""

    place: int = 0
    of: int = 1


WHOLE = Part()


class BatchPlan:
    """All batches of a corpus: the same shapes and the same number in each pass over it.

    Rows are laid out in cells by both their lengths, EOS included, rounded up
    to a multiple of `bucket_width`. Cells are merged, the cheapest pair first,
    while that costs less than a shape does; each row then goes into the
    smallest shape that holds it. The rows of a shape are dealt out evenly:
    all its batches have the same number of examples, the last of which is
    empty in some.

    Args:
        lengths: of every row, as `measure` returns them.
        batching: how examples are put together. `batch_tokens` bounds the
            padded tokens of a batch on each side. Rows longer than
            `longest_example` are in no batch.
        end_tokens: tokens that batches add to each text: 1 is EOS.
        epochs: how many there will be: in a short training, fewer shapes are
            worth compiling.
        epoch_steps: batches of an epoch, which then begins where the last one
            ended, in the middle of a pass over the corpus or not; an epoch is
            a pass, if not given.

    Attributes:
        examples: Rows in the batches.
        batches: Batches of one pass over the corpus.
        overlong: Rows left out by `longest_example`.
        shapes: All shapes of batches, the smallest first.

    Raises:
        ValueError: there are no rows.
        ConfigError: `longest_example` leaves none.
    """

    def __init__(
        self,
        *,
        lengths: Lengths,
        batching: BatchConfig,
        end_tokens: int = 1,
        epochs: int = 16,
        epoch_steps: int | None = None,
    ) -> None:
        if not len(lengths.source):
            raise ValueError("There are no examples to make batches of: the data set is empty.")
        longest = np.maximum(lengths.source, lengths.target)
        kept = np.flatnonzero(longest <= batching.longest_example)
        if not len(kept):
            raise ConfigError(
                f"All {len(longest)} examples have more than {batching.longest_example} tokens; the shortest has "
                f"{longest.min()}: raise longest_example (--longest-example)."
            )
        self.rows_in_corpus = len(longest)
        self.examples = len(kept)
        self.overlong = len(longest) - len(kept)
        source, target = lengths.source[kept] + end_tokens, lengths.target[kept] + end_tokens
        cells, counts = _cells(source, target, batching, end_tokens)
        passes = float(epochs)
        if epoch_steps is not None:
            passes *= epoch_steps / float(np.sum(counts / _capacity(batching, *cells.T)))
        padded = _few_shapes(cells, counts, batching, price_of_a_shape=_LOST_BATCHES + _COMPILED_BATCHES / passes)
        shape_of = _smallest_that_holds(padded, source, target)
        order = np.lexsort((source, target, shape_of))
        rows = np.split(kept[order], np.searchsorted(shape_of[order], np.arange(1, len(padded))))
        # Reassigned to smaller shapes, rows may have left one without any.
        self._groups = [
            _group(members, sides, int(_capacity(batching, *sides)))
            for members, sides in zip(rows, padded, strict=True)
            if len(members)
        ]
        self.shapes = tuple(group.shape for group in self._groups)
        self.batches = sum(group.batches for group in self._groups)
        self._epoch_steps = epoch_steps or self.batches
        self._tokens = int(source.sum()), int(target.sum())
        self._part = WHOLE

    def part(self, part: Part) -> "BatchPlan":
        """Returns the plan of one part of every batch; together, all parts have the rows of this plan's batches.

        Rows are dealt out one by one. Parts have the same shape, filled up
        with empty examples: of a small batch, some may have no row at all.
        What is said of shapes and padding stays that of whole batches.
        """
        parted = copy.copy(self)
        parted._part = part
        return parted

    def _dealt(self, batch: PlannedBatch) -> PlannedBatch:
        place, of = self._part
        examples = -(-batch.shape.examples // of)
        return PlannedBatch(batch.rows[place::of], batch.shape._replace(examples=examples))

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return self._epoch_steps

    @property
    def padding(self) -> tuple[float, float]:
        """Share of the positions that are padding, of the source and of the target side."""
        examples = np.array([group.batches * group.shape.examples for group in self._groups])
        source, target = examples @ np.array([shape[1:] for shape in self.shapes])
        # Without targets there is nothing to pad.
        return 1 - self._tokens[0] / float(source), 1 - self._tokens[1] / float(target) if target else 0.0

    @property
    def padding_share(self) -> float:
        """Share of all positions that are padding, both sides together."""
        positions = sum(
            group.batches * group.shape.examples * (group.shape.source + group.shape.target) for group in self._groups
        )
        return 1 - sum(self._tokens) / positions

    def in_order(self) -> list[PlannedBatch]:
        """The batches by length, the shortest first."""
        return [self._dealt(batch) for group in self._groups for batch in group.cut(group.rows)]

    def shuffled(self, *, seed: int, epoch: int) -> list[PlannedBatch]:
        """The batches of one epoch: other rows together, and in another order, for each seed and each pass.

        Args:
            seed: int >= 0.
            epoch: int >= 0.
        """
        first, end = epoch * len(self), (epoch + 1) * len(self)
        passes = range(first // self.batches, -(-end // self.batches))
        batches = [batch for number in passes for batch in self._pass(seed, number)]
        return batches[first - passes.start * self.batches :][: len(self)]

    def _pass(self, seed: int, number: int) -> list[PlannedBatch]:
        generator = np.random.default_rng((seed, number))
        batches = [batch for group in self._groups for batch in group.cut(generator.permutation(group.rows))]
        return [self._dealt(batches[i]) for i in generator.permutation(len(batches))]


class FixedShapes:
    """Shapes chosen for some rows, and batches of these shapes for others that come a window at a time.

    Each row goes into the smallest shape that holds it. What of a window does
    not fill a batch of its shape goes into the next larger one, so that only
    batches of the largest shapes have room left; those are made of fewer
    examples, in halves, quarters and eighths of a whole batch.

    Args:
        lengths: of the rows that the shapes are chosen for, as `measure`
            returns them. One more shape holds the longest row allowed.
        batching: see `BatchPlan`.
        end_tokens: see `BatchPlan`.

    Attributes:
        longest: Rows with more tokens than this are in no batch.
        padding_share: Share of all positions that are padding, where the rows
            with these lengths are a window.

    Raises:
        ValueError: there are no rows.
        ConfigError: `longest_example` leaves none.
    """

    def __init__(self, *, lengths: Lengths, batching: BatchConfig, end_tokens: int = 1) -> None:
        plan = BatchPlan(lengths=lengths, batching=batching, end_tokens=end_tokens)
        self.longest, self._end_tokens = batching.longest_example, end_tokens
        most = self.longest + end_tokens
        known = np.array([shape[1:] for shape in plan.shapes])
        largest = [most, most if lengths.target.any() or end_tokens else 0]
        self._padded = known if (known == largest).all(axis=1).any() else np.vstack([known, largest])
        self._capacities = _capacity(batching, *self._padded.T).tolist()
        # Few rows, if any, will need the shape that was added: what overflows must not.
        self._larger = [
            next((j for j in range(i + 1, len(known)) if (known[j] >= padded).all()), None)
            for i, padded in enumerate(self._padded)
        ]
        batches, _ = self.deal(lengths, np.random.default_rng(0))
        positions = sum(batch.shape.examples * sum(batch.shape[1:]) for batch in batches)
        kept = np.concatenate([batch.rows for batch in batches])
        tokens = lengths.source[kept].sum() + lengths.target[kept].sum() + 2 * end_tokens * len(kept)
        self.padding_share = 1 - float(tokens) / positions

    def deal(self, lengths: Lengths, generator: np.random.Generator) -> tuple[list[PlannedBatch], int]:
        """Puts the rows of a window into batches, by chance, in an order by chance.

        Args:
            lengths: of its rows.
            generator: what chance draws from.

        Returns:
            The batches, and how many rows are in none because they are too long.
        """
        kept = np.flatnonzero(np.maximum(lengths.source, lengths.target) <= self.longest)
        ended = (lengths.source[kept] + self._end_tokens, lengths.target[kept] + self._end_tokens)
        shape_of = _smallest_that_holds(self._padded, *ended)
        waiting = [kept[shape_of == i] for i in range(len(self._padded))]
        batches: list[PlannedBatch] = []
        for i, (capacity, larger) in enumerate(zip(self._capacities, self._larger, strict=True)):
            source, target = self._padded[i].tolist()
            rows = generator.permutation(waiting[i])
            whole, rest = np.split(rows, [len(rows) // capacity * capacity])
            batches += [PlannedBatch(part, Shape(capacity, source, target)) for part in whole.reshape(-1, capacity)]
            if larger is not None:
                waiting[larger] = np.concatenate([waiting[larger], rest])
            elif len(rest):
                batches.append(PlannedBatch(rest, Shape(_part_of(capacity, len(rest)), source, target)))
        left_out = len(lengths.source) - sum(len(batch.rows) for batch in batches)
        return [batches[i] for i in generator.permutation(len(batches))], left_out


def _part_of(capacity: int, rows: int) -> int:
    """Returns an eighth, a quarter, half or all of a capacity: the least that holds the rows."""
    return next(part for part in (-(-capacity // share) for share in (8, 4, 2, 1)) if part >= rows)


@dataclasses.dataclass(frozen=True)
class _Group:
    """The rows that share a shape."""

    rows: np.ndarray
    batches: int
    shape: Shape

    def cut(self, rows: np.ndarray) -> Iterator[PlannedBatch]:
        return (PlannedBatch(part, self.shape) for part in np.array_split(rows, self.batches))


def _group(rows: np.ndarray, padded: np.ndarray, capacity: int) -> _Group:
    batches = -(-len(rows) // capacity)
    return _Group(rows, batches, Shape(-(-len(rows) // batches), int(padded[0]), int(padded[1])))


def _cells(
    source: np.ndarray, target: np.ndarray, batching: BatchConfig, end_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rounds lengths up: the pairs that occur (cells, 2), and how often each does (cells,)."""
    width = batching.bucket_width
    while True:
        rounded = -(-np.stack([source, target]).astype(np.int64) // width) * width
        # Not beyond the longest example and its EOS: that is what has a place in batch_tokens.
        rounded = np.minimum(rounded, batching.longest_example + end_tokens)
        # No batch is of length 0, not even one of sentences without words, on a side that has any.
        rounded = np.maximum(rounded, [[1], [int(target.any())]])
        base = int(rounded.max()) + 1
        codes, counts = np.unique(rounded[0] * base + rounded[1], return_counts=True)
        if len(codes) <= _MOST_CELLS:
            return np.stack(np.divmod(codes, base), axis=1), counts
        width *= 2


def _capacity(batching: BatchConfig, source: Any, target: Any) -> Any:
    """Returns how many examples of these padded lengths make a batch."""
    if batching.batch_tokens is None:
        return np.full_like(source, batching.batch_size)
    return batching.batch_tokens // np.maximum(source, target)


def _few_shapes(cells: np.ndarray, counts: np.ndarray, batching: BatchConfig, *, price_of_a_shape: float) -> np.ndarray:
    """Merges cells (cells, 2) while that pays or there are too many; returns lengths (shapes, 2), by price."""
    source, target = cells.T.copy()
    counts = counts.copy()

    def price(source: Any, target: Any, counts: Any) -> Any:
        return (counts + price_of_a_shape * _capacity(batching, source, target)) * (source + target)

    alive: np.ndarray = np.ones(len(cells), bool)

    def costs(i: Any) -> np.ndarray:
        """What it costs to merge cell i with each other; below 0 if that saves something."""
        together = price(np.maximum(source[i], source), np.maximum(target[i], target), counts[i] + counts)
        apart = price(source[i], target[i], counts[i]) + price(source, target, counts)
        return np.where(alive & (np.arange(len(alive)) != i), together - apart, np.inf)

    cost = np.stack([costs(i) for i in range(len(cells))])
    while alive.sum() > 1:
        i, j = np.unravel_index(cost.argmin(), cost.shape)
        if cost[i, j] >= 0 and alive.sum() <= _MOST_SHAPES:
            break
        source[i], target[i] = max(source[i], source[j]), max(target[i], target[j])
        counts[i] += counts[j]
        alive[j] = False
        cost[j, :] = cost[:, j] = np.inf
        cost[i, :] = cost[:, i] = costs(i)
    shapes = np.stack([source[alive], target[alive]], axis=1)
    return shapes[np.argsort(shapes.sum(axis=1), kind="stable")]


def _smallest_that_holds(shapes: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the index of the first of the shapes, sorted by price, that holds each row."""
    best: np.ndarray = np.full(len(source), -1, np.int16)
    for i in reversed(range(len(shapes))):
        best[(source <= shapes[i, 0]) & (target <= shapes[i, 1])] = i
    return best


def complete_plan(lengths: Lengths, batching: BatchConfig, *, end_tokens: int = 1) -> BatchPlan:
    """Plans batches of all rows, however long; see `BatchPlan`."""
    longest = max(1, int(lengths.source.max(initial=0)), int(lengths.target.max(initial=0)))
    # The longest one must fit into a batch.
    tokens = batching.batch_tokens and max(batching.batch_tokens, longest + 2)
    return BatchPlan(
        lengths=lengths,
        batching=dataclasses.replace(batching, longest_example=longest, batch_tokens=tokens),
        end_tokens=end_tokens,
    )
