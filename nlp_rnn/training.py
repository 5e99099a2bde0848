"""The train loop, one for all families.

`keras.Model.fit` can neither go on in the middle of an epoch nor run on
several workers, so the loop is ours; what it is made of is Keras's: optimizers,
schedules, and any callback.

What a checkpoint holds is all that the numbers of a training depend on: the
parameters, the optimizer's variables, and the seed generators of dropout and of
the objective. Nothing in a training step draws from the random generators of
Python, NumPy or TensorFlow; the order of the batches follows from seed and epoch.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from nlp_rnn.checkpoints import Checkpoints, Snapshot
from nlp_rnn.config import ConfigError, TrainingConfig
from nlp_rnn.distribution import Devices, EpochBatches
from nlp_rnn.optimization import Objective, Outcome, TrainStep, build_optimizer, build_schedule
from nlp_rnn.schedules import ReduceOnPlateau, thawing

_log = logging.getLogger(__name__)

# Asking for a loss waits for its step to end; between two questions the next batches are prepared.
_BATCHES_BETWEEN_LOOKS = 50
_ROWS_SHOWN = 10


class DivergenceError(RuntimeError):
    """The loss or its gradient is no longer a number."""


class Positions(Protocol):
    """Where batches come from, if that has to be remembered to go on from a batch."""

    failure: Exception | None
    """What ended the reading of batches, as it was before TensorFlow made its own error of it."""

    def position(self, batch: int) -> Mapping[str, Any]:
        """Returns what there is to be known to go on with a batch, counted over the whole training from 0."""

    def restore(self, position: Mapping[str, Any]) -> None:
        """Goes on from what `position` returned."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training needs besides its settings.

    Attributes:
        network: The model to train.
        objective: What to minimise.
        epoch_batches: Returns the training batches of an epoch.
        steps_per_epoch: Batches in each epoch.
        validate: Measures the network on the validation set.
        monitor: The key of what `validate` returns that tells the best epoch.
        higher_is_better: Whether a high value of it is the better one.
        generators: What the objective draws from, besides the network's own.
        padding_share: Share of the batches' positions that are padding, if known.
        depths: How far down the network each trainable parameter is that was
            taken over from another model, 0 if it is new; empty if all are.
        stream: Where the batches come from, if they do not follow from the
            number of an epoch alone.
    """

    network: keras.Model
    objective: Objective
    epoch_batches: EpochBatches
    steps_per_epoch: int
    validate: Callable[[], Mapping[str, float]]
    monitor: str
    higher_is_better: bool
    generators: Sequence[keras.random.SeedGenerator] = ()
    padding_share: float | None = None
    depths: Sequence[int] = ()
    stream: Positions | None = None


def measure_of(monitor: str) -> tuple[str, bool]:
    """Returns the key that a `monitor` setting stands for, and whether a high value of it is the better one."""
    return ("validation_loss", False) if monitor == "loss" else (monitor, True)


def train(
    training: Training,
    settings: TrainingConfig,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoints: Checkpoints | None = None,
    snapshot: Snapshot | None = None,
    devices: Devices | None = None,
) -> list[dict[str, float]]:
    """Trains a network, and leaves it with its best weights.

    After each epoch the validation set is measured. With `average_checkpoints`
    above 1, the mean of the last epochs' weights is measured too at the end,
    and taken if it is better than the best epoch.

    Args:
        training: the network and its data.
        settings: how the parameters are learned.
        callbacks: Keras callbacks. They see the logs of `fit`: `loss` on every
            batch (a tensor), all columns of the history after every epoch.
        checkpoints: where to keep checkpoints, if at all.
        snapshot: what they held, to go on from there. Everything after it is
            as it would have been without the interruption.
        devices: where to compute; one device, if not given. Of several
            processes the chief measures and writes, and the others follow it.

    Returns:
        The history, a row for each epoch: `epoch` (from 1), `step`,
        `learning_rate`, `loss` (per token or example), `gradient_norm` (mean,
        before clipping; steps that loss scaling skipped left out),
        `items_per_second`, `padding_share` where it is known, what `validate`
        returns, and `seconds` since the start, without what was lost by interruptions.

    Raises:
        DivergenceError: the loss or its gradient became infinite or NaN.
        ConfigError: the snapshot is another network's.
        Exception: what a stream's reading ended with.
    """
    try:
        return _Loop(training, settings, callbacks, checkpoints, devices or Devices()).run(snapshot)
    except tf.errors.OpError as error:
        if training.stream is not None and training.stream.failure is not None:
            raise training.stream.failure from error
        raise


@dataclass
class _Sums:
    """What the history's row of the running epoch is made of."""

    batches: int = 0
    loss: float = 0.0
    items: float = 0.0
    norms: float = 0.0
    measured_norms: int = 0
    seconds: float = 0.0


@dataclass
class _Progress:
    """How far a training is."""

    epoch: int = 0
    seconds: float = 0.0
    sums: _Sums = field(default_factory=_Sums)
    history: list[dict[str, float]] = field(default_factory=list)
    best_value: float | None = None
    epochs_since: int = 0
    stopped: bool = False


class _Loop:
    """A training under way: numbers in `_progress`, weights in Keras's variables and two lists."""

    def __init__(
        self,
        training: Training,
        settings: TrainingConfig,
        callbacks: Sequence[keras.callbacks.Callback],
        checkpoints: Checkpoints | None,
        devices: Devices,
    ):
        self._training, self._settings, self._checkpoints = training, settings, checkpoints
        self._devices = devices
        self._network = training.network
        self._steps_per_epoch = math.ceil(training.steps_per_epoch / settings.accumulate_steps)
        self._schedule = build_schedule(settings, settings.epochs * self._steps_per_epoch)
        self._optimizer = build_optimizer(self._network, settings, self._schedule)
        self._watchers = keras.callbacks.CallbackList(
            list(callbacks), model=self._network, epochs=settings.epochs, steps=training.steps_per_epoch
        )
        self._progress = _Progress()
        self._best: list[np.ndarray] = []
        self._last: list[list[np.ndarray]] = []
        self._step: TrainStep | None = None
        self._waiting: list[tuple[Outcome, tf.Tensor | None]] = []

    def run(self, snapshot: Snapshot | None) -> list[dict[str, float]]:
        if snapshot is not None:
            self._restore(snapshot)
        self._devices.begin(self._variables())
        self._began = time.perf_counter() - self._progress.seconds
        self._network.stop_training = False
        self._watchers.on_train_begin()
        while not self._is_over():
            self._run_epoch()
        if len(self._last) > 1:
            self._measure_mean()
        self._network.set_weights(self._best)
        self._watchers.on_train_end()
        return self._progress.history

    def _is_over(self) -> bool:
        progress, settings = self._progress, self._settings
        return progress.stopped or progress.epoch >= settings.epochs or progress.epochs_since >= settings.patience

    def _run_epoch(self) -> None:
        progress, settings = self._progress, self._settings
        self._epoch_began = time.perf_counter() - progress.sums.seconds
        self._watchers.on_epoch_begin(progress.epoch)
        self._run_batches()
        row = self._devices.from_chief(self._row)
        progress.history.append(row)
        self._watchers.on_epoch_end(progress.epoch, row)
        better = self._keep_best(row)
        if isinstance(self._schedule, ReduceOnPlateau) and self._schedule.after_epoch(better=better):
            rate = settings.learning_rate * settings.plateau_factor**self._schedule.reductions
            _log.info("No better %s: the learning rate is reduced to %.3g.", self._training.monitor, rate)
        if settings.average_checkpoints > 1:
            self._last = [*self._last, self._network.get_weights()][-settings.average_checkpoints :]
        progress.epoch, progress.sums = progress.epoch + 1, _Sums()
        progress.stopped = self._devices.from_chief(lambda: self._network.stop_training)
        if progress.epochs_since >= settings.patience:
            _log.info("No better %s for %d epochs: training ends.", self._training.monitor, settings.patience)
        self._save()

    def _run_batches(self) -> None:
        training, sums, every = self._training, self._progress.sums, self._settings.accumulate_steps
        batches = self._devices.batches(training.epoch_batches, self._progress.epoch, sums.batches)
        step = self._step = self._step or self._build_step(batches.element_spec)
        for batch in batches:
            self._watchers.on_train_batch_begin(sums.batches)
            update = (sums.batches + 1) % every == 0 or sums.batches + 1 == training.steps_per_epoch
            outcome = step(batch, update=update)
            self._waiting.append((outcome, self._devices.rows(batch)))
            self._watchers.on_train_batch_end(sums.batches, {"loss": outcome.total / tf.maximum(outcome.items, 1.0)})
            sums.batches += 1
            due = update and self._is_checkpoint_due()
            if due or len(self._waiting) == _BATCHES_BETWEEN_LOOKS:
                self._look()
            if due:
                self._save()
            if self._network.stop_training and self._devices.may_stop_alone:
                break
        self._look()

    def _build_step(self, signature: Any) -> TrainStep:
        return TrainStep(
            network=self._network,
            objective=self._training.objective,
            optimizer=self._optimizer,
            clip_norm=self._settings.clip_norm,
            accumulates=self._settings.accumulate_steps > 1,
            shares=self._shares(),
            across=self._devices.mean,
            signature=signature,
        )

    def _shares(self) -> Callable[[tf.Tensor], Sequence[tf.Tensor]] | None:
        settings = self._settings
        if settings.layer_decay == 1 and not settings.thaw_epochs:
            return None
        steps = settings.thaw_epochs * self._steps_per_epoch
        return thawing(self._training.depths, decay=settings.layer_decay, steps=steps)

    def _steps_done(self, batches: int) -> int:
        """Steps taken when so many batches of the running epoch are done."""
        return self._progress.epoch * self._steps_per_epoch + math.ceil(batches / self._settings.accumulate_steps)

    def _is_checkpoint_due(self) -> bool:
        every = self._settings.checkpoint_steps
        return every > 0 and self._steps_done(self._progress.sums.batches) % every == 0

    def _look(self) -> None:
        """Waits for the steps under way and adds up what came of them."""
        sums, first = self._progress.sums, self._progress.sums.batches - len(self._waiting) + 1
        # Where loss scaling makes the gradients overflow, the step is skipped.
        skips = isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer)
        for batch, (outcome, rows) in enumerate(self._waiting, first):
            total = float(outcome.total)
            if not math.isfinite(total):
                raise DivergenceError(self._diagnosis(f"The loss became {total}", batch, rows))
            sums.loss += total
            sums.items += float(outcome.items)
            norm = 0.0 if outcome.norm is None else float(outcome.norm)
            if not math.isfinite(norm) and not skips:
                raise DivergenceError(self._diagnosis(f"The gradient's norm became {norm}", batch, rows))
            if outcome.norm is not None and math.isfinite(norm):
                sums.norms += norm
                sums.measured_norms += 1
        self._waiting.clear()

    def _diagnosis(self, what: str, batch: int, rows: tf.Tensor | None) -> str:
        where = f"batch {batch} of {self._training.steps_per_epoch}"
        if rows is not None:
            numbers = sorted(rows.numpy().tolist())
            more = f" and {len(numbers) - _ROWS_SHOWN} more" if len(numbers) > _ROWS_SHOWN else ""
            where += f", rows {', '.join(map(str, numbers[:_ROWS_SHOWN]))}{more} of the training set, counted from 0"
            if self._training.stream is None:  # whose rows are counted before any are left out
                where += " without those that were left out or held out"
        saved = self._checkpoints.newest if self._checkpoints else None
        return (
            f"{what} in epoch {self._progress.epoch + 1}, step {self._steps_done(batch)} ({where}). "
            f"{f'The last good checkpoint is {saved}' if saved else 'There is no checkpoint yet'}. "
            "Lower the learning rate, lengthen the warm-up, or look at that batch."
        )

    def _row(self) -> dict[str, float]:
        sums, training = self._progress.sums, self._training
        seconds = time.perf_counter() - self._epoch_began
        known = {} if training.padding_share is None else {"padding_share": training.padding_share}
        return {
            "epoch": self._progress.epoch + 1,
            "step": float(self._optimizer.iterations),
            "learning_rate": float(self._optimizer.learning_rate),
            "loss": sums.loss / max(sums.items, 1.0),
            "gradient_norm": sums.norms / sums.measured_norms if sums.measured_norms else math.nan,
            "items_per_second": sums.items / seconds,
            **known,
            **training.validate(),
            "seconds": time.perf_counter() - self._began,
        }

    def _keep_best(self, row: Mapping[str, float]) -> bool:
        progress, training = self._progress, self._training
        value = row[training.monitor] if training.higher_is_better else -row[training.monitor]
        value = -math.inf if math.isnan(value) else value
        better = progress.best_value is None or value > progress.best_value
        if better:
            progress.best_value, progress.epochs_since, self._best = value, 0, self._network.get_weights()
        else:
            progress.epochs_since += 1
        return better

    def _measure_mean(self) -> None:
        self._network.set_weights([np.mean(weights, axis=0) for weights in zip(*self._last, strict=True)])
        averaged = self._devices.from_chief(lambda: dict(self._training.validate()))
        monitor = self._training.monitor
        _log.info("Mean of the last %d epochs: %s %.4g", len(self._last), monitor, averaged[monitor])
        self._keep_best(averaged)

    # What follows is for checkpoints.

    def _variables(self) -> list[keras.Variable]:
        """All that steps change; those of the network include its seed generators."""
        seeds = [generator.state for generator in self._training.generators]
        return [*self._network.variables, *self._optimizer.variables, *seeds]

    def _save(self) -> None:
        if self._checkpoints is None or not self._devices.is_chief:
            return
        progress, now = self._progress, time.perf_counter()
        progress.seconds = now - self._began
        if progress.sums.batches:
            progress.sums.seconds = now - self._epoch_began
        state = asdict(progress)
        if isinstance(self._schedule, ReduceOnPlateau):
            state["plateau"] = {"reductions": self._schedule.reductions, "epochs_since": self._schedule.epochs_since}
        if self._training.stream is not None:
            done = progress.epoch * self._training.steps_per_epoch + progress.sums.batches
            state["stream"] = self._training.stream.position(done)
        arrays = {"variables": [variable.numpy() for variable in self._variables()], "best": self._best}
        arrays |= {f"last {place}": weights for place, weights in enumerate(self._last)}
        self._checkpoints.write(Snapshot(state=state, arrays=arrays))

    def _restore(self, snapshot: Snapshot) -> None:
        state, arrays = dict(snapshot.state), snapshot.arrays
        variables = self._variables()
        found = [(value.shape, str(value.dtype)) for value in arrays["variables"]]
        if found != [(tuple(variable.shape), variable.dtype) for variable in variables]:
            raise ConfigError(
                "The checkpoint holds the variables of another network or optimizer, maybe of another version of "
                "nlp_rnn or Keras. Train anew, without --resume."
            )
        for variable, value in zip(variables, arrays["variables"], strict=True):
            variable.assign(value)
        if isinstance(self._schedule, ReduceOnPlateau):
            self._schedule.restore(**state.pop("plateau"))
        if self._training.stream is not None:
            self._training.stream.restore(state.pop("stream"))
        self._progress = _Progress(**{**state, "sums": _Sums(**state["sums"])})
        self._best = list(arrays["best"])
        self._last = [list(arrays[f"last {place}"]) for place in range(len(arrays) - 2)]
        _log.info(
            "Training goes on in epoch %d, after %d of its %d batches.",
            self._progress.epoch + 1, self._progress.sums.batches, self._training.steps_per_epoch,
        )  # fmt: skip
