"""Learning to classify: words and labels of a corpus, cross-entropy, and accuracy."""

import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import datasets
import keras
import numpy as np
import tensorflow as tf

from nlp_rnn import batching, classification_metrics
from nlp_rnn.calibration import fit_share, fit_temperature
from nlp_rnn.config import EPOCH_STEPS, ConfigError
from nlp_rnn.corpora import Corpus
from nlp_rnn.cutting import cut_texts
from nlp_rnn.families import ClassificationText, build_classifier
from nlp_rnn.feeds import Feed
from nlp_rnn.jobs import ClassifierRun
from nlp_rnn.layers.recurrent import Path as TrainingPath
from nlp_rnn.models.classifier import Classifier
from nlp_rnn.optimization import Objective
from nlp_rnn.plans import WHOLE, BatchPlan, FixedShapes, Lengths
from nlp_rnn.reading import SplitTextReader, TextReader
from nlp_rnn.reviews import Mistake, Review
from nlp_rnn.rows import Row
from nlp_rnn.streams import Stream
from nlp_rnn.tasks.texts import learn_reader
from nlp_rnn.tasks.words import mapped, place_vectors
from nlp_rnn.training import Training, measure_of
from nlp_rnn.transfer import Foundation

_log = logging.getLogger(__name__)

_TEXTS_AT_ONCE = 1000
# Cut at random, a text has more pieces than in its likeliest form; what is longer still is cut off.
_ROOM_TO_SAMPLE = 1.5
_COUNTED = 100_000  # training texts, evenly spread, whose runs are counted; of more than that
_MISTAKES = 10  # shown in a review


@dataclass(frozen=True, kw_only=True)
class ClassificationTask:
    """A classifier and its texts; see `prepare`.

    Attributes:
        run: What its training was told.
        corpus: Its texts, labels as in the data.
        numbered: Its training texts, labels as lists of the network's numbers.
        validation: The same of its validation texts.
        text: Its reader and labels.
        network: The network to train.
    """

    run: ClassifierRun
    corpus: Corpus
    numbered: datasets.Dataset
    validation: datasets.Dataset
    text: ClassificationText
    network: Classifier

    @classmethod
    def prepare(
        cls, run: ClassifierRun, corpus: Corpus, training_path: TrainingPath, base: Foundation | None = None
    ) -> "ClassificationTask":
        """Learns words and labels, and builds a new network with its pre-trained vectors, or on the base of another."""
        counts = Counter(_labels(corpus.train))
        named = corpus.stream.class_names if corpus.stream is not None else ()  # its later rows may have the others
        needed = 1 if run.data.multi_label else 2
        if len({*counts, *named}) < needed:
            raise ConfigError(
                f"There is nothing to tell apart: all training examples have the label {next(iter(counts), 'none')!r}. "
                "Give at least two labels, or name another column with --label-column."
            )
        if lonely := [label for label, count in counts.items() if count == 1]:
            _log.warning("%d labels have a single training example: %.200s.", len(lonely), ", ".join(sorted(lonely)))
        # A label that the training set lacks is never right, but has its place among those of the validation set.
        labels = tuple(sorted({*counts, *named, *_labels(corpus.validation)}, key=_natural))
        if base is not None:
            run, reader = base.for_classifier(run)
            text = ClassificationText(reader=reader, labels=labels, vector_size=base.vector_size)
        else:
            reader, words, matrix = learn_reader(run, corpus.train)
            text = ClassificationText(reader=reader, labels=labels, vector_size=matrix.shape[1])
            if run.model.tune_vectors and matrix.size:
                run = dataclasses.replace(run, model=dataclasses.replace(run.model, embedding_size=matrix.shape[1]))
        network = build_classifier(run, text, precision=run.training.precision, training_path=training_path)
        for number, member in enumerate(network.members):
            if base is not None:
                base.place(number, embedding=member.embedding, encoder=member.encoder)
            elif matrix.size and isinstance(reader, SplitTextReader):
                placed = place_vectors(words, matrix, reader.words.features)
                member.embedding.vectors.set_weights([placed])
                if run.model.tune_vectors:
                    member.embedding.begin_with(placed)
        return cls(
            run=run,
            corpus=corpus,
            numbered=_numbered(corpus.train, labels),
            validation=_numbered(corpus.validation, labels),
            text=text,
            network=network,
        )

    def set_up(self) -> Training:
        """Returns what the train loop needs; the training set is measured here."""
        self._weigh_runs()
        longest = self.run.reading.maximum_length
        lengths = self._lengths
        if cut := int(np.sum(np.maximum(lengths.source, lengths.target) > longest)):
            _log.warning("%d of %d training texts are cut after %d tokens.", cut, len(self.numbered), longest)
        lengths = self._read_of(lengths)
        settings, training = dataclasses.replace(self.run.batching, longest_example=longest), self.run.training
        plan = BatchPlan(
            lengths=lengths, batching=settings, end_tokens=0, epochs=training.epochs, epoch_steps=training.epoch_steps
        )
        _log.info(
            "%d texts in %d batches of %d shapes; %.1f %% padding.",
            plan.examples, plan.batches, len(plan.shapes), 100 * plan.padding[0],
        )  # fmt: skip
        texts, reader = self._training_texts
        key, higher_is_better = measure_of(training.monitor)
        generator = keras.random.SeedGenerator(training.seed)
        made = Training(
            network=self.network,
            objective=self._objective(generator),
            epoch_batches=lambda epoch, start=0, part=WHOLE: batching.classification_batches(
                texts,
                plan=plan.part(part),
                reader=reader,
                classes=len(self.text.labels),
                seed=training.seed,
                epoch=epoch,
                start=start,
            ),
            steps_per_epoch=len(plan),
            validate=self.validator(),
            monitor=key,
            higher_is_better=higher_is_better,
            generators=(generator,),
            padding_share=plan.padding_share,
        )
        if self.corpus.stream is None:
            return made
        return self._on_stream(made, self.corpus.stream, FixedShapes(lengths=lengths, batching=settings, end_tokens=0))

    def _in_order(self, texts: datasets.Dataset, reader: TextReader) -> tf.data.Dataset:
        """Returns all of some texts in batches."""
        return batching.classification_evaluation_batches(
            texts,
            reader=reader,
            classes=len(self.text.labels),
            batching=self.run.batching,
            maximum_length=self.run.reading.maximum_length,
        )

    def _weigh_runs(self) -> None:
        """Tells the network which runs of tokens stand in texts of which labels."""
        if self.network.linear is None:
            return
        texts, reader = self._training_texts
        if len(texts) > _COUNTED:
            texts = texts.select(np.linspace(0, len(texts) - 1, _COUNTED, dtype=np.int64))
        batches = self._in_order(texts, reader)
        self.network.weigh_runs((batch["texts"], batch["labels"]) for batch in batches)

    def _on_stream(self, made: Training, stream: Stream, shapes: FixedShapes) -> Training:
        numbers = {label: number for number, label in enumerate(self.text.labels)}

        def prepare(row: Row) -> Row | None:
            labels = [row["label"]] if isinstance(row["label"], str) else row["label"]
            known = [numbers[label] for label in labels if label in numbers]
            return {**row, "label": known} if len(known) == len(labels) else None

        measure = batching.text_measure(cut=self.text.reader.cut)
        feed = Feed(
            stream=stream,
            shapes=shapes,
            features=self.numbered.features,
            prepare=prepare,
            measure=lambda dataset: self._read_of(measure(dataset)),
            seed=self.run.training.seed,
            steps=self.run.training.epoch_steps or EPOCH_STEPS,
        )
        encode = functools.partial(batching.encoded_texts, reader=self.text.reader, classes=len(self.text.labels))
        return dataclasses.replace(made, **feed.training(encode))

    def _read_of(self, lengths: Lengths) -> Lengths:
        """Returns how much is read of texts with these lengths, at most."""
        stretched = lengths.stretched(_ROOM_TO_SAMPLE) if self.run.reading.subword_sampling else lengths
        return stretched.at_most(self.run.reading.maximum_length)

    @functools.cached_property
    def _lengths(self) -> Lengths:
        """Of the training set, which is measured once."""
        texts, reader = self._training_texts
        return batching.measure_texts(texts, cut=reader.cut)

    @functools.cached_property
    def _training_texts(self) -> tuple[datasets.Dataset, TextReader]:
        """The training set and what reads it: cut once, unless each epoch cuts it anew."""
        if self.run.reading.subword_sampling:
            return self.numbered, self.text.reader
        return cut_texts(self.numbered, self.text.reader)

    @functools.cached_property
    def _validation_texts(self) -> tuple[datasets.Dataset, TextReader]:
        return cut_texts(self.validation, self.text.reader)

    def _objective(self, generator: keras.random.SeedGenerator) -> Objective:
        settings = self.run.training
        class_weights = tf.constant(self._class_weights(), tf.float32)

        def objective(batch: Mapping[str, Any], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            del step
            texts = [
                {
                    **text,
                    "unknown": keras.random.uniform(tf.shape(text["mask"]), seed=generator) < settings.word_dropout,
                }
                for text in batch["texts"]
            ]
            weights = tf.sequence_mask(tf.size(batch["rows"]), tf.shape(batch["labels"])[0], tf.float32)
            if settings.class_weights == "balanced":
                weights *= tf.linalg.matvec(batch["labels"], class_weights)
            return self.network.loss_sum(
                texts,
                batch["labels"],
                weights=weights,
                label_smoothing=settings.label_smoothing,
                training=True,
            )

        return objective

    def _class_weights(self) -> list[float]:
        """Returns what an example of each label counts, so that all labels together count alike."""
        counts = Counter(_labels(self.corpus.train))
        # How rare those are that a stream's first rows lack is not known: as rare as the rarest.
        rarest = min(counts.values())
        return [counts.total() / (len(counts) * counts.get(label, rarest)) for label in self.text.labels]

    def validator(self) -> Callable[[], dict[str, float]]:
        """Returns what measures the loss and the metrics of the labels on the validation set."""
        sides_of, right = self._validation_sides, self._validation_labels()
        return lambda: self._measured(self._vote(sides_of(), right)[0], right)

    def _vote(self, sides: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, float]:
        """Returns common scores (rows, classes), and what the linear model counts, for which the labels are likeliest.

        Args:
            sides: float32 (sides, rows, classes); see `Classifier.sides`.
            right: float32 (rows, classes), 1 where a label is right.
        """
        if len(sides) == 1:
            return sides[0], 0.0
        share = fit_share(sides[0], sides[1], right, multi_label=self.network.multi_label)
        return np.float32(1 - share) * sides[0] + np.float32(share) * sides[1], share

    def _measured(self, scores: np.ndarray, right: np.ndarray) -> dict[str, float]:
        """Returns the loss and the metrics of scores of the validation set."""
        if self.network.multi_label:
            losses = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(right, scores), axis=-1)
            chosen = tf.sigmoid(scores).numpy() >= self.run.model.threshold
            measured = classification_metrics.multi_label_metrics(self._named(chosen), self._named(right > 0))
        else:
            losses = tf.nn.softmax_cross_entropy_with_logits(right, scores)
            measured = classification_metrics.classification_metrics(
                [self.text.labels[number] for number in scores.argmax(axis=1)],
                [self.text.labels[number] for number in right.argmax(axis=1)],
                scores=tf.nn.softmax(scores).numpy().max(axis=1),
            )
        figures = {key: value for key, value in measured.items() if isinstance(value, float)}
        return {"validation_loss": float(tf.reduce_mean(losses)), **figures}

    def _named(self, chosen: np.ndarray) -> list[list[str]]:
        return [[self.text.labels[number] for number in np.flatnonzero(row)] for row in chosen]

    def _validation_labels(self) -> np.ndarray:
        """Returns float32 (rows, classes), 1 where a label is right."""
        right: np.ndarray = np.zeros((len(self.validation), len(self.text.labels)), np.float32)
        for row, labels in enumerate(self.validation["label"]):
            right[row, labels] = 1
        return right

    @functools.cached_property
    def _validation_sides(self) -> Callable[[], np.ndarray]:
        """What scores the validation texts, float32 (sides, rows, classes); see `Classifier.sides`."""
        texts, reader = self._validation_texts
        batches = self._in_order(texts, reader)

        @tf.function(autograph=False, input_signature=[batches.element_spec["texts"]])
        def score(texts: Any) -> tf.Tensor:
            return self.network.sides(self.network(list(texts)).scores)

        def compute() -> np.ndarray:
            sides = 1 if self.network.linear is None else 2
            scores: np.ndarray = np.zeros((sides, len(self.validation), len(self.text.labels)), np.float32)
            for batch in batches:
                rows = batch["rows"].numpy()
                scores[:, rows] = score(batch["texts"]).numpy()[:, : len(rows)]
            return scores

        return compute

    @functools.cached_property
    def _served_scores(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Of the trained network, on the validation set: its scores, those that exports give, and the temperature."""
        scores = self._validation_sides().mean(axis=0)
        temperature = fit_temperature(scores, self._validation_labels(), multi_label=self.network.multi_label)
        return scores, scores / np.float32(temperature), temperature

    def finish(self) -> tuple[ClassificationText, dict[str, Any]]:
        """Fits the linear model's share of the vote, and the temperature.

        Called once, when the network is trained.

        Returns:
            What stands between text and network now, and the metrics of what is served.
        """
        right = self._validation_labels()
        fitted = {}
        if self.network.linear is not None:
            _, share = self._vote(self._validation_sides(), right)
            self.network.settle(share)
            fitted["linear_share"] = share
            _log.info("The linear model's scores count %.2f, the recurrent members' %.2f.", share, 1 - share)
        scores, served, temperature = self._served_scores
        metrics = {**self._measured(served, right), **fitted, "temperature": temperature}
        if not self.network.multi_label:
            before = self._measured(scores, right)["expected_calibration_error"]
            metrics["uncalibrated_expected_calibration_error"] = before
            _log.info(
                "Temperature %.2f: expected calibration error %.1f %%, before %.1f %%.",
                temperature, 100 * metrics["expected_calibration_error"], 100 * before,
            )  # fmt: skip
        return dataclasses.replace(self.text, temperature=temperature), metrics

    def review(self) -> Review:
        """Returns the lengths, which labels were taken for which, and the texts whose labels were least expected."""
        _, scores, _ = self._served_scores
        right = self._validation_labels()
        if self.network.multi_label:
            probabilities = tf.sigmoid(scores).numpy()
            chosen = probabilities >= self.run.model.threshold
            # As a whole, an answer is as likely as all its yes and no together.
            likelihood = np.where(right > 0, probabilities, 1 - probabilities).prod(axis=1)
        else:
            probabilities = tf.nn.softmax(scores).numpy()
            chosen = probabilities.argmax(axis=1)[:, np.newaxis] == np.arange(len(self.text.labels))
            likelihood = (probabilities * right).sum(axis=1)
        predicted, expected = self._named(chosen), self._named(right > 0)
        wrong = [row for row in np.argsort(likelihood, kind="stable").tolist() if predicted[row] != expected[row]]
        alone = (
            [[labels[0] for labels in side] for side in (predicted, expected)] if not self.network.multi_label else []
        )
        lengths = {"tokens": self._lengths.source}
        if np.any(self._lengths.target):
            lengths["tokens of the second text"] = self._lengths.target
        return Review(
            lengths=lengths,
            examples=len(self.validation),
            confusion=classification_metrics.confusion(*alone) if alone else None,
            mistakes=tuple(
                _mistake(self.validation[row], predicted[row], expected[row], likelihood[row])
                for row in wrong[:_MISTAKES]
            ),
        )


def _mistake(example: Mapping[str, Any], predicted: list[str], expected: list[str], likelihood: float) -> Mistake:
    texts = [(name.replace("_", " "), example[name]) for name in ("text", "text_pair") if name in example]
    answers = (("expected", ", ".join(expected)), ("predicted", ", ".join(predicted)))
    return Mistake(lines=(*texts, *answers), note=f"probability of what was expected: {likelihood:.2g}")


def _natural(label: str) -> tuple[int, str]:
    """Sorts numbers by their value, before names."""
    return (int(label), "") if label.isdecimal() else (1 << 62, label)


def _labels(dataset: datasets.Dataset) -> Iterator[str]:
    for rows in dataset.select_columns("label").iter(_TEXTS_AT_ONCE):
        for value in rows["label"]:
            yield from [value] if isinstance(value, str) else value


def _numbered(dataset: datasets.Dataset, known: tuple[str, ...]) -> datasets.Dataset:
    numbers = {label: number for number, label in enumerate(known)}
    features = datasets.Features({**dataset.features, "label": datasets.List(datasets.Value("int32"))})

    def number(row: dict[str, Any]) -> dict[str, Any]:
        labels = [row["label"]] if isinstance(row["label"], str) else row["label"]
        return {"label": [numbers[label] for label in labels]}

    return mapped(dataset, number, features)
