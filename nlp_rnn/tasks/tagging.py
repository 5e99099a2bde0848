"""Learning to tag: words and tags of a corpus, the likelihood of its tags, and accuracy or the entities' F1."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import keras
import numpy as np
import tensorflow as tf

from nlp_rnn import batching, tags
from nlp_rnn.config import EPOCH_STEPS, ConfigError, TextConfig
from nlp_rnn.corpora import Corpus
from nlp_rnn.families import TaggingText, build_tagger
from nlp_rnn.feeds import Feed
from nlp_rnn.jobs import TaggerRun
from nlp_rnn.layers.recurrent import Path as TrainingPath
from nlp_rnn.models.tagger import Tagger
from nlp_rnn.models.tagging import SpanTags, shown
from nlp_rnn.optimization import Objective
from nlp_rnn.plans import WHOLE, BatchPlan, FixedShapes, Lengths
from nlp_rnn.reading import WordReader
from nlp_rnn.reviews import Mistake, Review, Slip
from nlp_rnn.rows import Row
from nlp_rnn.streams import Stream
from nlp_rnn.tagging_metrics import confusion, tagging_metrics
from nlp_rnn.tags import Scheme
from nlp_rnn.tasks.words import mapped, place_vectors, vectors_of
from nlp_rnn.training import Training, measure_of
from nlp_rnn.transfer import Foundation
from nlp_rnn.vocabularies import train_tokenizer
from nlp_rnn.words import learn_features

_log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 1000
_MISTAKES = 10  # shown in a review


@dataclass(frozen=True, kw_only=True)
class TaggingTask:
    """A tagger and its sentences; see `prepare`.

    Attributes:
        run: What its training was told.
        corpus: Its sentences, tags as in the data.
        numbered: Its training sentences, tags as the network's numbers.
        validation: The same of its validation sentences.
        text: Its words and tags.
        network: The network to train.
        spelling: How the data spell spans, if their tags mark any.
    """

    run: TaggerRun
    corpus: Corpus
    numbered: datasets.Dataset
    validation: datasets.Dataset
    text: TaggingText
    network: Tagger
    spelling: Scheme | None = None

    @classmethod
    def prepare(
        cls, run: TaggerRun, corpus: Corpus, training_path: TrainingPath, base: Foundation | None = None
    ) -> "TaggingTask":
        """Learns words and tags, and builds a new network with its pre-trained vectors, or on the base of another."""
        source = _scheme(run, corpus)
        scheme: Scheme | None = source and ("iobes" if run.model.head == "crf" else "bio")
        train, train_repairs = _spelled(corpus.train, source, scheme)
        validation, validation_repairs = _spelled(corpus.validation, source, scheme)
        if train_repairs or validation_repairs:
            _log.warning("%d tags that %s does not allow were repaired.", train_repairs + validation_repairs, source)
        # A tag that the training set lacks is never right, but has its place among those of the validation set.
        seen = {tag for rows in (train, validation) for tag in _flat(rows, "tags")}
        if corpus.stream is not None:  # its later rows may have what the first ones lack
            spelled = (name for name in corpus.stream.class_names if source is None or tags.split(name))
            seen |= {_in_scheme([name], source, scheme)[0] for name in spelled}
        known = tuple(tags.closure(seen, scheme=scheme))
        if base is not None:
            run, reader = base.for_tagger(run)
            text = TaggingText(reader=reader, tags=known, scheme=scheme, vector_size=base.vector_size)
        else:
            words, matrix = vectors_of(
                _flat(corpus.train, "tokens"),
                path=run.words.vectors,
                lowercase=run.words.lowercase,
                most=run.words.vector_words,
            )
            reader = _reader(run, corpus.train, words)
            text = TaggingText(reader=reader, tags=known, scheme=scheme, vector_size=matrix.shape[1])
        network = build_tagger(run, text, precision=run.training.precision, training_path=training_path)
        if base is not None:
            base.place(0, embedding=network.words, encoder=network.encoder)
        elif network.words.vectors is not None:
            network.words.vectors.set_weights([place_vectors(words, matrix, reader.features)])
        return cls(
            run=run,
            corpus=corpus,
            numbered=_numbered(train, known),
            validation=_numbered(validation, known),
            text=text,
            network=network,
            spelling=source,
        )

    def set_up(self) -> Training:
        """Returns what the train loop needs."""
        plan = BatchPlan(
            lengths=self._lengths,
            batching=self.run.batching,
            end_tokens=0,
            epochs=self.run.training.epochs,
            epoch_steps=self.run.training.epoch_steps,
        )
        if plan.overlong:
            _log.warning(
                "%d of %d training sentences have more than %d words and are left out.",
                plan.overlong, plan.overlong + plan.examples, self.run.batching.longest_example,
            )  # fmt: skip
        _log.info(
            "%d sentences in %d batches of %d shapes; %.1f %% padding.",
            plan.examples, plan.batches, len(plan.shapes), 100 * plan.padding[0],
        )  # fmt: skip
        monitor = self.run.training.monitor
        if monitor == "auto":
            monitor = "accuracy" if self.text.scheme is None else "f1"
        if monitor in ("f1", "precision", "recall") and self.text.scheme is None:
            raise ConfigError(
                f"monitor must be accuracy, macro_f1, weighted_f1 or loss, not {monitor}: these tags do not mark spans."
            )
        key, higher_is_better = measure_of(monitor)
        seed = self.run.training.seed
        generator = keras.random.SeedGenerator(seed)
        made = Training(
            network=self.network,
            objective=self._objective(generator),
            epoch_batches=lambda epoch, start=0, part=WHOLE: batching.tagging_batches(
                self.numbered, plan=plan.part(part), read_words=self.text.reader, seed=seed, epoch=epoch, start=start
            ),
            steps_per_epoch=len(plan),
            validate=self.validate,
            monitor=key,
            higher_is_better=higher_is_better,
            generators=(generator,),
            padding_share=plan.padding_share,
        )
        return made if self.corpus.stream is None else self._on_stream(made, self.corpus.stream)

    def _on_stream(self, made: Training, stream: Stream) -> Training:
        numbers = {tag: number for number, tag in enumerate(self.text.tags)}

        def prepare(row: Row) -> Row | None:
            spelled = _in_scheme(row["tags"], self.spelling, self.text.scheme)
            tagged = [numbers[tag] for tag in spelled if tag in numbers]
            return {**row, "tags": tagged} if len(tagged) == len(spelled) else None

        feed = Feed(
            stream=stream,
            shapes=FixedShapes(lengths=self._lengths, batching=self.run.batching, end_tokens=0),
            features=self.numbered.features,
            prepare=prepare,
            measure=batching.measure_sentences,
            seed=self.run.training.seed,
            steps=self.run.training.epoch_steps or EPOCH_STEPS,
        )
        encode = functools.partial(batching.encoded_sentences, read_words=self.text.reader)
        return dataclasses.replace(made, **feed.training(encode))

    @functools.cached_property
    def _lengths(self) -> Lengths:
        """Of the training set, which is measured once."""
        return batching.measure_sentences(self.numbered)

    def _objective(self, generator: keras.random.SeedGenerator) -> Objective:
        strength = self.run.training.word_dropout
        counts = np.maximum(self.text.reader.features.counts, 0)
        rates = tf.constant(strength / np.maximum(strength + counts, 1e-9), tf.float32)

        def objective(batch: Mapping[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            del step
            words = tf.minimum(tf.gather(batch["words"], batch["positions"]), len(counts) - 1)
            unknown = keras.random.uniform(tf.shape(words), seed=generator) < tf.gather(rates, words)
            inputs = {**batch, "unknown": unknown}
            return self.network.loss_sum(inputs, batch["tags"], mask=batch["mask"], training=True)

        return objective

    def finish(self) -> tuple[TaggingText, dict[str, Any]]:
        """Returns what stands between text and network, and the validation metrics."""
        return self.text, self.validate()

    @functools.cached_property
    def validate(self) -> Callable[[], dict[str, Any]]:
        """What measures the loss and the metrics of the tags, as exports show them, on the validation set."""
        expected = self._expected()
        unseen = [self.text.unseen(tokens) for tokens in self.validation["tokens"]]
        scheme: Scheme | None = self.text.scheme and "bio"

        def validate() -> dict[str, Any]:
            predicted, scores, loss = self._tag_all()
            measured = tagging_metrics(predicted, expected, scores=scores, unseen=unseen, scheme=scheme)
            figures = {key: value for key, value in measured.items() if isinstance(value, float)}
            return {"validation_loss": loss / sum(map(len, expected)), **figures}

        return validate

    def _expected(self) -> list[list[str]]:
        """Returns the right tags as exports spell them."""
        sentences = ([self.text.tags[tag] for tag in sentence] for sentence in self.validation["tags"])
        return [list(_in_scheme(sentence, self.text.scheme, self.text.scheme and "bio")) for sentence in sentences]

    @functools.cached_property
    def _tag_all(self) -> Callable[[], tuple[list[list[str]], list[list[float]], float]]:
        """What tags the validation set: the tags, as exports spell them, their scores, and the summed loss."""
        batches = batching.tagging_evaluation_batches(
            self.validation, read_words=self.text.reader, batching=self.run.batching
        )
        lengths = [len(sentence) for sentence in self.validation["tags"]]
        spans = SpanTags.of(self.text.tags) if self.text.scheme else None
        names = spans.names if spans else self.text.tags

        @tf.function(autograph=False, input_signature=[batches.element_spec])
        def tag(batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            emissions, mask = self.network(dict(batch), mask=batch["mask"]), batch["mask"]
            likelihood = self.network.head.log_likelihood(emissions, batch["tags"], mask=mask)
            path, lattice = self.network.head.decode_and_infer(emissions, mask=mask)
            found = shown(path, lattice.marginals, mask, spans)
            return found.places, found.scores, likelihood

        def tag_all() -> tuple[list[list[str]], list[list[float]], float]:
            predicted, scores = ([list[Any]()] * len(lengths) for _ in range(2))
            loss = 0.0
            for batch in batches:
                places, probabilities, likelihood = (tensor.numpy() for tensor in tag(batch))
                loss -= float(likelihood.sum())
                for place, row in enumerate(batch["rows"].numpy()):
                    predicted[row] = [names[number] for number in places[place, : lengths[row]]]
                    scores[row] = probabilities[place, : lengths[row]].tolist()
            return predicted, scores, loss

        return tag_all

    def review(self) -> Review:
        """Returns the lengths, which tags were taken for which, and the sentences with the most wrong tags."""
        predicted, expected = self._tag_all()[0], self._expected()
        wrong = [
            sum(mine != theirs for mine, theirs in zip(*sides, strict=True))
            for sides in zip(predicted, expected, strict=True)
        ]
        worst = sorted(range(len(wrong)), key=lambda row: -wrong[row])[:_MISTAKES]
        return Review(
            lengths={"words": self._lengths.source},
            longest=self.run.batching.longest_example,
            examples=len(expected),
            confusion=confusion(predicted, expected),
            mistakes=tuple(
                _mistake(self.validation[row]["tokens"], expected[row], predicted[row], wrong[row])
                for row in worst
                if wrong[row]
            ),
        )


def _mistake(tokens: Sequence[str], expected: Sequence[str], predicted: Sequence[str], wrong: int) -> Mistake:
    words = tuple(
        token if tag == found else Slip(text=token, expected=tag, predicted=found)
        for token, tag, found in zip(tokens, expected, predicted, strict=True)
    )
    return Mistake(lines=(("sentence", words),), note=f"{wrong} of {len(tokens)} tags wrong")


def _scheme(run: TaggerRun, corpus: Corpus) -> Scheme | None:
    if run.model.tag_scheme == "auto":
        found = tags.recognise(corpus.train["tags"])
        _log.info("The tags %s.", f"mark spans in {found.upper()}" if found else "mark no spans")
        return found
    return None if run.model.tag_scheme == "none" else run.model.tag_scheme


def _spelled(dataset: datasets.Dataset, source: Scheme | None, target: Scheme | None) -> tuple[datasets.Dataset, int]:
    """Returns sentences with their tags in another scheme, and how many tags were repaired."""
    if source is None or target is None:
        return dataset, 0
    repaired = 0

    def convert(row: dict[str, list[str]]) -> dict[str, list[str]]:
        nonlocal repaired
        converted, count = tags.convert(row["tags"], source=source, target=target)
        repaired += count
        return {"tags": converted}

    return mapped(dataset, convert), repaired


def _in_scheme(sentence: Sequence[str], source: Scheme | None, target: Scheme | None) -> Sequence[str]:
    """Returns a sentence's tags in another scheme."""
    return sentence if source is None or target is None else tags.convert(sentence, source=source, target=target)[0]


def _numbered(dataset: datasets.Dataset, known: Sequence[str]) -> datasets.Dataset:
    numbers = {tag: number for number, tag in enumerate(known)}
    features = datasets.Features({**dataset.features, "tags": datasets.List(datasets.Value("int32"))})
    return mapped(dataset, lambda row: {"tags": [numbers[tag] for tag in row["tags"]]}, features)


def _flat(dataset: datasets.Dataset, column: str) -> Iterator[str]:
    for rows in dataset.select_columns(column).iter(_ROWS_AT_ONCE):
        for row in rows[column]:
            yield from row


def _sentences(dataset: datasets.Dataset) -> Iterator[list[str]]:
    for rows in dataset.select_columns("tokens").iter(_ROWS_AT_ONCE):
        yield from rows["tokens"]


def _reader(run: TaggerRun, train_set: datasets.Dataset, further_words: Sequence[str]) -> WordReader:
    settings = run.words
    features = learn_features(
        _sentences(train_set),
        vocabulary_size=settings.vocabulary_size,
        lowercase=settings.lowercase,
        longest_word=settings.longest_word,
        further_words=further_words,
    )
    if not settings.subwords:
        return WordReader(features=features)
    pieces = TextConfig(vocabulary_size=settings.subwords, lowercase=settings.lowercase)
    return WordReader(features=features, subwords=train_tokenizer(map(" ".join, _sentences(train_set)), pieces))
