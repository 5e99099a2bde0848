"""One step of training: gradients of a batch, or of several, their norm, and what Adam makes of them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf

from nlp_rnn.config import TrainingConfig
from nlp_rnn.distribution import Compute, Sums
from nlp_rnn.schedules import OneCycle, ReduceOnPlateau, WarmUpThenDecay

_log = logging.getLogger(__name__)

Batch = Mapping[str, tf.Tensor]


class Objective(Protocol):
    """What a family minimises."""

    def __call__(self, batch: Batch, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the loss summed over a batch's tokens or examples, and their number; both float32 ()."""


class Outcome(NamedTuple):
    """What came of a batch, each float32 (); asking for a value waits for it.

    Attributes:
        total: The loss, summed over the items.
        items: Tokens or examples.
        norm: That of the gradient before clipping; None if the batch made no step.
    """

    total: tf.Tensor
    items: tf.Tensor
    norm: tf.Tensor | None


def build_schedule(settings: TrainingConfig, total_steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the course of the learning rate."""
    if settings.schedule == "one_cycle":
        return OneCycle(peak=settings.learning_rate, total_steps=total_steps)
    if total_steps < settings.warmup_steps:
        # Told, not shortened: trainers elsewhere take the number as it is given too, and figures stay comparable.
        _log.warning(
            "All epochs together have %d steps, fewer than the %d of warmup_steps: the learning rate only rises to "
            "%.3g, not to %.3g. Lower warmup_steps (--warmup-steps), or train for more epochs.",
            total_steps, settings.warmup_steps,
            settings.learning_rate * total_steps / settings.warmup_steps, settings.learning_rate,
        )  # fmt: skip
    if settings.schedule == "reduce_on_plateau":
        return ReduceOnPlateau(
            peak=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            factor=settings.plateau_factor,
            patience=settings.plateau_patience,
        )
    return WarmUpThenDecay(
        peak=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        total_steps=total_steps,
        decay=settings.schedule,
    )


def build_optimizer(
    network: keras.Model, settings: TrainingConfig, schedule: keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    """Returns Adam over a schedule, with loss scaling where the precision needs it."""
    optimizer = keras.optimizers.Adam(schedule)
    if settings.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)
    return optimizer


class TrainStep:
    """The compiled step: `step(batch)` changes the parameters and returns an `Outcome`.

    With `accumulates`, `step(batch, update=False)` only adds to the gradient,
    each item with the same weight, and the next call with `update=True` takes
    the step, as if all batches since the last one had been a single batch.

    Args:
        network: what is trained.
        objective: what is minimised.
        optimizer: built for the network's variables.
        clip_norm: largest global norm of the gradient.
        accumulates: whether there will be calls without update.
        shares: how large each parameter's steps are at a training step, as a
            share of what the optimizer makes them; see `schedules.thawing`.
        across: computes a batch on all devices of a training, given what
            computes one on one; the result is to be that of the whole batch.
        signature: what batches look like, from a data set's `element_spec`.
            With it, all batches run through one and the same graph; without,
            what a batch computes may depend, in the last bit, on the shapes
            of the batches before it.
    """

    def __init__(
        self,
        *,
        network: keras.Model,
        objective: Objective,
        optimizer: keras.optimizers.Optimizer,
        clip_norm: float,
        accumulates: bool = False,
        shares: Callable[[tf.Tensor], Sequence[tf.Tensor]] | None = None,
        across: Callable[[Compute, Any], Sums] | None = None,
        signature: Any = None,
    ):
        self._variables = network.trainable_variables
        self._objective = objective
        self._optimizer = optimizer
        self._clip_norm = clip_norm
        self._accumulates = accumulates
        self._shares = shares
        self._across = across
        options = {"autograph": False, "reduce_retracing": signature is None}
        signatures = None if signature is None else (signature,)
        # Compiled, the update passes over each parameter once instead of once an operation.
        self._update = tf.function(self._update_parameters, jit_compile=True, autograph=False)
        self._whole = tf.function(self._whole_step, input_signature=signatures, **options)
        if accumulates:
            self._sums = [tf.Variable(tf.zeros(variable.shape), trainable=False) for variable in self._variables]
            self._items = tf.Variable(0.0, trainable=False)
            self._add = tf.function(self._add_gradients, input_signature=signatures, **options)
            self._finish = tf.function(self._take_step, autograph=False)

    def __call__(self, batch: Batch, *, update: bool = True) -> Outcome:
        """Learns from a batch."""
        if not self._accumulates:
            return Outcome(*self._whole(batch))
        total, items = self._add(batch)
        return Outcome(total, items, self._finish() if update else None)

    def _whole_step(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        total, items, gradients = self._gradients(batch)
        return total, items, self._scaled_update(gradients)

    def _add_gradients(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        total, items, gradients = self._gradients(batch)
        for gradient, so_far in zip(gradients, self._sums, strict=True):
            so_far.assign_add(items * gradient)
        self._items.assign_add(items)
        return total, items

    def _take_step(self) -> tf.Tensor:
        norm = self._scaled_update([tf.math.divide_no_nan(value.read_value(), self._items) for value in self._sums])
        with tf.control_dependencies([norm]):
            for value in (*self._sums, self._items):
                value.assign(tf.zeros_like(value))
        return norm

    def _gradients(self, batch: Any) -> Sums:
        """Returns the loss, the items, and the gradient of the mean loss times the loss scale."""
        return self._gradients_here(batch) if self._across is None else self._across(self._gradients_here, batch)

    def _gradients_here(self, batch: Batch) -> Sums:
        with tf.GradientTape() as tape:
            total, items = self._objective(batch, tf.cast(self._optimizer.iterations, tf.int32))
            scaled = self._scale() * tf.math.divide_no_nan(total, items)
        gradients = tape.gradient(scaled, [variable.value for variable in self._variables])
        # Rows of an embedding's gradient that meet are summed here.
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        for gradient, variable in zip(dense, self._variables, strict=True):
            gradient.set_shape(variable.shape)  # which the sum forgets
        return total, items, dense

    def _scaled_update(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        scale = self._scale()
        # XLA would write all squares down, and then add them up on a single core.
        return self._update(gradients, tf.linalg.global_norm(gradients), self._clip_norm * scale) / scale

    def _update_parameters(self, gradients: list[tf.Tensor], norm: tf.Tensor, largest_norm: tf.Tensor) -> tf.Tensor:
        factor = tf.minimum(1.0, tf.math.divide_no_nan(largest_norm, norm))
        scaled = [factor * gradient for gradient in gradients]
        if self._shares is None:
            self._optimizer.apply_gradients(list(zip(scaled, self._variables, strict=True)))
            return norm
        shares = self._shares(tf.convert_to_tensor(self._optimizer.iterations))
        before = [tf.identity(variable.value) for variable in self._variables]
        self._optimizer.apply_gradients(list(zip(scaled, self._variables, strict=True)))
        for variable, old, share in zip(self._variables, before, shares, strict=True):
            # Chosen, not multiplied by 0: what is frozen stays as it is, bit for bit.
            variable.assign(tf.where(share > 0, old + share * (variable.value - old), old))
        return norm

    def _scale(self) -> tf.Tensor:
        return self._optimizer.scale_loss(tf.ones([]))
