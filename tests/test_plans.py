"""Plans of batches: every row once, few shapes, little padding, another order in each epoch."""

from collections import Counter

import numpy as np
import pytest

from nlp_rnn import plans as module
from nlp_rnn.config import BatchConfig, ConfigError
from nlp_rnn.plans import WHOLE, BatchPlan, FixedShapes, Lengths, Part, PlannedBatch, Shape, complete_plan


def correlated_lengths(count: int, longest: int = 100) -> Lengths:
    """Lengths spread as those of sentences and their translations are."""
    generator = np.random.default_rng(1)
    source = np.exp(generator.normal(2.6, 0.4, count))
    target = source * np.exp(generator.normal(0, 0.2, count))
    return Lengths(**{
        side: np.clip(np.round(values), 0, longest).astype(np.int32)
        for side, values in (("source", source), ("target", target))
    })  # fmt: skip


def test_lengths_are_padded_to_multiples_but_not_beyond_the_longest_possible() -> None:
    def padded(length: int) -> tuple[int, int]:
        lengths = Lengths(source=np.int32([length]), target=np.int32([length + 1]))
        return BatchPlan(lengths=lengths, batching=BatchConfig(bucket_width=4, longest_example=9)).shapes[0][1:]

    assert padded(2) == (4, 4)
    assert padded(3) == (4, 8)
    assert padded(8) == (10, 10)


def test_long_and_short_batches_are_mixed() -> None:
    plan = BatchPlan(lengths=correlated_lengths(5000), batching=BatchConfig(batch_size=16))
    lengths = [batch.shape.target for batch in plan.shuffled(seed=1, epoch=0)]
    assert abs(np.corrcoef(lengths[:-1], lengths[1:])[0, 1]) < 0.2
    assert [batch.shape for batch in plan.in_order()] == sorted(
        (batch.shape for batch in plan.in_order()), key=plan.shapes.index
    )


def test_the_token_budget_bounds_both_sides_and_is_used() -> None:
    lengths = correlated_lengths(5000, longest=60)
    lengths = Lengths(source=lengths.source, target=lengths.target // 2)
    budget = 600
    plan = BatchPlan(lengths=lengths, batching=BatchConfig(batch_tokens=budget, longest_example=60))
    assert len({shape.examples for shape in plan.shapes}) > 1
    for shape in plan.shapes:
        assert shape.examples * max(shape.source, shape.target) <= budget
    used = sum(batch.shape.examples * batch.shape.source for batch in plan.in_order())
    assert used / len(plan) > 0.8 * budget


def test_the_smallest_token_budget_holds_the_longest_example() -> None:
    lengths = Lengths(source=np.int32([50, 3]), target=np.int32([50, 50]))
    plan = BatchPlan(lengths=lengths, batching=BatchConfig(batch_tokens=52, longest_example=50))
    assert len(plan) == 2
    assert all(shape.examples == 1 for shape in plan.shapes)


@pytest.mark.parametrize(("width", "share"), [(2, 0.13), (4, 0.16)])
def test_shapes_are_few_and_padding_is_little(width: int, share: float) -> None:
    lengths = correlated_lengths(30_000)
    plan = BatchPlan(lengths=lengths, batching=BatchConfig(bucket_width=width))
    assert len(plan.shapes) <= 18
    assert max(plan.padding) < share
    assert len(plan) <= 1.02 * 30_000 / 64
    # Against buckets by target length alone, as many, of equally many examples each.
    order = np.argsort(lengths.target)
    buckets = [lengths.source[part] + 1 for part in np.array_split(order, len(plan.shapes))]
    by_target = 1 - sum(b.sum() for b in buckets) / sum(len(b) * b.max() for b in buckets)
    assert plan.padding[0] < 0.5 * by_target


def test_a_small_corpus_gets_full_batches_rather_than_many_shapes() -> None:
    plan = BatchPlan(lengths=correlated_lengths(100), batching=BatchConfig(batch_size=64))
    assert [shape.examples for shape in plan.shapes] == [50]
    assert len(plan) == 2


def test_a_large_corpus_of_wide_lengths_has_a_bounded_number_of_shapes() -> None:
    generator = np.random.default_rng(1)
    lengths = Lengths(
        source=generator.integers(0, 500, 50_000, np.int32), target=generator.integers(0, 500, 50_000, np.int32)
    )
    plan = BatchPlan(lengths=lengths, batching=BatchConfig(bucket_width=1, batch_size=4, longest_example=499))
    assert len(plan.shapes) <= module._MOST_SHAPES
    assert sum(len(batch.rows) for batch in plan.in_order()) == 50_000


def sentences(lengths: list[int]) -> Lengths:
    """Lengths of texts without a target."""
    return Lengths(source=np.int32(lengths), target=np.zeros(len(lengths), np.int32))


def test_every_row_is_in_one_batch_that_holds_it() -> None:
    lengths = correlated_lengths(1000)
    plan = BatchPlan(lengths=lengths, batching=BatchConfig(batch_size=16, longest_example=40))
    kept = np.flatnonzero(np.maximum(lengths.source, lengths.target) <= 40)
    assert (plan.examples, plan.overlong, plan.rows_in_corpus) == (len(kept), 1000 - len(kept), 1000)
    for batches in (plan.in_order(), plan.shuffled(seed=1, epoch=0)):
        assert len(batches) == len(plan)
        np.testing.assert_array_equal(np.sort(np.concatenate([batch.rows for batch in batches])), kept)
        assert {batch.shape for batch in batches} == set(plan.shapes)
        for batch in batches:
            assert batch.shape.examples - 1 <= len(batch.rows) <= batch.shape.examples <= 16
            assert lengths.source[batch.rows].max() + 1 <= batch.shape.source
            assert lengths.target[batch.rows].max() + 1 <= batch.shape.target


def test_each_seed_and_epoch_has_an_order_of_its_own() -> None:
    plan = BatchPlan(lengths=correlated_lengths(200), batching=BatchConfig(batch_size=8))

    def rows(seed: int, epoch: int) -> list[list[int]]:
        return [batch.rows.tolist() for batch in plan.shuffled(seed=seed, epoch=epoch)]

    assert rows(1, 2) == rows(1, 2)
    assert rows(1, 2) != rows(2, 1)
    assert rows(1, 2) != rows(1, 3)


def test_a_short_training_has_fewer_shapes_and_more_padding() -> None:
    lengths, batching = correlated_lengths(30_000), BatchConfig()
    plans = [BatchPlan(lengths=lengths, batching=batching, epochs=epochs) for epochs in (1, 4, 16)]
    shapes, padding = zip(*((len(plan.shapes), plan.padding_share) for plan in plans), strict=True)
    assert shapes[0] < shapes[1] < shapes[2]
    assert padding[0] > padding[1] > padding[2]
    # Four epochs of a quarter of a pass are one pass.
    cut = BatchPlan(lengths=lengths, batching=batching, epochs=4, epoch_steps=plans[0].batches // 4)
    assert cut.shapes == plans[0].shapes


@pytest.mark.parametrize("steps", [1, 4, 25, 26, 60])
def test_epochs_of_so_many_batches_are_passes_cut_anew(steps: int) -> None:
    """25 batches of one shape hold all rows once; an epoch may end within a pass, and hold several."""
    lengths, batching = correlated_lengths(200), BatchConfig(batch_size=8, bucket_width=64)
    passes = BatchPlan(lengths=lengths, batching=batching)
    plan = BatchPlan(lengths=lengths, batching=batching, epoch_steps=steps)
    assert (passes.batches, plan.batches, len(passes), len(plan)) == (25, 25, 25, steps)
    epochs = [plan.shuffled(seed=1, epoch=epoch) for epoch in range(5)]
    assert {len(epoch) for epoch in epochs} == {steps}
    found = [batch.rows.tolist() for epoch in epochs for batch in epoch]
    laid_out = [batch.rows.tolist() for number in range(12) for batch in passes.shuffled(seed=1, epoch=number)]
    assert found == laid_out[: 5 * steps]


def test_texts_that_end_without_an_end_token_have_no_place_for_one() -> None:
    batching = BatchConfig(batch_size=2, bucket_width=1, longest_example=7)
    for tokens, shapes in ((0, (Shape(2, 7, 0),)), (1, (Shape(2, 8, 1),))):
        plan = BatchPlan(lengths=sentences([7, 7, 7, 8]), batching=batching, end_tokens=tokens)
        assert plan.shapes == shapes
        assert (plan.examples, plan.overlong) == (3, 1)
    # Rounded up, too, a length is not beyond the longest.
    wide = BatchConfig(bucket_width=4, longest_example=9)
    assert BatchPlan(lengths=sentences([9]), batching=wide, end_tokens=0).shapes == (Shape(1, 9, 0),)


def test_padding_by_hand() -> None:
    batching = BatchConfig(batch_size=2, bucket_width=1)
    # Two batches of (2, 4): 4 + 3 + 2 of 16 positions are real.
    plan = BatchPlan(lengths=sentences([4, 3, 2]), batching=batching, end_tokens=0)
    assert plan.shapes == (Shape(2, 4, 0),)
    assert plan.padding == (1 - 9 / 16, 0.0)
    assert plan.padding_share == 1 - 9 / 16
    # With an end token each: (2, 5) and (2, 1), in which 12 of 20, and 3 of 4.
    plan = BatchPlan(lengths=sentences([4, 3, 2]), batching=batching)
    assert plan.padding == (1 - 12 / 20, 1 - 3 / 4)
    assert plan.padding_share == 1 - 15 / 24


def test_a_complete_plan_has_every_row_however_long() -> None:
    lengths = sentences([1, 300, 2, 0])
    for end_tokens in (0, 1):
        for budget in (None, 12):
            batching = BatchConfig(batch_size=2, longest_example=10, batch_tokens=budget)
            plan = complete_plan(lengths, batching, end_tokens=end_tokens)
            rows = Counter(row for batch in plan.in_order() for row in batch.rows.tolist())
            assert rows == Counter(range(4))
            assert plan.overlong == 0
            assert max(shape.source for shape in plan.shapes) == 300 + end_tokens


def test_lengths_of_texts_that_are_cut() -> None:
    lengths = Lengths(source=np.int32([3, 0, 9]), target=np.int32([0, 7, 4]))
    cut = lengths.at_most(4)
    np.testing.assert_array_equal(cut.source, np.int32([3, 0, 4]), strict=True)
    np.testing.assert_array_equal(cut.target, np.int32([0, 4, 4]), strict=True)
    assert lengths.source[2] == 9


def test_no_side_that_has_tokens_is_of_length_0() -> None:
    """Second texts of pairs can have none, and recurrent layers need a step."""
    batching = BatchConfig(batch_size=4, bucket_width=1)
    lengths = Lengths(source=np.zeros(400, np.int32), target=np.int32([0] * 200 + [30] * 200))
    plan = BatchPlan(lengths=lengths, batching=batching, end_tokens=0)
    assert plan.shapes == (Shape(4, 1, 1), Shape(4, 1, 30))


def test_nothing_to_plan_is_an_error_that_says_so() -> None:
    for plan in (
        BatchPlan(lengths=sentences([3]), batching=BatchConfig()),
        complete_plan(sentences([0]), BatchConfig()),
    ):
        assert len(plan) == 1
    with pytest.raises(ValueError, match="the data set is empty"):
        BatchPlan(lengths=sentences([]), batching=BatchConfig())
    with pytest.raises(ValueError, match="the data set is empty"):
        complete_plan(sentences([]), BatchConfig())
    with pytest.raises(ConfigError, match="All 2 examples have more than 2 tokens; the shortest has 3: raise"):
        BatchPlan(lengths=sentences([3, 4]), batching=BatchConfig(longest_example=2), end_tokens=0)


def test_the_parts_of_a_batch_have_its_rows_and_one_shape() -> None:
    plan = BatchPlan(lengths=correlated_lengths(47), batching=BatchConfig(batch_size=6))
    parts = [plan.part(Part(place, 4)).shuffled(seed=1, epoch=2) for place in range(4)]
    for batch, *dealt in zip(plan.shuffled(seed=1, epoch=2), *parts, strict=True):
        assert sorted(row for part in dealt for row in part.rows) == sorted(batch.rows)
        examples = -(-batch.shape.examples // 4)
        assert {part.shape for part in dealt} == {batch.shape._replace(examples=examples)}
        assert max(len(part.rows) for part in dealt) <= examples
    assert {len(part.rows) for batches in parts for part in batches} == {1, 2}


def test_of_a_batch_with_fewer_rows_than_parts_some_parts_are_empty() -> None:
    plan = BatchPlan(lengths=correlated_lengths(1), batching=BatchConfig(batch_size=1))
    parts = [plan.part(Part(place, 2)).in_order() for place in range(2)]
    assert [[len(batch.rows) for batch in batches] for batches in parts] == [[1], [0]]
    assert parts[0][0].shape == parts[1][0].shape


def test_a_plan_has_one_part_by_default() -> None:
    plan = BatchPlan(lengths=correlated_lengths(20), batching=BatchConfig(batch_size=5))
    for mine, theirs in zip(plan.part(WHOLE).in_order(), plan.in_order(), strict=True):
        np.testing.assert_array_equal(mine.rows, theirs.rows)
        assert mine.shape == theirs.shape


# Shapes for the windows of a stream


def dealt(shapes: FixedShapes, lengths: Lengths, seed: int = 1) -> tuple[list[PlannedBatch], int]:
    return shapes.deal(lengths, np.random.default_rng(seed))


def part_of(lengths: Lengths, rows: slice) -> Lengths:
    return Lengths(source=lengths.source[rows], target=lengths.target[rows])


@pytest.mark.parametrize("budget", [None, 400])
def test_a_window_s_rows_are_each_in_one_batch_that_holds_it_and_the_others_counted(budget: int | None) -> None:
    lengths = correlated_lengths(12_000)
    batching = BatchConfig(batch_size=16, batch_tokens=budget, longest_example=40)
    shapes = FixedShapes(lengths=part_of(lengths, slice(2000)), batching=batching)
    for start in (2000, 7000):
        window = part_of(lengths, slice(start, start + 5000))
        batches, left_out = dealt(shapes, window)
        kept = np.flatnonzero(np.maximum(window.source, window.target) <= 40)
        np.testing.assert_array_equal(np.sort(np.concatenate([batch.rows for batch in batches])), kept)
        assert left_out == 5000 - len(kept) > 0
        for rows, shape in batches:
            assert 1 <= len(rows) <= shape.examples
            assert window.source[rows].max() + 1 <= shape.source
            assert window.target[rows].max() + 1 <= shape.target
            if budget is None:
                assert shape.examples <= 16
            else:
                assert shape.examples * max(shape.source, shape.target) <= budget


def test_windows_have_few_shapes_and_little_padding() -> None:
    lengths = correlated_lengths(60_000)
    batching = BatchConfig(batch_size=64)
    first = part_of(lengths, slice(20_000))
    shapes = FixedShapes(lengths=first, batching=batching)
    known = {shape[1:] for shape in BatchPlan(lengths=first, batching=batching).shapes}
    found, positions, tokens = set(), 0, 0
    for start in range(20_000, 60_000, 10_000):
        window = part_of(lengths, slice(start, start + 10_000))
        batches, _ = dealt(shapes, window)
        assert len(batches) <= 1.05 * 10_000 / 64
        found |= {batch.shape for batch in batches}
        positions += sum(batch.shape.examples * (batch.shape.source + batch.shape.target) for batch in batches)
        tokens += int(window.source.sum() + window.target.sum()) + 2 * 10_000
    assert {shape[1:] for shape in found} <= known | {(101, 101)}
    # Whole batches of each, and parts of the few that nothing larger could take rows from.
    assert len(found) <= len(known) + 9
    share = 1 - tokens / positions
    assert share < 0.16
    assert shapes.padding_share == pytest.approx(share, abs=0.02)


def test_what_does_not_fill_a_batch_goes_into_the_next_larger_one() -> None:
    batching = BatchConfig(batch_size=8, bucket_width=1, longest_example=30)
    shapes = FixedShapes(lengths=sentences([2] * 400 + [20] * 400), batching=batching, end_tokens=0)
    batches, _ = dealt(shapes, sentences([2] * 11 + [20] * 6))
    # 8 short ones; 3 more with 5 of the long ones; the sixth in an eighth of a batch.
    assert sorted((batch.shape, len(batch.rows)) for batch in batches) == [
        (Shape(1, 20, 0), 1), (Shape(8, 2, 0), 8), (Shape(8, 20, 0), 8),
    ]  # fmt: skip
    # The shape added for what is longer than anything before takes such rows alone.
    batches, left_out = dealt(shapes, sentences([2, 30, 25, 31]))
    assert sorted((batch.shape, len(batch.rows)) for batch in batches) == [(Shape(1, 20, 0), 1), (Shape(2, 30, 0), 2)]
    assert left_out == 1


def test_a_generator_tells_the_batches_of_a_window() -> None:
    window = correlated_lengths(500)
    shapes = FixedShapes(lengths=window, batching=BatchConfig(batch_size=8))

    def rows(seed: int) -> list[list[int]]:
        return [batch.rows.tolist() for batch in dealt(shapes, window, seed)[0]]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)
    shapes_in_order = [batch.shape.target for batch in dealt(shapes, window)[0]]
    assert abs(np.corrcoef(shapes_in_order[:-1], shapes_in_order[1:])[0, 1]) < 0.4
