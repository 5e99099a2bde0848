"""A model directory and a test set, to metrics: the exported graph is measured, not the live network."""

import dataclasses
import itertools
import logging
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np

from nlp_rnn import calibration, classification_metrics, corpora, metrics, plots, store, tagging_metrics, tags
from nlp_rnn.answers import Classification, Translation
from nlp_rnn.config import ConfigError, DataConfig
from nlp_rnn.families import ClassificationText, TaggingText
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun
from nlp_rnn.models.tagging import SpanTags
from nlp_rnn.readers import format_of
from nlp_rnn.serving import Predictor
from nlp_rnn.tags import OUTSIDE, Scheme

_log = logging.getLogger(__name__)


def evaluate(
    model: str | Path,
    data: DataConfig,
    *,
    ignore_pattern: str | None = None,
    predictions: str | Path | None = None,
    pictures: str | Path | None = None,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Measures the newest export of a model on a test set.

    Args:
        model: The model directory.
        data: Where the test set comes from. What it leaves open is as it was
            for the training: the CoNLL-U column of tags, and, of files in the
            same format or of a data set where there was one, the columns.
        ignore_pattern: Regular expression, of translators; what it matches is
            taken out of hypotheses and references before the error rates are
            computed: `[0-9]` compares phones without their stress marks.
        predictions: A file to write what was predicted to, an example a line:
            a translation, a sentence's tags separated by spaces, or labels.
        pictures: A folder, of taggers and classifiers, for a confusion matrix and a reliability diagram.
        batch_size: Examples given to the model at once.

    Returns:
        * `examples`, and how many of them were longer than the export reads:
          `truncated`;
        * `seconds`: the time of the predictions alone, loading left out.

        Of a translator:

        * `bleu` and `chrf`, without regard to case if the model writes lower
          case only, `bleu_cased`, `bleu_signature`, `chrf_signature`: see
          `metrics.translation_metrics`;
        * `word_error_rate`: the share of examples that are not entirely right.
          It has its name from tasks whose examples are single words, such as
          grapheme-to-phoneme conversion; of sentences it is the share of wrong
          sentences;
        * `token_error_rate`: the edit distance to the references in tokens
          separated by white space, as a share of the references' tokens: the
          phone error rate, or what speech recognition calls word error rate.

        Both error rates disregard case where `bleu` does. Of a tagger, which
        reads the tokens as they are in the data:

        * what `tagging_metrics.tagging_metrics` returns. Tags that mark spans
          are compared in BIO, whatever the data's scheme.

        Of a classifier:

        * what `classification_metrics` has for one label an example, or for several.

    Raises:
        ConfigError: `model` is no model directory, the settings contradict
            each other or are not for its family, or `ignore_pattern` leaves
            nothing to compare.
        DataError: The test set cannot be read.
        FileNotFoundError: The model was not exported yet.
    """
    run = store.read_config(model)
    data = as_trained(data, run.data)
    if predictions is not None and not Path(predictions).absolute().parent.is_dir():
        raise ConfigError(f"predictions {predictions} cannot be written: make its folder first, or give another one.")
    if isinstance(run, TranslatorRun):
        if pictures is not None:
            raise ConfigError(
                "pictures are of taggers and classifiers, and this is a translator: leave --pictures out."
            )
        return _evaluate_translator(run, data, ignore_pattern, predictions, batch_size)
    if ignore_pattern is not None:
        raise ConfigError("ignore_pattern is for translations, and this is no translator: leave --ignore-pattern out.")
    if isinstance(run, ClassifierRun):
        _require_readable(run, data, pictures)
        return _evaluate_classifier(run, data, predictions, pictures, batch_size)
    return _evaluate_tagger(run, data, predictions, pictures, batch_size)


def as_trained(data: DataConfig, trained: DataConfig) -> DataConfig:
    """Returns what is read of a test set: the columns that a training named, unless others are given here."""
    usual, names = DataConfig(), ["tag_column"]
    if data.test and trained.train:
        alike = _formats(data.test, data.format) == _formats(trained.train, trained.format)
    else:
        alike = not data.test and data.dataset is not None and trained.dataset is not None
    columns = [item.name for item in dataclasses.fields(DataConfig) if item.name.endswith(("_column", "_language"))]
    if alike and all(getattr(data, name) == getattr(usual, name) for name in columns):
        names = columns
    return dataclasses.replace(
        data, **{name: getattr(trained, name) for name in names if getattr(data, name) == getattr(usual, name)}
    )


def _formats(paths: Sequence[str], override: str | None) -> set[str]:
    return {format_of(path, override) for path in paths}


def _require_readable(run: ClassifierRun, data: DataConfig, pictures: str | Path | None) -> None:
    """Refuses what a classifier does not do, before anything is read."""
    if pictures is not None and run.data.multi_label:
        raise ConfigError("pictures are of single labels, and this classifier gives several: leave --pictures out.")
    if data.text_pair_column is not None and run.data.text_pair_column is None:
        raise ConfigError(
            "text_pair_column is for classifiers of pairs, and this one reads single texts: "
            "leave --text-pair-column out."
        )


def _load(data: DataConfig, task: corpora.Task) -> datasets.Dataset:
    examples, notes = corpora.load_split(data, task)
    for note in notes:
        _log.info("%s", note)
    return examples


def _evaluate_translator(
    run: TranslatorRun, data: DataConfig, ignore_pattern: str | None, predictions: str | Path | None, batch_size: int
) -> dict[str, Any]:
    lowercase = run.text.lowercase
    examples = _load(data, "translation")
    references = list(examples["target"])
    comparable = _comparable(references, ignore_pattern, lowercase)
    if not any(reference.strip() for reference in comparable):
        raise ConfigError(f"ignore_pattern {ignore_pattern!r} leaves nothing of the references; give a narrower one.")
    predictor = Predictor(run.output, batch_size=batch_size)
    start = time.perf_counter()
    translations = cast(list[Translation], predictor.predict(list(examples["source"])))
    seconds = time.perf_counter() - start
    hypotheses = [translation.text for translation in translations]
    if predictions is not None:
        _write_lines(Path(predictions), hypotheses)
    compared = _comparable(hypotheses, ignore_pattern, lowercase)
    return {
        **metrics.translation_metrics(hypotheses, references, lowercase=lowercase),
        "word_error_rate": metrics.sequence_error_rate(compared, comparable),
        "token_error_rate": metrics.token_error_rate(compared, comparable),
        "examples": len(references),
        "truncated": sum(translation.truncated for translation in translations),
        "seconds": seconds,
    }


def _evaluate_tagger(
    run: TaggerRun, data: DataConfig, predictions: str | Path | None, pictures: str | Path | None, batch_size: int
) -> dict[str, Any]:
    text = cast(TaggingText, store.load_text(run.output))
    examples = _load(data, "tagging")
    sentences, expected = list(examples["tokens"]), _in_bio(list(examples["tags"]), run, text)
    _warn_of_strange("tags", expected, SpanTags.of(text.tags).names if text.scheme else text.tags)
    predictor = Predictor(run.output, batch_size=batch_size)
    start = time.perf_counter()
    taggings = predictor.tag(sentences)
    seconds = time.perf_counter() - start
    # What was cut off has no tag, and no confidence.
    unread = [len(sentence) - len(tagging.tokens) for tagging, sentence in zip(taggings, sentences, strict=True)]
    predicted = [[t.tag for t in tagging.tokens] + [OUTSIDE] * n for tagging, n in zip(taggings, unread, strict=True)]
    scores = [[t.score for t in tagging.tokens] + [0.0] * n for tagging, n in zip(taggings, unread, strict=True)]
    if predictions is not None:
        _write_lines(Path(predictions), list(map(" ".join, predicted)))
    if pictures is not None:
        flat = itertools.chain.from_iterable
        right = [mine == theirs for mine, theirs in zip(flat(predicted), flat(expected), strict=True)]
        _draw(Path(pictures), tagging_metrics.confusion(predicted, expected), list(flat(scores)), right)
    unseen = [text.unseen(sentence) for sentence in sentences]
    scheme: Scheme | None = text.scheme and "bio"
    return {
        **tagging_metrics.tagging_metrics(predicted, expected, scores=scores, unseen=unseen, scheme=scheme),
        "examples": len(sentences),
        "truncated": sum(tagging.truncated for tagging in taggings),
        "seconds": seconds,
    }


def _evaluate_classifier(
    run: ClassifierRun, data: DataConfig, predictions: str | Path | None, pictures: str | Path | None, batch_size: int
) -> dict[str, Any]:
    text = cast(ClassificationText, store.load_text(run.output))
    # How labels are read, and whether texts come in pairs, is the model's to say.
    reading: dict[str, Any] = {"multi_label": run.data.multi_label}
    if run.data.text_pair_column is not None and data.text_pair_column is None:
        reading["text_pair_column"] = run.data.text_pair_column
    examples = _load(dataclasses.replace(data, **reading), "classification")
    expected = list(examples["label"])
    _warn_of_strange("labels", ([row] if isinstance(row, str) else row for row in expected), text.labels)
    predictor = Predictor(run.output, batch_size=batch_size)
    pairs = list(examples["text_pair"]) if "text_pair" in examples.column_names else None
    start = time.perf_counter()
    answers = cast(list[Classification], predictor.predict(list(examples["text"]), pairs=pairs))
    seconds = time.perf_counter() - start
    if predictions is not None:
        _write_lines(Path(predictions), [",".join(answer.labels) for answer in answers])
    if run.data.multi_label:
        measured = classification_metrics.multi_label_metrics([answer.labels for answer in answers], expected)
    else:
        predicted = [answer.labels[0] for answer in answers]
        scores = [answer.score for answer in answers]
        measured = classification_metrics.classification_metrics(predicted, expected, scores=scores)
        if pictures is not None:
            right = [mine == theirs for mine, theirs in zip(predicted, expected, strict=True)]
            _draw(Path(pictures), classification_metrics.confusion(predicted, expected), scores, right)
    return {
        **measured,
        "examples": len(expected),
        "truncated": sum(answer.truncated for answer in answers),
        "seconds": seconds,
    }


def _warn_of_strange(what: str, found: Iterable[Sequence[str]], known: Sequence[str]) -> None:
    strange = sorted(set(itertools.chain.from_iterable(found)) - {*known})
    if strange:
        _log.warning(
            "%d %s of the test set are unknown, thus never right: %.200s.", len(strange), what, ", ".join(strange)
        )


def _in_bio(expected: list[list[str]], run: TaggerRun, text: TaggingText) -> list[list[str]]:
    """Returns the tags as exports spell them."""
    if text.scheme is None:
        return expected
    given = run.model.tag_scheme
    source = tags.recognise(expected) if given in ("auto", "none") else cast(Scheme, given)
    # A test set without any span is in every scheme.
    return [tags.convert(sentence, source=source or "bio", target="bio")[0] for sentence in expected]


def _draw(
    folder: Path, confusion: tuple[list[str], np.ndarray], scores: Sequence[float], right: Sequence[bool]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plots.confusion_matrix(*confusion, folder / "confusion_matrix.png")
    plots.reliability_diagram(*calibration.calibration_bins(scores, right), folder / "reliability.png")


def _comparable(texts: Sequence[str], ignore_pattern: str | None, lowercase: bool) -> list[str]:
    """Returns what of the texts the error rates compare."""
    if ignore_pattern is not None:
        texts = [re.sub(ignore_pattern, "", text) for text in texts]
    return [text.lower() if lowercase else text for text in texts]


def _write_lines(path: Path, texts: Sequence[str]) -> None:
    """Writes one text a line; a line break inside a text becomes a space, so that lines stay aligned."""
    lines = (" ".join(text.splitlines()) + "\n" for text in texts)
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
