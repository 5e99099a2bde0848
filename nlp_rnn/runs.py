"""Whole trainings: from a configuration to a model directory with an export."""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from nlp_rnn import corpora, distribution, hardware, report, store, training, transfer
from nlp_rnn.checkpoints import Checkpoints, Snapshot, fingerprint_of_files, fingerprint_of_rows
from nlp_rnn.config import TrainingConfig
from nlp_rnn.distribution import Devices
from nlp_rnn.event_files import EventFile
from nlp_rnn.export import export_model
from nlp_rnn.families import Run, family_of
from nlp_rnn.jobs import TaggerRun, TranslatorRun
from nlp_rnn.settings import flat_values, to_dict
from nlp_rnn.tasks.classification import ClassificationTask
from nlp_rnn.tasks.tagging import TaggingTask
from nlp_rnn.tasks.translation import TranslationTask

_log = logging.getLogger(__name__)

_SAMPLES = 32
# What may differ between a training and the one that goes on from its checkpoint.
_FREE = ("output", "samples", "resume", "checkpoint_steps", "tensorboard", "strategy", "worker_timeout")

Task = TranslationTask | TaggingTask | ClassificationTask


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training leaves.

    Attributes:
        folder: The model directory.
        version: The folder of the export made at the end.
        metrics: Of what is stored, on the validation set: the best epoch or the mean of the last ones, and of a
            classifier with its fitted share and temperature.
        history: A row for each epoch.
    """

    folder: Path
    version: Path
    metrics: dict[str, Any]
    history: list[dict[str, float]]


def train(run: Run, *, callbacks: Sequence[keras.callbacks.Callback] = ()) -> Trained:
    """Trains a model and exports its best checkpoint.

    While it trains, checkpoints are kept in the output; with `resume` it goes
    on from the newest one, as if it had never been interrupted. On a CPU this
    process keeps the memory it frees from then on, which saves time. Of several
    workers the chief, the first, alone measures, stores and exports; the others
    wait for that, and return the same as the chief does.

    Args:
        run: everything the training needs to know; its class tells the family.
        callbacks: Keras callbacks, such as a progress bar. Each worker runs
            its own; only the chief's can stop the training, after an epoch.

    Raises:
        ConfigError: the settings are impossible, `run.output` holds something
            else, or its checkpoint was written with other settings or data.
        DataError: the data cannot be read.
        DivergenceError: the loss or its gradient became infinite or NaN.
        ExportError: the export does not answer like the trained network; the
            network is stored all the same.
        LostWorkerError: other workers did not come, or are gone.
    """
    store.check_output(run.output)
    devices = distribution.start(run.training.strategy, timeout=run.training.worker_timeout)
    folder, resume, run = Path(run.output), run.training.resume, _resolved(run)
    checkpoints = Checkpoints(folder=folder / store.CHECKPOINT, settings=_settings(run))
    with devices.guarding():
        task, history = _learn(run, devices, checkpoints, callbacks, resume=resume)
        version, metrics = devices.from_chief(lambda: _finish(task, checkpoints, run.output, history))
    return Trained(folder=folder, version=Path(version), metrics=metrics, history=history)


def _finish(
    task: Task, checkpoints: Checkpoints, output: str, history: list[dict[str, float]]
) -> tuple[str, dict[str, Any]]:
    """Stores and exports the trained network; returns the folder of the export, and the metrics."""
    metrics = _keep(task, output, history)
    version = export_model(output)
    checkpoints.remove()
    return str(version), metrics


def _learn(
    run: Run,
    devices: Devices,
    checkpoints: Checkpoints,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    resume: bool,
) -> tuple[Task, list[dict[str, float]]]:
    """Prepares a task and trains its network, from the newest checkpoint on with `resume`."""
    snapshot = _snapshot(checkpoints) if resume else None
    task = prepare(run, load_corpus(run))
    checkpoints.data = _fingerprints(task)
    if snapshot is not None:
        checkpoints.require_same_data(snapshot)
    # By then all have read their checkpoint, which the chief's next one may replace.
    newest = checkpoints.newest.name if checkpoints.newest else None
    devices.agree({**checkpoints.settings, **checkpoints.data, "newest checkpoint": newest})
    _log.info("%s parameters.", f"{task.network.count_params():,}")
    watchers = list(callbacks)
    if run.training.tensorboard and devices.is_chief:
        watchers.append(EventFile(Path(run.output) / store.LOGS))
    history = training.train(
        set_up(task), run.training, callbacks=watchers, checkpoints=checkpoints, snapshot=snapshot, devices=devices
    )
    return task, history


def _resolved(run: Run) -> Run:
    """Returns a run whose precision is chosen, and which does not say any more that it was resumed."""
    precision: str = run.training.precision
    if precision == "auto":
        precision, reason = hardware.fastest_precision()
        _log.info("Precision %s: %s.", precision, reason)
    changes: dict[str, Any] = {"precision": precision, "resume": False}
    training_settings: Any = dataclasses.replace(run.training, **changes)
    return dataclasses.replace(run, training=training_settings)


def _fix_randomness(settings: TrainingConfig) -> None:
    keras.utils.set_random_seed(settings.seed)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()


def _snapshot(checkpoints: Checkpoints) -> Snapshot | None:
    snapshot = checkpoints.read()
    if snapshot is None:
        _log.warning("There is no checkpoint in %s to go on from: training starts anew.", checkpoints.folder)
    return snapshot


def _settings(run: Run) -> dict[str, Any]:
    """Returns all that the numbers of a training depend on, the data's content excepted."""
    flat = flat_values(type(run), to_dict(run))
    return {"family": family_of(run).name, **{name: value for name, value in flat.items() if name not in _FREE}}


def _fingerprints(task: Task) -> dict[str, str]:
    return {
        "the training set": fingerprint_of_rows(task.corpus.train),
        "the validation set": fingerprint_of_rows(task.corpus.validation),
        "the vocabulary": fingerprint_of_files(task.text.save),
    }


def _keep(task: Task, output: str, history: list[dict[str, float]]) -> dict[str, Any]:
    """Measures the trained network, stores it with all that is known of it, and returns its metrics."""
    text, metrics = task.finish()
    samples = task.corpus.validation.select(range(min(_SAMPLES, len(task.corpus.validation))))
    findings = report.Findings(
        run=task.run,
        parameters=task.network.count_params(),
        training_examples=len(task.corpus.train),
        validation_examples=len(task.corpus.validation),
        own_validation=task.corpus.own_validation,
        notes=task.corpus.notes,
        metrics=metrics,
        history=history,
        review=task.review(),
    )
    store.save(
        output,
        config=task.run,
        network=task.network,
        text=text,
        metrics=metrics,
        history=history,
        samples=samples.to_list(),
        draw=functools.partial(report.draw, findings),
        describe=functools.partial(report.write, findings),
    )
    return metrics


def load_corpus(run: Run) -> corpora.Corpus:
    """Loads the examples that a training asks for, and logs what is to be known of them."""
    kind: corpora.Task = "classification"
    if isinstance(run, TranslatorRun):
        kind = "translation"
    elif isinstance(run, TaggerRun):
        kind = "tagging"
    corpus = corpora.load(run.data, kind)
    for note in corpus.notes:
        _log.info("%s", note)
    return corpus


def prepare(run: Run, corpus: corpora.Corpus) -> Task:
    """Learns the vocabularies and builds a new network, ready to be trained on this machine; the seed decides how."""
    _fix_randomness(run.training)
    if hardware.training_path() == "portable":
        hardware.keep_freed_memory()
    run, base = _resolved(run), foundation(run)
    if isinstance(run, TranslatorRun):
        return TranslationTask.prepare(run, corpus, hardware.training_path(), base)
    if isinstance(run, TaggerRun):
        return TaggingTask.prepare(run, corpus, hardware.training_path(), base)
    return ClassificationTask.prepare(run, corpus, hardware.training_path(), base)


def set_up(task: Task) -> training.Training:
    """Returns what the train loop needs of a task; the training set is measured here."""
    made = task.set_up()
    return dataclasses.replace(made, depths=transfer.depths(task.network)) if task.run.init_from else made


def foundation(run: Run) -> transfer.Foundation | None:
    """Returns what a run's model begins with, if with anything."""
    return transfer.foundation(store.load(run.init_from)) if run.init_from else None
