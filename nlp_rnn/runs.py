"""Whole trainings: from a configuration to a model directory with an export."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from nlp_rnn import corpora, report, store, training, transfer
from nlp_rnn.export import export_model
from nlp_rnn.families import Run
from nlp_rnn.jobs import TaggerRun, TranslatorRun
from nlp_rnn.layers.recurrent import Path as TrainingPath
from nlp_rnn.tasks.classification import ClassificationTask
from nlp_rnn.tasks.tagging import TaggingTask
from nlp_rnn.tasks.translation import TranslationTask

_log = logging.getLogger(__name__)

_SAMPLES = 32


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training leaves.

    Attributes:
        folder: The model directory.
        version: The folder of the export made at the end.
        metrics: The best epoch on the validation set.
        history: A row for each epoch.
    """

    folder: Path
    version: Path
    metrics: dict[str, Any]
    history: list[dict[str, float]]


def train(run: Run, *, callbacks: Sequence[keras.callbacks.Callback] = ()) -> Trained:
    """Trains a model and exports its best checkpoint.

    Args:
        run: everything the training needs to know; its class tells the family.
        callbacks: Keras callbacks, such as a progress bar.

    Raises:
        ConfigError: the settings are impossible, or `run.output` holds something else.
        DataError: the data cannot be read.
        DivergenceError: the loss became infinite or NaN.
        ExportError: the export does not answer like the trained network; the
            network is stored all the same.
    """
    store.check_output(run.output)
    keras.utils.set_random_seed(run.training.seed)
    if run.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    task = prepare(run, load_corpus(run))
    _log.info("%s parameters.", f"{task.network.count_params():,}")
    history = training.train(task.set_up(), run.training, callbacks=callbacks)
    text, metrics = task.finish()
    samples = task.corpus.validation.select(range(min(_SAMPLES, len(task.corpus.validation))))
    findings = report.Findings(
        run=task.run,
        parameters=task.network.count_params(),
        training_examples=len(task.corpus.train),
        validation_examples=len(task.corpus.validation),
        notes=task.corpus.notes,
        metrics=metrics,
        history=history,
        review=task.review(),
    )
    store.save(
        run.output,
        config=task.run,
        network=task.network,
        text=text,
        metrics=metrics,
        history=history,
        samples=samples.to_list(),
        draw=functools.partial(report.draw, findings),
        describe=functools.partial(report.write, findings),
    )
    folder = Path(run.output)
    return Trained(folder=folder, version=export_model(folder), metrics=metrics, history=history)


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


def prepare(run: Run, corpus: corpora.Corpus) -> TranslationTask | TaggingTask | ClassificationTask:
    """Learns the vocabularies and builds a new network, ready to be trained on this machine."""
    base = transfer.foundation(store.load(run.init_from)) if run.init_from else None
    if isinstance(run, TranslatorRun):
        return TranslationTask.prepare(run, corpus, _training_path(), base)
    if isinstance(run, TaggerRun):
        return TaggingTask.prepare(run, corpus, _training_path(), base)
    return ClassificationTask.prepare(run, corpus, _training_path(), base)


def _training_path() -> TrainingPath:
    """The one place where the hardware decides how recurrent layers train; how they infer never depends on it."""
    return "cudnn" if tf.config.list_physical_devices("GPU") else "portable"
