"""Whole trainings: from a configuration to a model directory with an export."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import keras
import tensorflow as tf

from nlp_rnn import batching, corpora, plots, store, training
from nlp_rnn.config import TranslatorRun
from nlp_rnn.export import export_model
from nlp_rnn.layers.recurrent import Path as TrainingPath
from nlp_rnn.metrics import translation_metrics
from nlp_rnn.models.translation import greatest_target_lengths
from nlp_rnn.models.translator import Translator
from nlp_rnn.schedules import truth_share
from nlp_rnn.text import Tokenizer
from nlp_rnn.vocabularies import train_tokenizer

_log = logging.getLogger(__name__)

_SAMPLES = 32
_TEXTS_AT_ONCE = 1000


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


def train(run: TranslatorRun, *, callbacks: Sequence[keras.callbacks.Callback] = ()) -> Trained:
    """Trains a translator and exports its best checkpoint.

    Args:
        run: everything the training needs to know.
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
    corpus = corpora.load(run.data, "translation")
    for note in corpus.notes:
        _log.info("%s", note)
    source_tokenizer, target_tokenizer = _tokenizers(run, corpus.train)
    network = store.build_translator(
        run,
        source_tokenizer.vocabulary_size,
        target_tokenizer.vocabulary_size,
        precision=run.training.precision,
        training_path=_training_path(),
    )
    _log.info("%s parameters.", f"{network.count_params():,}")
    task = _Task(run, network, source_tokenizer, target_tokenizer)
    history = training.train(task.set_up(corpus), run.training, callbacks=callbacks)
    metrics = task.validator(corpus.validation)()
    store.save(
        run.output,
        config=run,
        network=network,
        source_tokenizer=source_tokenizer,
        target_tokenizer=target_tokenizer,
        metrics=metrics,
        history=history,
        samples=corpus.validation.select(range(min(_SAMPLES, len(corpus.validation)))).to_list(),
    )
    folder = Path(run.output)
    pictures = folder / store.MODEL / "plots"
    pictures.mkdir()
    plots.learning_curves(history, pictures / "learning_curves.png")
    return Trained(folder=folder, version=export_model(folder), metrics=metrics, history=history)


def _training_path() -> TrainingPath:
    """The one place where the hardware decides how recurrent layers train; how they infer never depends on it."""
    return "cudnn" if tf.config.list_physical_devices("GPU") else "portable"


def _tokenizers(run: TranslatorRun, train_set: datasets.Dataset) -> tuple[Tokenizer, Tokenizer]:
    """Trains one tokenizer for both sides, or one for each."""
    if run.text.shared_vocabulary:
        both = chain(_texts(train_set, "source"), _texts(train_set, "target"))
        tokenizer = train_tokenizer(both, run.text)
        return tokenizer, tokenizer
    return (
        train_tokenizer(_texts(train_set, "source"), run.text),
        train_tokenizer(_texts(train_set, "target"), run.text),
    )


def _texts(dataset: datasets.Dataset, column: str) -> Iterator[str]:
    for rows in dataset.select_columns(column).iter(_TEXTS_AT_ONCE):
        yield from rows[column]


@dataclass(frozen=True)
class _Task:
    """A translator between its texts."""

    run: TranslatorRun
    network: Translator
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer

    def set_up(self, corpus: corpora.Corpus) -> training.Training:
        tokenizers = {"source_tokenizer": self.source_tokenizer, "target_tokenizer": self.target_tokenizer}
        plan = batching.BatchPlan(lengths=batching.measure(corpus.train, **tokenizers), batching=self.run.batching)
        if plan.overlong:
            _log.warning(
                "%d of %d training pairs have more than %d tokens and are left out.",
                plan.overlong, plan.overlong + plan.examples, self.run.batching.longest_example,
            )  # fmt: skip
        source_padding, target_padding = plan.padding
        _log.info(
            "%d pairs in %d batches of %d shapes; padding: %.1f %% of the source, %.1f %% of the target.",
            plan.examples, len(plan), len(plan.shapes), 100 * source_padding, 100 * target_padding,
        )  # fmt: skip
        seed = self.run.training.seed
        return training.Training(
            network=self.network,
            objective=self._objective(),
            epoch_batches=lambda epoch: batching.translation_batches(
                corpus.train, plan=plan, seed=seed, epoch=epoch, **tokenizers
            ),
            steps_per_epoch=len(plan),
            validate=self.validator(corpus.validation),
            monitor={"bleu": "bleu", "loss": "validation_loss"}[self.run.training.monitor],
            higher_is_better=self.run.training.monitor == "bleu",
        )

    def _objective(self) -> training.Objective:
        settings = self.run.training
        share: Callable[[tf.Tensor], tf.Tensor | None] = lambda step: None  # noqa: E731
        if settings.scheduled_sampling != "none":
            share = truth_share(
                settings.scheduled_sampling,
                floor=settings.scheduled_sampling_floor,
                steps=settings.scheduled_sampling_steps,
            )

        def objective(batch: Mapping[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self.network.loss_sum(
                dict(batch), label_smoothing=settings.label_smoothing, truth_share=share(step), training=True
            )

        return objective

    def validator(self, validation_set: datasets.Dataset) -> Callable[[], dict[str, Any]]:
        """Returns what measures the loss, without smoothing, and the metrics of greedy translations."""
        pairs = batching.evaluation_batches(
            validation_set,
            source_tokenizer=self.source_tokenizer,
            target_tokenizer=self.target_tokenizer,
            batching=self.run.batching,
        )
        sources = batching.source_batches(
            validation_set,
            tokenizer=self.source_tokenizer,
            batching=self.run.batching,
            maximum_length=self.run.search.maximum_length,
        )
        references = list(validation_set["target"])

        @tf.function(autograph=False, reduce_retracing=True)
        def loss(batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            return self.network.loss_sum(dict(batch), label_smoothing=0.0)

        @tf.function(autograph=False, reduce_retracing=True)
        def translate(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
            encoded = self.network.encode(batch["source"], batch["source_mask"])
            lengths = tf.reduce_sum(tf.cast(batch["source_mask"], tf.int32), axis=1) - 1  # EOS
            limits = greatest_target_lengths(lengths, self.run.search.maximum_length)
            found = self.network.search(encoded, maximum_lengths=limits, beam_size=1)
            tokens = tf.RaggedTensor.from_tensor(found.tokens[:, 0], lengths=found.lengths[:, 0])
            return self.target_tokenizer.detokenize(tokens)

        def validate() -> dict[str, Any]:
            sums = [loss(batch) for batch in pairs]
            hypotheses = [""] * len(references)
            for batch in sources:
                rows = batch["rows"].numpy()
                for row, text in zip(rows, translate(batch).numpy()[: len(rows)], strict=True):
                    hypotheses[row] = text.decode("utf-8")
            total, items = (float(tf.add_n(list(values))) for values in zip(*sums, strict=True))
            scores = translation_metrics(hypotheses, references, lowercase=self.run.text.lowercase)
            return {"validation_loss": total / max(items, 1.0), "bleu": scores["bleu"], "chrf": scores["chrf"]}

        return validate
