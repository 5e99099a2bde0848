"""What the benchmarks of training share: a task's compiled step, and running it over batches."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from nlp_rnn import families, optimization
from nlp_rnn.training import Training

STEPS = 10_000
"""Of the learning rate's schedule; no figure depends on them."""


def changed(task: Any, *, precision: str, **sizes: Any) -> Any:
    """Returns a family's task with a new network, in a precision and perhaps of other sizes."""
    run = dataclasses.replace(
        task.run,
        model=dataclasses.replace(task.run.model, **sizes),
        training=type(task.run.training)(precision=precision),
    )
    build = families.family_of(run).build
    network = build(run, task.text, precision=precision, training_path="portable")
    return dataclasses.replace(task, run=run, network=network)


def step_of(task: Any, made: Training) -> optimization.TrainStep:
    """Returns a task's train step; `made` is what its `set_up` returned."""
    settings = task.run.training
    schedule = optimization.build_schedule(settings, STEPS)
    return optimization.TrainStep(
        network=task.network,
        objective=made.objective,
        optimizer=optimization.build_optimizer(task.network, settings, schedule),
        clip_norm=settings.clip_norm,
    )


def train(step: Callable[[Any], Any], batches: Iterable[Any]) -> None:
    """Learns from batches, and waits for the last of them."""
    for batch in batches:
        total, _, _ = step(batch)
    float(total)
