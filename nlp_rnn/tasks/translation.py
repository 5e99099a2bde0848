"""Learning to translate: tokenizers, batches, teacher forcing, and the BLEU of greedy translations."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import datasets
import numpy as np
import tensorflow as tf

from nlp_rnn import batching
from nlp_rnn.config import EPOCH_STEPS
from nlp_rnn.corpora import Corpus
from nlp_rnn.families import TranslationText, build_translator
from nlp_rnn.feeds import Feed
from nlp_rnn.jobs import TranslatorRun
from nlp_rnn.layers.recurrent import Path as TrainingPath
from nlp_rnn.metrics import sentence_chrf, translation_metrics
from nlp_rnn.models.translation import greatest_target_lengths
from nlp_rnn.models.translator import Translator
from nlp_rnn.optimization import Objective
from nlp_rnn.plans import WHOLE, BatchPlan, FixedShapes, Lengths
from nlp_rnn.reviews import Attention, Mistake, Review
from nlp_rnn.schedules import truth_share
from nlp_rnn.search import Hypotheses
from nlp_rnn.streams import Stream
from nlp_rnn.text import Tokenizer
from nlp_rnn.training import Training, measure_of
from nlp_rnn.transfer import Foundation
from nlp_rnn.vocabularies import train_tokenizer

_log = logging.getLogger(__name__)

_TEXTS_AT_ONCE = 1000
_SENTENCES_AT_ONCE = 128
_SENTENCES = (tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.bool))
# What a review looks at and shows.
_REVIEWED = 500
_MISTAKES = 10
_PICTURES = 2
_PICTURED = (4, 30)  # tokens of a source whose attention is drawn


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
        tokenizers = self._both_tokenizers()
        training = self.run.training
        plan = BatchPlan(
            lengths=self._lengths, batching=self.run.batching, epochs=training.epochs, epoch_steps=training.epoch_steps
        )
        if plan.overlong:
            _log.warning(
                "%d of %d training pairs have more than %d tokens and are left out.",
                plan.overlong, plan.overlong + plan.examples, self.run.batching.longest_example,
            )  # fmt: skip
        self._tell_of_targets_out_of_reach()
        source_padding, target_padding = plan.padding
        _log.info(
            "%d pairs in %d batches of %d shapes; padding: %.1f %% of the source, %.1f %% of the target.",
            plan.examples, plan.batches, len(plan.shapes), 100 * source_padding, 100 * target_padding,
        )  # fmt: skip
        key, higher_is_better = measure_of(self.run.training.monitor)
        seed = self.run.training.seed
        made = Training(
            network=self.network,
            objective=self._objective(),
            epoch_batches=lambda epoch, start=0, part=WHOLE: batching.translation_batches(
                self.corpus.train, plan=plan.part(part), seed=seed, epoch=epoch, start=start, **tokenizers
            ),
            steps_per_epoch=len(plan),
            validate=self.validate,
            monitor=key,
            higher_is_better=higher_is_better,
            padding_share=plan.padding_share,
        )
        return made if self.corpus.stream is None else self._on_stream(made, self.corpus.stream)

    def _tell_of_targets_out_of_reach(self) -> None:
        lengths, search = self._lengths, self.run.search
        number = np.count_nonzero(lengths.target > self._greatest_target_lengths(lengths.source))
        if number:
            _log.warning(
                "%d of %d training targets are longer than any translation of their sources may get, which is %g times "
                "as many tokens, 20 more, and %d at most: see maximum_length_ratio and maximum_length.",
                number, len(lengths.target), search.maximum_length_ratio, search.maximum_length,
            )  # fmt: skip

    def _on_stream(self, made: Training, stream: Stream) -> Training:
        tokenizers = self._both_tokenizers()
        feed = Feed(
            stream=stream,
            shapes=FixedShapes(lengths=self._lengths, batching=self.run.batching),
            features=self.corpus.train.features,
            prepare=lambda row: row,
            measure=batching.pair_measure(**tokenizers),
            seed=self.run.training.seed,
            steps=self.run.training.epoch_steps or EPOCH_STEPS,
        )
        encode = functools.partial(batching.encoded_pairs, **tokenizers)
        return dataclasses.replace(made, **feed.training(encode))

    def _both_tokenizers(self) -> dict[str, Tokenizer]:
        return {"source_tokenizer": self.text.source, "target_tokenizer": self.text.target}

    @functools.cached_property
    def _lengths(self) -> Lengths:
        """Of the training set, which is measured once."""
        return batching.measure(self.corpus.train, **self._both_tokenizers())

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
        return self.text, self.validate()

    @functools.cached_property
    def validate(self) -> Callable[[], dict[str, Any]]:
        """What measures the loss, without smoothing, and the metrics of greedy translations."""
        validation_set = self.corpus.validation
        pairs = batching.evaluation_batches(validation_set, batching=self.run.batching, **self._both_tokenizers())
        translate = self._translator(validation_set)
        references = list(validation_set["target"])

        @tf.function(autograph=False, input_signature=[pairs.element_spec])
        def loss(batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            return self.network.loss_sum(dict(batch), label_smoothing=0.0)

        def validate() -> dict[str, Any]:
            sums = [loss(batch) for batch in pairs]
            hypotheses = translate()
            total, items = (float(tf.add_n(list(values))) for values in zip(*sums, strict=True))
            scores = translation_metrics(hypotheses, references, lowercase=self.run.text.lowercase)
            return {"validation_loss": total / max(items, 1.0), "bleu": scores["bleu"], "chrf": scores["chrf"]}

        return validate

    @functools.cached_property
    def _translate(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """What translates sentences greedily; see `_search`."""

        @tf.function(autograph=False, input_signature=_SENTENCES)
        def translate(source: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
            found = self._search(source, mask)
            tokens = tf.RaggedTensor.from_tensor(found.tokens[:, 0], lengths=found.lengths[:, 0])
            return self.text.target.detokenize(tokens)

        return translate

    def _translator(self, examples: datasets.Dataset) -> Callable[[], list[str]]:
        """Returns what translates examples greedily."""
        sources = self._sources(examples)

        def hypotheses() -> list[str]:
            texts = [""] * len(examples)
            for batch in sources:
                rows = batch["rows"].numpy()
                found = self._translate(batch["source"], batch["source_mask"])
                for row, text in zip(rows, found.numpy()[: len(rows)], strict=True):
                    texts[row] = text.decode("utf-8")
            return texts

        return hypotheses

    def _sources(self, examples: datasets.Dataset) -> tf.data.Dataset:
        # A search keeps nothing for a gradient, and a step of it takes many sentences nearly as soon as few.
        size = max(self.run.batching.batch_size, _SENTENCES_AT_ONCE)
        return batching.source_batches(
            examples,
            tokenizer=self.text.source,
            batching=dataclasses.replace(self.run.batching, batch_size=size),
            maximum_length=self.run.search.maximum_length,
        )

    def _search(self, source: tf.Tensor, mask: tf.Tensor, *, with_attention: bool = False) -> Hypotheses:
        """Translates tokens int32 (batch, source) greedily, of which `mask` bool tells the real ones."""
        encoded = self.network.encode(source, mask)
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1) - 1  # EOS
        limits = self._greatest_target_lengths(lengths)
        return self.network.search(encoded, maximum_lengths=limits, beam_size=1, with_attention=with_attention)

    def _greatest_target_lengths(self, source_lengths: Any) -> tf.Tensor:
        search = self.run.search
        return greatest_target_lengths(
            source_lengths, ratio=search.maximum_length_ratio, maximum_length=search.maximum_length
        )

    def review(self) -> Review:
        """Returns the lengths, the worst greedy translations of validation sentences, and the attention of some."""
        examples = self.corpus.validation.select(range(min(_REVIEWED, len(self.corpus.validation))))
        sources, references = list(examples["source"]), list(examples["target"])
        hypotheses = self._translator(examples)()
        lowercase = self.run.text.lowercase
        scores = sentence_chrf(hypotheses, references, lowercase=lowercase)
        worst = sorted(range(len(scores)), key=scores.__getitem__)[:_MISTAKES]
        mistakes = [
            Mistake(
                lines=(("source", sources[row]), ("expected", references[row]), ("translation", hypotheses[row])),
                note=f"chrF {scores[row]:.1f}",
            )
            for row in worst
            if hypotheses[row] != (references[row].lower() if lowercase else references[row])
        ]
        return Review(
            lengths={"source tokens": self._lengths.source, "target tokens": self._lengths.target},
            longest=self.run.batching.longest_example,
            examples=len(examples),
            attention=tuple(self._attention(examples)),
            mistakes=tuple(mistakes),
        )

    def _attention(self, examples: datasets.Dataset) -> Iterator[Attention]:
        """Yields the attention of the first sentences that are long enough to show something, and fit in a picture."""
        lengths = self.text.source.tokenize(tf.constant(examples["source"][:])).row_lengths().numpy()
        fitting = [row for row, length in enumerate(lengths) if _PICTURED[0] <= length <= _PICTURED[1]]
        for row in fitting[:_PICTURES]:
            (batch,) = self._sources(examples.select([row]))
            found = self._search(batch["source"], batch["source_mask"], with_attention=True)
            read = int(tf.reduce_sum(tf.cast(batch["source_mask"][0], tf.int32)))
            written = min(int(found.lengths[0, 0]), 2 * _PICTURED[1])
            if written:
                assert found.attention is not None
                yield Attention(
                    source_tokens=_pieces(self.text.source, batch["source"][0, :read]),
                    target_tokens=_pieces(self.text.target, found.tokens[0, 0, :written]),
                    weights=found.attention[0, 0, :written, :read].numpy(),
                )


def _pieces(tokenizer: Tokenizer, tokens: tf.Tensor) -> tuple[str, ...]:
    return tuple(piece.decode("utf-8", "replace") for piece in tokenizer.pieces(tokens).numpy())


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
