"""The step on real tasks in float16; its arithmetic is tested where the loop is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resume_worker

from nlp_rnn import corpora
from nlp_rnn.config import TrainingConfig
from nlp_rnn.optimization import TrainStep, build_optimizer, build_schedule
from nlp_rnn.tasks.tagging import TaggingTask
from nlp_rnn.tasks.translation import TranslationTask

SETTINGS = TrainingConfig(precision="mixed_float16", warmup_steps=0, learning_rate=0.01)


@pytest.mark.parametrize("family", ["tagger", "translator"])
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
