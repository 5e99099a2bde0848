"""Trainings on one device and on two that are one CPU: what the test of distribution compares.

    python mirrored_worker.py FOLDER CASE ...

Prints one JSON object: for each case what one device and what two devices came to. How many devices a CPU counts as
must be said before TensorFlow begins; hence a process of its own.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import resume_worker
import tensorflow as tf
import test_training as regressions

from nlp_rnn import distribution, runs, training
from nlp_rnn.config import BatchConfig, DataConfig
from nlp_rnn.distribution import Devices
from nlp_rnn.jobs import ClassifierRun
from nlp_rnn.model_config import ClassifierConfig, ClassifierTrainingConfig
from nlp_rnn.optimization import Objective
from nlp_rnn.plans import WHOLE, Part
from nlp_rnn.training import Training

SMALL = [{name: 1e-3 * values for name, values in batch.items()} for batch in regressions.BATCHES]
REGRESSIONS: dict[str, dict[str, Any]] = {
    "clipped": {"clip_norm": 1.5, "epochs": 2},
    "accumulated": {"clip_norm": 1.5, "epochs": 2, "accumulate_steps": 2},
    "thawed": {"epochs": 3, "thaw_epochs": 1, "layer_decay": 0.5},
    "float16": {"precision": "mixed_float16"},
}


def a_training(network: keras.Model, batches: regressions.Batches, objective: Objective | None = None) -> Training:
    """A regression whose batches can be divided: without filling up, so that a part may be of any size, or empty."""
    validate = regressions.scripted(1, 2, 3)  # the last epoch is the best
    plain = regressions.a_training(network, batches=batches, objective=objective, validate=validate)

    def epoch_batches(epoch: int, start: int = 0, part: Part = WHOLE) -> tf.data.Dataset:
        own = [{name: values[part.place :: part.of] for name, values in batch.items()} for batch in batches]
        return regressions.a_training(network, batches=own).epoch_batches(epoch, start)

    return dataclasses.replace(plain, epoch_batches=epoch_batches)


def regression(devices: Devices, settings: Mapping[str, Any]) -> dict[str, Any]:
    network = regressions.regression(settings.get("precision", "float32"))
    given = a_training(network, SMALL if "precision" in settings else regressions.BATCHES)
    if "thaw_epochs" in settings:
        given = dataclasses.replace(given, depths=[1])
    history = training.train(given, regressions.settings(**settings), devices=devices)
    figures = [[row[name] for name in ("loss", "gradient_norm", "step")] for row in history]
    return {"figures": figures, "weights": network.get_weights()[0].tolist()}


def overflow(devices: Devices) -> dict[str, Any]:
    """Gradients above 2 overflow at first, of every second row, thus on one of two devices."""
    network, recorder = regressions.regression("mixed_float16"), regressions.Recorder()
    batch = {"x": np.array([[1e-3, 0.0], [4.0, -3.0]] * 2), "y": np.array([0.0, 1.0] * 2)}
    own = regressions.settings(precision="mixed_float16")
    training.train(a_training(network, [batch] * 10), own, devices=devices, callbacks=[recorder])
    return {"weights": [weights.tolist() for weights in recorder.after_batch]}


def noise(devices: Devices) -> dict[str, Any]:
    """The loss of each part of a batch is a random number."""
    network, recorder, generator = regressions.regression(), regressions.Recorder(), keras.random.SeedGenerator(7)

    def objective(batch: Any, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = keras.random.uniform([], seed=generator)
        return drawn + 0.0 * tf.reduce_sum(network(batch["x"])), tf.ones([])

    given = a_training(network, regressions.BATCHES[:1], objective)
    given = dataclasses.replace(given, generators=(generator,))
    training.train(given, regressions.settings(), devices=devices, callbacks=[recorder])
    again = keras.random.SeedGenerator(7)
    return {"loss": recorder.losses[0], "drawn": [float(keras.random.uniform([], seed=again)) for _ in range(2)]}


def a_task(folder: Path, family: str) -> Any:
    """A tiny task of a family, without anything random; batches of an odd number of examples."""
    if family == "classifier":
        run: Any = ClassifierRun(
            output="unused",
            data=DataConfig(dataset="sample:sentiment"),
            model=ClassifierConfig(embedding_size=8, encoder_size=8, attention_size=4, dropout=0.0, ngram_buckets=64),
            training=ClassifierTrainingConfig(word_dropout=0.0, epochs=1, warmup_steps=0, monitor="loss"),
        )
    else:
        run = resume_worker.a_run(folder, family, "unused", resume=False, epochs=1, average_checkpoints=1)
        run = dataclasses.replace(
            run,
            model=dataclasses.replace(run.model, dropout=0.0),
            training=dataclasses.replace(run.training, scheduled_sampling="none"),
        )
    run = dataclasses.replace(run, batching=BatchConfig(batch_size=15, bucket_width=32))
    corpus = runs.load_corpus(run)
    keras.utils.set_random_seed(1)
    return runs.prepare(run, dataclasses.replace(corpus, train=corpus.train.select(range(45))))


def task(devices: Devices, folder: Path, family: str) -> dict[str, Any]:
    recorder, made = regressions.Recorder(), a_task(folder, family)
    given = dataclasses.replace(made.set_up(), validate=lambda: {"validation_loss": 1.0})
    training.train(given, made.run.training, devices=devices, callbacks=[recorder])
    return {"losses": recorder.losses, "weights": [weights.tolist() for weights in made.network.get_weights()]}


def came_to(name: str, devices: Devices, folder: Path) -> dict[str, Any]:
    if name in REGRESSIONS:
        return regression(devices, REGRESSIONS[name])
    if name in ("translator", "classifier"):
        return task(devices, folder, name)
    return {"overflow": overflow, "noise": noise}[name](devices)


def main() -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    folder, cases = Path(sys.argv[1]), sys.argv[2:]
    resume_worker.write_data(folder)
    both = [distribution.start("single", timeout=1), distribution.start("mirrored", timeout=1)]
    print(json.dumps({name: [came_to(name, devices, folder) for devices in both] for name in cases}))


if __name__ == "__main__":
    main()
