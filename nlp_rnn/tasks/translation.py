"""Learning to translate: tokenizers, batches, teacher forcing, and the BLEU of greedy translations."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import datasets
import tensorflow as tf

from nlp_rnn import batching
from nlp_rnn.corpora import Corpus
from nlp_rnn.families import TranslationText, build_translator
from nlp_rnn.jobs import TranslatorRun
from nlp_rnn.layers.recurrent import Path as TrainingPath
from nlp_rnn.metrics import translation_metrics
from nlp_rnn.models.translation import greatest_target_lengths
from nlp_rnn.models.translator import Translator
from nlp_rnn.optimization import Objective
from nlp_rnn.plans import BatchPlan
from nlp_rnn.schedules import truth_share
from nlp_rnn.training import Training, measure_of
from nlp_rnn.transfer import Foundation
from nlp_rnn.vocabularies import train_tokenizer

_log = logging.getLogger(__name__)

_TEXTS_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class TranslationTask:
    """A translator between its texts; see `prepare`.

    Attributes:
        run: What its training was told.
        corpus: Its texts.
        text: Its tokenizers.
        network: The network to train.
    """

    run: TranslatorRun
    corpus: Corpus
    text: TranslationText
    network: Translator

    @classmethod
    def prepare(
        cls, run: TranslatorRun, corpus: Corpus, training_path: TrainingPath, base: Foundation | None = None
    ) -> "TranslationTask":
        """Trains the tokenizers and builds a new network, or goes on with that of another translator."""
        if base is None:
            text, weights = _tokenizers(run, corpus.train), None
        else:
            run, text, weights = base.for_translator(run)
        network = build_translator(run, text, precision=run.training.precision, training_path=training_path)
        if weights is not None:
            network.set_weights(weights)
        return cls(run=run, corpus=corpus, text=text, network=network)

    def set_up(self) -> Training:
        """Returns what the train loop needs; the training set is measured here."""
        tokenizers = {"source_tokenizer": self.text.source, "target_tokenizer": self.text.target}
        plan = BatchPlan(lengths=batching.measure(self.corpus.train, **tokenizers), batching=self.run.batching)
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
        key, higher_is_better = measure_of(self.run.training.monitor)
        seed = self.run.training.seed
        return Training(
            network=self.network,
            objective=self._objective(),
            epoch_batches=lambda epoch, start: batching.translation_batches(
                self.corpus.train, plan=plan, seed=seed, epoch=epoch, start=start, **tokenizers
            ),
            steps_per_epoch=len(plan),
            validate=self.validator(),
            monitor=key,
            higher_is_better=higher_is_better,
            padding_share=plan.padding_share,
        )

    def _objective(self) -> Objective:
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

    def finish(self) -> tuple[TranslationText, dict[str, Any]]:
        """Returns what stands between text and network, and the validation metrics."""
        return self.text, self.validator()()

    def validator(self) -> Callable[[], dict[str, Any]]:
        """Returns what measures the loss, without smoothing, and the metrics of greedy translations."""
        validation_set = self.corpus.validation
        pairs = batching.evaluation_batches(
            validation_set,
            source_tokenizer=self.text.source,
            target_tokenizer=self.text.target,
            batching=self.run.batching,
        )
        sources = batching.source_batches(
            validation_set,
            tokenizer=self.text.source,
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
            return self.text.target.detokenize(tokens)

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


def _tokenizers(run: TranslatorRun, train_set: datasets.Dataset) -> TranslationText:
    """Trains one tokenizer for both sides, or one for each."""
    if run.text.shared_vocabulary:
        both = chain(_texts(train_set, "source"), _texts(train_set, "target"))
        tokenizer = train_tokenizer(both, run.text)
        return TranslationText(source=tokenizer, target=tokenizer)
    source, target = (train_tokenizer(_texts(train_set, side), run.text) for side in ("source", "target"))
    return TranslationText(source=source, target=target)


def _texts(dataset: datasets.Dataset, column: str) -> Iterator[str]:
    for rows in dataset.select_columns(column).iter(_TEXTS_AT_ONCE):
        yield from rows[column]
