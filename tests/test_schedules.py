"""The schedules, against values by hand from the papers' formulas."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.schedules import OneCycle, ReduceOnPlateau, WarmUpThenDecay, thawing, truth_share

FALLS = ["linear", "exponential", "inverse_sigmoid"]


def rate(step: int, decay: str, *, warmup_steps: int = 4, total_steps: int = 20) -> float:
    schedule = WarmUpThenDecay(peak=0.5, warmup_steps=warmup_steps, total_steps=total_steps, decay=decay)
    return float(schedule(tf.constant(step, tf.int64)))


@pytest.mark.parametrize(
    ("decay", "step", "expected"),
    [
        ("constant", 0, 0.125),  # the first of four steps up
        ("constant", 2, 0.375),
        ("constant", 3, 0.5),
        ("constant", 1000, 0.5),
        ("inverse_square_root", 0, 0.125),
        ("inverse_square_root", 3, 0.5),
        ("inverse_square_root", 15, 0.25),  # sqrt(4 / 16) of the peak
        ("inverse_square_root", 399, 0.05),  # sqrt(4 / 400)
        ("cosine", 0, 0.125),
        ("cosine", 3, 0.5),
        ("cosine", 7, 0.25 * (1 + math.sqrt(0.5))),  # a quarter of the way down: cos(pi / 4)
        ("cosine", 11, 0.25),  # half-way
        ("cosine", 19, 0.0),  # the last of twenty steps
        ("cosine", 1000, 0.0),
    ],
)
def test_learning_rate_by_hand(decay: str, step: int, expected: float) -> None:
    assert rate(step, decay) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("decay", ["constant", "inverse_square_root"])
def test_without_warm_up_the_first_step_has_the_peak(decay: str) -> None:
    assert rate(0, decay, warmup_steps=0) == 0.5


def test_cosine_shorter_than_its_warm_up_still_warms_up() -> None:
    assert rate(1, "cosine", warmup_steps=4, total_steps=2) == 0.25


@pytest.mark.parametrize("decay", ["constant", "inverse_square_root", "cosine"])
def test_learning_rate_comes_back_from_its_config(decay: str) -> None:
    schedule = WarmUpThenDecay(peak=0.5, warmup_steps=4, total_steps=20, decay=decay)
    optimizer = keras.optimizers.SGD(schedule)
    again = keras.optimizers.SGD.from_config(optimizer.get_config())
    variable = keras.Variable([0.0])
    again.build([variable])
    for expected in [rate(0, decay), rate(1, decay)]:
        before = variable.numpy()[0]
        again.apply([tf.ones([1])], [variable])
        assert before - variable.numpy()[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 0.04 + 0.96 * (1 - math.sqrt(3) / 2) / 2),  # a sixth of the way up: cos(pi / 6) = sqrt(3) / 2
        (2, 0.52),  # half-way from a 25th to all
        (5, 1.0),  # 30 % of twenty steps
        (12, 0.5),  # half-way down
        (19, 0.0),
        (100, 0.0),
    ],
)
def test_one_cycle_by_hand(step: int, share: float) -> None:
    schedule = OneCycle(peak=0.5, total_steps=20)
    assert float(schedule(tf.constant(step, tf.int64))) == pytest.approx(0.5 * share, abs=1e-7)


def plateau(**changes: float) -> ReduceOnPlateau:
    return ReduceOnPlateau(**{"peak": 0.8, "warmup_steps": 4, "factor": 0.5, "patience": 2, **changes})


def test_a_plateau_s_rate_falls_after_each_run_of_epochs_without_a_better_one() -> None:
    schedule = plateau()
    late = tf.constant(100)
    rates = []
    for better in (True, False, True, False, False, False, False, True):
        schedule.after_epoch(better=better)
        rates.append(float(schedule(late)))
    assert rates == pytest.approx([0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2])
    # During the warm-up too: the second of four steps.
    assert float(schedule(tf.constant(1))) == pytest.approx(0.2 / 2)


def test_compiled_steps_see_a_plateau_s_new_rate() -> None:
    schedule = plateau(patience=1)
    rate = tf.function(schedule, jit_compile=True)
    assert float(rate(tf.constant(100))) == pytest.approx(0.8)
    assert schedule.after_epoch(better=False)
    assert float(rate(tf.constant(100))) == pytest.approx(0.4)


def test_a_plateau_is_restored() -> None:
    schedule = plateau()
    schedule.restore(reductions=2, epochs_since=1)
    assert float(schedule(tf.constant(100))) == pytest.approx(0.2)
    assert schedule.after_epoch(better=False)
    assert (schedule.reductions, schedule.epochs_since) == (3, 0)


@pytest.mark.parametrize("schedule", [OneCycle(peak=0.5, total_steps=20), plateau()], ids=lambda s: type(s).__name__)
def test_the_others_come_back_from_their_configs(schedule: keras.optimizers.schedules.LearningRateSchedule) -> None:
    optimizer = keras.optimizers.SGD(schedule)
    again = keras.optimizers.SGD.from_config(optimizer.get_config())
    again.build([keras.Variable([0.0])])
    assert float(again.learning_rate) == pytest.approx(float(schedule(tf.constant(0))))


def shares(fall: str, floor: float, steps: int) -> np.ndarray:
    share = truth_share(fall, floor=floor, steps=steps)
    return np.array([float(share(tf.constant(step, tf.int64))) for step in range(0, steps + 10, max(1, steps // 50))])


@pytest.mark.parametrize(
    ("fall", "step", "expected"),
    [
        ("linear", 0, 1.0),
        ("linear", 250, 0.8),
        ("linear", 500, 0.6),
        ("linear", 1000, 0.2),
        ("exponential", 0, 1.0),
        ("exponential", 500, math.sqrt(0.2)),
        ("exponential", 1000, 0.2),
    ],
)
def test_truth_share_by_hand(fall: str, step: int, expected: float) -> None:
    share = truth_share(fall, floor=0.2, steps=1000)
    assert float(share(tf.constant(step))) == pytest.approx(expected, abs=1e-6)


def test_inverse_sigmoid_is_the_curve_that_meets_the_floor() -> None:
    # k = 100 gives 100 / (100 + exp(5)) at step 500, and that floor must give k = 100 back.
    floor = 100 / (100 + math.exp(5))
    share = truth_share("inverse_sigmoid", floor=floor, steps=500)
    for step in [0, 100, 250, 400, 499]:
        expected = 100 / (100 + math.exp(step / 100))
        assert float(share(tf.constant(step))) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("fall", FALLS)
@pytest.mark.parametrize("floor", [0.0, 0.004, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("steps", [1000, 300_000])
def test_truth_share_falls_from_one_to_its_floor(fall: str, floor: float, steps: int) -> None:
    values = shares(fall, floor, steps)
    assert np.isfinite(values).all()
    assert 0.98 < values[0] <= 1.0
    assert (np.diff(values) <= 0).all()
    assert (values >= np.float32(floor)).all()
    assert values[-1] == np.float32(floor)
    assert float(truth_share(fall, floor=floor, steps=steps)(tf.constant(steps))) == np.float32(floor)
    assert float(truth_share(fall, floor=floor, steps=steps)(tf.constant(2**31 - 1))) == np.float32(floor)


@pytest.mark.parametrize("fall", FALLS)
@pytest.mark.parametrize("floor", [0.0, 1.0])
def test_one_step_is_enough(fall: str, floor: float) -> None:
    first, *rest = shares(fall, floor, 1)
    assert 0.0 < first <= 1.0
    assert set(rest) == {floor}


def test_layers_thaw_from_the_top_and_learn_the_less_the_further_down() -> None:
    shares_of = thawing([0, 2, 1], decay=0.5, steps=10)
    assert [float(share) for share in shares_of(tf.constant(0))] == [1.0, 0.0, 0.0]
    assert [float(share) for share in shares_of(tf.constant(10))] == [1.0, 0.0, 0.5]
    assert [float(share) for share in shares_of(tf.constant(20))] == [1.0, 0.25, 0.5]
    assert [float(share) for share in thawing([0, 3], decay=1.0, steps=0)(tf.constant(0))] == [1.0, 1.0]
