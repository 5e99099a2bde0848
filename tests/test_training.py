"""The network is a linear regression, whose losses, gradients and optimum are known."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.checkpoints import Checkpoints
from nlp_rnn.config import ConfigError, TrainingConfig
from nlp_rnn.optimization import Objective
from nlp_rnn.training import DivergenceError, Training, train

Batches = list[dict[str, np.ndarray]]

START = [1.0, -1.0]
BATCHES: Batches = [
    {"x": np.array([[1.0, 2.0], [3.0, -1.0]]), "y": np.array([1.0, 0.5])},
    {"x": np.array([[0.5, 0.1]]), "y": np.array([0.0])},
    {"x": np.array([[4.0, -3.0], [1.0, 1.0], [2.0, 5.0]]), "y": np.array([1.0, 0.0, -2.0])},
]


def settings(**changes: Any) -> TrainingConfig:
    plain: dict[str, Any] = {"epochs": 1, "learning_rate": 0.1, "schedule": "constant", "warmup_steps": 0}
    return TrainingConfig(**{**plain, "clip_norm": 1e9, **changes})


def regression(dtype: str = "float32") -> keras.Model:
    layer = keras.layers.Dense(1, use_bias=False, dtype=dtype)
    network = keras.Sequential([keras.Input((2,), dtype="float32"), layer])
    network.set_weights([np.array(START)[:, None]])
    return network


def squares(network: keras.Model) -> Objective:
    def objective(batch: Mapping[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        errors = tf.cast(network(batch["x"])[:, 0], tf.float32) - batch["y"]
        return tf.reduce_sum(errors**2), tf.cast(tf.size(errors), tf.float32)

    return objective


def a_training(
    network: keras.Model,
    *,
    objective: Objective | None = None,
    batches: Batches = BATCHES,
    validate: Callable[[], Mapping[str, float]] = lambda: {"score": 1.0},
    higher_is_better: bool = True,
) -> Training:
    kinds = {"rows": np.int64}
    rows = [{name: value.astype(kinds.get(name, np.float32)) for name, value in batch.items()} for batch in batches]
    signature = {name: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for name, value in rows[0].items()}
    return Training(
        network=network,
        objective=objective or squares(network),
        epoch_batches=lambda epoch, start: tf.data.Dataset.from_generator(
            lambda: iter(rows[start:]), output_signature=signature
        ),
        steps_per_epoch=len(rows),
        validate=validate,
        monitor="score",
        higher_is_better=higher_is_better,
    )


def scripted(*scores: float) -> Callable[[], Mapping[str, float]]:
    """Returns the scores one after the other, and fails when asked once too often."""
    rest = iter(scores)
    return lambda: {"score": next(rest)}


class Recorder(keras.callbacks.Callback):
    """Keeps the weights after each batch and each epoch, and the logs."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.losses: list[float] = []
        self.after_batch: list[np.ndarray] = []
        self.after_epoch: list[np.ndarray] = []
        self.rows: list[dict[str, float]] = []

    def weights(self) -> np.ndarray:
        return np.concatenate([weight.ravel() for weight in self.model.get_weights()])

    def on_train_begin(self, logs: Any = None) -> None:
        self.events.append("begin")

    def on_train_end(self, logs: Any = None) -> None:
        self.events.append("end")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.events.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.events.append(f"batch {batch}")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(float(logs["loss"]))
        self.after_batch.append(self.weights())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.rows.append(dict(logs))
        self.after_epoch.append(self.weights())


def adam_by_hand(clip_norm: float, rate: float) -> tuple[np.ndarray, list[float], list[float]]:
    """Kingma and Ba (2015), algorithm 1 in its efficient form, over BATCHES: weights, losses, gradient norms."""
    weights, first, second = np.array(START), np.zeros(2), np.zeros(2)
    losses, norms = [], []
    for time, batch in enumerate(BATCHES, start=1):
        errors = batch["x"] @ weights - batch["y"]
        gradient = 2 * batch["x"].T @ errors / len(errors)
        losses.append(float(np.sum(errors**2)))
        norms.append(float(np.sqrt(np.sum(gradient**2))))
        gradient *= min(1.0, clip_norm / norms[-1])
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        size = rate * math.sqrt(1 - 0.999**time) / (1 - 0.9**time)
        weights = weights - size * first / (np.sqrt(second) + 1e-7)
    return weights, losses, norms


@pytest.mark.parametrize("clip_norm", [1e9, 1.5])
def test_steps_are_adam_s_over_clipped_gradients(clip_norm: float) -> None:
    network = regression()
    (row,) = train(a_training(network), settings(clip_norm=clip_norm))
    weights, losses, norms = adam_by_hand(clip_norm, rate=0.1)
    assert min(norms) < 1.5 < max(norms)  # some gradients are clipped, some are not
    np.testing.assert_allclose(network.get_weights()[0][:, 0], weights, rtol=1e-5)
    assert row["loss"] == pytest.approx(sum(losses) / 6, rel=1e-5)  # per example, whatever the batches
    assert row["gradient_norm"] == pytest.approx(np.mean(norms), rel=1e-5)


def test_training_finds_the_optimum() -> None:
    x = np.concatenate([batch["x"] for batch in BATCHES])
    y = np.concatenate([batch["y"] for batch in BATCHES])
    network = regression()
    train(
        a_training(network, batches=[{"x": x, "y": y}] * 100, validate=scripted(1, 2)),
        settings(epochs=2, schedule="cosine"),
    )
    np.testing.assert_allclose(network.get_weights()[0][:, 0], np.linalg.lstsq(x, y, rcond=None)[0], atol=1e-3)


def slope(network: keras.Model) -> Objective:
    """The gradient is always 1, so that Adam's steps are the learning rate."""

    def objective(batch: Mapping[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.reduce_sum(tf.convert_to_tensor(network.trainable_variables[0])), tf.ones([])

    return objective


def test_the_learning_rate_follows_its_schedule() -> None:
    network, recorder = regression(), Recorder()
    history = train(
        a_training(network, objective=slope(network), validate=scripted(1, 2)),
        settings(epochs=2, learning_rate=0.2, warmup_steps=2, schedule="cosine"),
        callbacks=[recorder],
    )
    steps = -np.diff([START[0], *(weights[0] for weights in recorder.after_batch)])
    # Two steps of warm-up, then half a cosine over the remaining four of the two epochs.
    falling = [0.1 * (1 + math.cos(math.pi * done / 4)) for done in (1, 2, 3, 4)]
    np.testing.assert_allclose(steps, [0.1, 0.2, *falling], atol=1e-5)
    assert [row["learning_rate"] for row in history] == pytest.approx([falling[1], 0.0], abs=1e-6)  # of the next step


def test_the_objective_is_told_the_step() -> None:
    network, recorder = regression(), Recorder()

    def objective(batch: Mapping[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return 0.0 * tf.reduce_sum(network(batch["x"])) + tf.cast(step, tf.float32), tf.ones([])

    train(a_training(network, objective=objective), settings(epochs=2), callbacks=[recorder])
    assert recorder.losses == [0, 1, 2, 3, 4, 5]


def test_each_epoch_has_its_own_batches() -> None:
    network, recorder, asked = regression(), Recorder(), []

    def epoch_batches(epoch: int, start: int) -> tf.data.Dataset:
        assert start == 0
        asked.append(epoch)
        return tf.data.Dataset.from_tensors({"x": tf.ones([1, 2]), "y": tf.fill([1], float(epoch))})

    plain = a_training(network)
    own = Training(**{**vars(plain), "epoch_batches": epoch_batches, "steps_per_epoch": 1})
    train(own, settings(epochs=3, learning_rate=1e-9), callbacks=[recorder])
    assert asked == [0, 1, 2]
    assert recorder.losses == pytest.approx([0, 1, 4], abs=1e-5)  # the network says 0, always


def test_gradients_of_one_embedding_s_rows_are_summed_before_they_are_measured() -> None:
    network = keras.Sequential([keras.Input((None,)), keras.layers.Embedding(3, 1, embeddings_initializer="ones")])

    def objective(batch: Mapping[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.reduce_sum(network(batch["x"])), tf.ones([])

    batches = [{"x": np.array([[1, 1, 1, 2]])}]
    (row,) = train(a_training(network, objective=objective, batches=batches), settings())
    assert row["gradient_norm"] == pytest.approx(math.sqrt(3**2 + 1), rel=1e-6)


@pytest.mark.parametrize(
    ("scores", "higher", "best"), [((1, 3, 2), True, 1), ((3, 2, 1), True, 0), ((3, 1, 2), False, 1)]
)
def test_the_best_epoch_s_weights_are_left(scores: Sequence[float], higher: bool, best: int) -> None:
    network, recorder = regression(), Recorder()
    history = train(
        a_training(network, validate=scripted(*scores), higher_is_better=higher),
        settings(epochs=3),
        callbacks=[recorder],
    )
    assert [row["score"] for row in history] == list(scores)
    np.testing.assert_array_equal(recorder.weights(), recorder.after_epoch[best])
    assert len({tuple(weights) for weights in recorder.after_epoch}) == 3


def test_an_epoch_whose_score_is_no_number_is_not_the_best() -> None:
    network, recorder = regression(), Recorder()
    train(a_training(network, validate=scripted(math.nan, 1, math.nan)), settings(epochs=3), callbacks=[recorder])
    np.testing.assert_array_equal(recorder.weights(), recorder.after_epoch[1])
    never = a_training(network, validate=lambda: {"score": math.nan})
    assert len(train(never, settings(epochs=9, patience=2))) == 3


def test_training_ends_when_patience_does() -> None:
    """An equal score is no better one."""
    network, recorder = regression(), Recorder()
    training = a_training(network, validate=scripted(1, 2, 2, 1, 3))
    history = train(training, settings(epochs=9, patience=2), callbacks=[recorder])
    assert len(history) == 4
    np.testing.assert_array_equal(recorder.weights(), recorder.after_epoch[1])


@pytest.mark.parametrize(("averaged", "taken"), [(4, True), (3, False), (2.5, False)])
def test_the_mean_of_the_last_epochs_is_taken_if_it_is_better(averaged: float, taken: bool) -> None:
    network, recorder = regression(), Recorder()
    history = train(
        a_training(network, validate=scripted(1, 2, 3, averaged)),
        settings(epochs=3, average_checkpoints=2),
        callbacks=[recorder],
    )
    mean = np.mean(recorder.after_epoch[1:], axis=0)
    np.testing.assert_allclose(recorder.weights(), mean if taken else recorder.after_epoch[2], rtol=1e-6)
    assert len(history) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_weights_of_past_epochs_are_kept_for_their_mean_alone(count: int, tmp_path: Path) -> None:
    checkpoints = Checkpoints(folder=tmp_path)
    train(a_training(regression()), settings(epochs=3, average_checkpoints=count), checkpoints=checkpoints)
    snapshot = checkpoints.read()
    assert snapshot is not None
    assert [name for name in snapshot.arrays if name.startswith("last")] == ["last 0", "last 1"][: 2 * (count - 1)]


def test_callbacks_see_what_those_of_fit_see() -> None:
    network, recorder = regression(), Recorder()
    history = train(a_training(network), settings(epochs=2), callbacks=[recorder])
    of_an_epoch = ["batch 0", "batch 1", "batch 2"]
    assert recorder.events == ["begin", "epoch 0", *of_an_epoch, "epoch 1", *of_an_epoch, "end"]
    assert recorder.params == {"epochs": 2, "steps": 3}
    assert recorder.model is network
    assert recorder.losses[0] == pytest.approx(np.mean([(-1 - 1) ** 2, (4 - 0.5) ** 2]))  # per example
    assert recorder.rows == history


class StopsAfter(keras.callbacks.Callback):
    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        self.model.stop_training = self.left <= 0


@pytest.mark.parametrize(("batches", "epochs"), [(3, 1), (5, 2)])
def test_a_callback_can_stop_the_training(batches: int, epochs: int) -> None:
    """As in fit: within an epoch, which is then measured; and the next training is not stopped by it."""
    network, recorder = regression(), Recorder()
    history = train(a_training(network), settings(epochs=4), callbacks=[recorder, StopsAfter(batches)])
    assert (len(recorder.after_batch), len(history)) == (batches, epochs)
    assert history[-1]["step"] == batches
    assert recorder.events[-1] == "end"
    assert len(train(a_training(network), settings(epochs=2))) == 2


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_training(wrong: float) -> None:
    network = regression()
    batches = [*BATCHES, {"x": np.array([[1.0, 1.0]]), "y": np.array([wrong])}]
    with pytest.raises(
        DivergenceError,
        match=rf"loss became {wrong} in epoch 1, step 4 \(batch 4 of 4\)\. There is no checkpoint .* Lower the",
    ):
        train(a_training(network, batches=batches), settings())


def test_a_long_epoch_is_not_waited_for_when_the_loss_is_no_number() -> None:
    network, recorder = regression(), Recorder()
    batches = [{"x": np.array([[1.0, 1.0]]), "y": np.array([math.nan])}] * 200
    with pytest.raises(DivergenceError, match=r"step 1 \(batch 1 of 200\)"):
        train(a_training(network, batches=batches), settings(), callbacks=[recorder])
    assert len(recorder.after_batch) == 50


def rows(batches: Batches) -> Batches:
    """Adds the rows that batches were made of: 0, 1, 2, ..."""
    sizes = np.cumsum([0, *(len(batch["y"]) for batch in batches)])
    return [{**batch, "rows": np.arange(*pair)} for batch, *pair in zip(batches, sizes[:-1], sizes[1:], strict=True)]


def test_the_rows_that_ended_a_training_and_the_last_checkpoint_are_named(tmp_path: Path) -> None:
    network = regression()
    bad = {"x": np.ones([12, 2]), "y": np.full([12], math.nan)}
    checkpoints = Checkpoints(folder=tmp_path)
    with pytest.raises(DivergenceError) as raised:
        train(
            a_training(network, batches=rows([*BATCHES, bad])),
            settings(checkpoint_steps=2),
            checkpoints=checkpoints,
        )
    assert (
        "step 4 (batch 4 of 4, rows 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 and 2 more of the training set, counted from 0 "
        "without those that were left out or held out)"
    ) in str(raised.value)
    # The one of step 4 would have held weights that are no numbers.
    assert f"The last good checkpoint is {tmp_path / '1'}." in str(raised.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]


def test_a_gradient_that_is_no_number_ends_the_training_before_it_is_kept(tmp_path: Path) -> None:
    """The loss is 0; the derivative of a square root there is infinite."""
    network = regression()

    def objective(batch: Mapping[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.reduce_sum(tf.sqrt(0.0 * network(batch["x"]))), tf.ones([])

    with pytest.raises(DivergenceError, match=r"The gradient's norm became nan in epoch 1, step 1 "):
        train(
            a_training(network, objective=objective),
            settings(checkpoint_steps=1),
            checkpoints=Checkpoints(folder=tmp_path),
        )
    assert list(tmp_path.iterdir()) == []


def joined(batches: Batches) -> dict[str, np.ndarray]:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_accumulated_batches_are_one_batch(precision: str) -> None:
    """The last group of an epoch has what is left; each example counts alike, however many its batch has."""
    small = [{"x": 1e-2 * batch["x"], "y": 1e-2 * batch["y"]} for batch in BATCHES]  # float16 must not overflow
    trained = []
    for batches, accumulate_steps in ((small, 2), ([joined(small[:2]), small[2]], 1)):
        network = regression(precision)
        history = train(
            a_training(network, batches=batches, validate=scripted(1, 2)),
            settings(
                epochs=2, accumulate_steps=accumulate_steps, clip_norm=0.01, schedule="cosine", precision=precision
            ),
        )
        assert [row["step"] for row in history] == [2, 4]
        figures = [[row[name] for name in ("loss", "gradient_norm", "learning_rate")] for row in history]
        trained.append((network.get_weights()[0], figures))
    tolerance = 1e-5 if precision == "float32" else 1e-2
    for found, expected in zip(*trained, strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-7)


def test_a_plateau_lowers_the_rate() -> None:
    network = regression()
    history = train(
        a_training(network, validate=scripted(1, 1, 1, 1)),
        settings(epochs=4, schedule="reduce_on_plateau", plateau_factor=0.1, plateau_patience=1, patience=9),
    )
    # Of the next step, when an epoch is measured: the reduction comes after that.
    assert [row["learning_rate"] for row in history] == pytest.approx([0.1, 0.1, 0.01, 0.001])


class InterruptionError(Exception):
    pass


class Interrupts(keras.callbacks.Callback):
    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            raise InterruptionError


def noisy(scores: Sequence[float], asked: list[tuple[int, int]]) -> Training:
    """A training that draws random numbers, in a dropout layer and in its objective; 5 batches, scores by epoch."""
    keras.utils.set_random_seed(3)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    generator, epochs = keras.random.SeedGenerator(5), [0]
    batches = [{"x": 1.0 + np.arange(2.0 * n).reshape(n, 2), "y": np.ones(n)} for n in (1, 2, 3, 4, 5)]

    def objective(batch: Mapping[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        errors = network(batch["x"], training=True)[:, 0] - batch["y"]
        errors += keras.random.normal(tf.shape(errors), seed=generator)
        return tf.reduce_sum(errors**2), tf.cast(tf.size(errors), tf.float32)

    plain = a_training(network, objective=objective, batches=batches)

    def epoch_batches(epoch: int, start: int) -> tf.data.Dataset:
        asked.append((epoch, start))
        epochs[0] = epoch
        return plain.epoch_batches(epoch, start)

    own = {"epoch_batches": epoch_batches, "generators": (generator,), "validate": lambda: {"score": scores[epochs[0]]}}
    return Training(**{**vars(plain), **own})


NOISY: dict[str, Any] = {
    "epochs": 4, "average_checkpoints": 2, "schedule": "reduce_on_plateau", "plateau_patience": 1, "patience": 3,
}  # fmt: skip
SCORES = (3.0, 1.0, 2.0, 1.0, 0.0)
TIMES = {"seconds", "items_per_second"}


def without_times(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in history]


@pytest.mark.parametrize(
    ("precision", "accumulate_steps", "checkpoint_steps", "interruptions"),
    [
        ("float32", 1, 1, [1, 4, 6]),
        ("float32", 1, 0, [7, 6]),
        ("float32", 2, 2, [3, 8]),
        ("mixed_float16", 1, 2, [3]),
    ],
)
def test_an_interrupted_training_ends_as_an_unbroken_one(
    precision: str, accumulate_steps: int, checkpoint_steps: int, interruptions: list[int], tmp_path: Path
) -> None:
    own = settings(**NOISY, precision=precision, accumulate_steps=accumulate_steps, checkpoint_steps=checkpoint_steps)
    unbroken = noisy(SCORES, [])
    expected = train(unbroken, own)
    for batches in interruptions:
        checkpoints = Checkpoints(folder=tmp_path)
        with pytest.raises(InterruptionError):
            train(
                noisy(SCORES, []), own, callbacks=[Interrupts(batches)],
                checkpoints=checkpoints, snapshot=checkpoints.read(),
            )  # fmt: skip
    checkpoints = Checkpoints(folder=tmp_path)
    last = noisy(SCORES, [])
    snapshot = checkpoints.read()
    assert snapshot is not None
    history = train(last, own, checkpoints=checkpoints, snapshot=snapshot)
    assert without_times(history) == without_times(expected)
    seconds = [row["seconds"] for row in history]
    assert seconds == sorted(seconds)
    for mine, theirs in zip(last.network.get_weights(), unbroken.network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_batches_done_are_not_read_again(tmp_path: Path) -> None:
    own, checkpoints = settings(epochs=2, checkpoint_steps=2), Checkpoints(folder=tmp_path)
    with pytest.raises(InterruptionError):
        train(noisy(SCORES, []), own, callbacks=[Interrupts(10)], checkpoints=checkpoints)
    asked: list[tuple[int, int]] = []
    recorder = Recorder()
    train(noisy(SCORES, asked), own, callbacks=[recorder], checkpoints=checkpoints, snapshot=checkpoints.read())
    assert asked == [(1, 3)]  # step 8
    assert recorder.events == ["begin", "epoch 1", "batch 3", "batch 4", "end"]


def test_a_training_killed_after_its_last_epoch_only_ends(tmp_path: Path) -> None:
    """Also where patience or a callback had ended it."""
    for own, callbacks in (
        (settings(epochs=2), []),
        (settings(epochs=9, patience=1), []),
        (settings(epochs=9), [StopsAfter(8)]),
    ):
        checkpoints = Checkpoints(folder=tmp_path)
        first = noisy(SCORES, [])
        expected = train(first, own, callbacks=callbacks, checkpoints=checkpoints)
        asked: list[tuple[int, int]] = []
        second = noisy(SCORES, asked)
        assert train(second, own, checkpoints=checkpoints, snapshot=checkpoints.read()) == expected
        assert asked == []
        for mine, theirs in zip(first.network.get_weights(), second.network.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_the_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(folder=tmp_path)
    train(noisy(SCORES, []), settings(), checkpoints=checkpoints)
    with pytest.raises(ConfigError, match="variables of another network or optimizer"):
        train(a_training(regression()), settings(), snapshot=checkpoints.read())


def test_the_history_says_how_it_went() -> None:
    network = regression()
    history = train(a_training(network, validate=lambda: {"score": 1.0, "other": 2.0}), settings(epochs=3))
    names = {"epoch", "step", "seconds", "learning_rate", "loss", "gradient_norm", "items_per_second"}
    assert [set(row) for row in history] == [names | {"score", "other"}] * 3
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["step"] for row in history] == [3, 6, 9]
    padded = Training(**{**vars(a_training(network)), "padding_share": 0.25})
    assert train(padded, settings())[0]["padding_share"] == 0.25
    seconds = [row["seconds"] for row in history]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    # Six examples within the seconds of the epoch, part of which is validation.
    assert history[1]["items_per_second"] >= 6 / (seconds[1] - seconds[0])


def test_float16_is_trained_as_float32_is() -> None:
    """Gradients of 1e-6 would be lost in float16 without loss scaling; the norm told is that of the true gradient."""
    small = [{"x": 1e-3 * batch["x"], "y": 1e-3 * batch["y"]} for batch in BATCHES]
    trained = []
    for policy in ("float32", "mixed_float16"):
        network = regression(policy)
        (row,) = train(a_training(network, batches=small), settings(precision=policy))
        trained.append((network.get_weights()[0], row["gradient_norm"], row["loss"]))
    for expected, found in zip(*trained, strict=True):
        np.testing.assert_allclose(found, expected, rtol=5e-2, atol=0)


def test_steps_whose_scaled_gradients_overflow_are_skipped_and_not_measured() -> None:
    """Keras begins with a scale of 2**15; float16 ends at 65504, so that gradients above 2 overflow at first."""
    network, recorder = regression("mixed_float16"), Recorder()
    batches = [BATCHES[2]] * 20
    (row,) = train(a_training(network, batches=batches), settings(precision="mixed_float16"), callbacks=[recorder])
    np.testing.assert_array_equal(recorder.after_batch[0], START)
    assert not np.array_equal(recorder.after_batch[-1], START)
    assert np.isfinite(row["gradient_norm"])
    assert 1 < row["gradient_norm"] < 100
