"""The step on real tasks in float16, and of parts that are taken over; its arithmetic is tested where the loop is."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import resume_worker
import tensorflow as tf

from nlp_rnn import corpora
from nlp_rnn.config import TrainingConfig
from nlp_rnn.optimization import TrainStep, build_optimizer, build_schedule
from nlp_rnn.tasks.tagging import TaggingTask
from nlp_rnn.tasks.translation import TranslationTask

SETTINGS = TrainingConfig(precision="mixed_float16", warmup_steps=0, learning_rate=0.01)


@pytest.mark.parametrize("family", ["tagger", pytest.param("translator", marks=pytest.mark.slow)])
def test_ten_steps_in_float16_leave_numbers_and_move_the_loss_scale(family: str, tmp_path: Path) -> None:
    resume_worker.write_data(tmp_path)
    run: Any = resume_worker.a_run(tmp_path, family, "unused", resume=False, precision="mixed_float16")
    kind: Any = {"tagger": (TaggingTask, "tagging"), "translator": (TranslationTask, "translation")}[family]
    task = kind[0].prepare(run, corpora.load(run.data, kind[1]), "portable")
    training = task.set_up()
    optimizer = build_optimizer(task.network, SETTINGS, build_schedule(SETTINGS, 100))
    batches = [batch for epoch in (0, 1) for batch in training.epoch_batches(epoch, 0)][:10]
    step = TrainStep(
        network=task.network,
        objective=training.objective,
        optimizer=optimizer,
        clip_norm=1.0,
        signature=training.epoch_batches(0, 0).element_spec,
    )
    before = task.network.get_weights()
    losses = [float(outcome.total) / float(outcome.items) for outcome in map(step, batches)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert all(np.isfinite(weights).all() for weights in task.network.get_weights())
    assert not all(map(np.array_equal, before, task.network.get_weights()))
    # Counted up by each step, or halved by one that overflowed.
    assert (int(optimizer.step_counter), float(optimizer.dynamic_scale)) != (0, 2.0**15)


def test_what_is_frozen_stays_and_the_rest_moves_by_its_share() -> None:
    network = keras.Sequential([keras.layers.Dense(2, use_bias=False), keras.layers.Dense(1, use_bias=False)])
    network.build((None, 3))
    start = network.get_weights()

    def objective(batch: Any, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.reduce_sum(network(batch["x"])), tf.constant(4.0)

    def moved(shares: list[float] | None) -> list[np.ndarray]:
        network.set_weights(start)
        settings = TrainingConfig(warmup_steps=0, learning_rate=0.01, schedule="constant")
        optimizer = build_optimizer(network, settings, build_schedule(settings, 10))
        given = None if shares is None else lambda step: [tf.constant(share) for share in shares]
        step = TrainStep(network=network, objective=objective, optimizer=optimizer, clip_norm=1.0, shares=given)
        step({"x": tf.ones([4, 3])})
        return network.get_weights()

    whole, part = moved(None), moved([0.0, 0.5])
    np.testing.assert_array_equal(part[0], start[0])
    np.testing.assert_allclose(part[1] - start[1], (whole[1] - start[1]) / 2, rtol=1e-3)
    assert np.abs(whole[0] - start[0]).max() > 0.005


@pytest.mark.parametrize(("schedule", "told"), [("cosine", True), ("reduce_on_plateau", True), ("one_cycle", False)])
def test_a_warm_up_that_outlasts_the_training_is_told(
    schedule: Any, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    settings = TrainingConfig(warmup_steps=6, learning_rate=0.1, schedule=schedule)
    build_schedule(settings, total_steps=6)
    assert caplog.text == ""
    rising = build_schedule(settings, total_steps=3)
    expected = "have 3 steps, fewer than the 6 of warmup_steps: the learning rate only rises to 0.05, not to 0.1."
    assert (expected in caplog.text) == told
    assert not told or float(rising(2)) == pytest.approx(0.05)
