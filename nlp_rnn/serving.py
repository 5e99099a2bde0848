"""A SavedModel of any family, called from Python.

Like any other client of the SavedModel, this needs TensorFlow and the
operations of TensorFlow Text, and nothing else of this package.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tensorflow as tf
import tensorflow_text  # noqa: F401  (its import registers the operations)

# The signature that no other family has, and what answers with it.
_FAMILIES = {"n_best": "translator", "tokens": "tagger"}
# A classifier may have no signature of its own, but this output.
_PROBABILITIES = "probabilities"
# What stands for "no such translation" is far below any real score.
_LEAST_SCORE = -1e29

Result = TypeVar("Result")
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Translation:
    """A text's translation.

    Attributes:
        text: The translation.
        score: Its log-probability over the length penalty.
        truncated: The text was longer than the export's `maximum_length` tokens,
            and only so much of it was read.
    """

    text: str
    score: float
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A text's translation, with what the network looked at.

    Attributes:
        translation: The translation.
        source_tokens: What was read, the end token included.
        target_tokens: What was written, without the end token.
        attention: For each target token, the weight of each source token.
    """

    translation: Translation
    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    attention: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Token:
    """A word of a text, with its tag.

    Attributes:
        text: The word.
        tag: Its tag.
        score: The tag's probability.
        start: Where it begins in the text, in code points; None where the text came split.
        end: Where it ends, exclusive; None where the text came split.
    """

    text: str
    tag: str
    score: float
    start: int | None
    end: int | None


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A span of a text, such as a name.

    Attributes:
        text: The part of the text.
        label: What kind of entity it is.
        score: The probability of all its tags together.
        start: Where it begins in the text, in code points, after invalid
            UTF-8 was replaced by U+FFFD.
        end: Where it ends, exclusive.
    """

    text: str
    label: str
    score: float
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Tagging:
    """A text's words with their tags.

    Attributes:
        tokens: The words.
        entities: The spans that their tags mark; none where tags mark no
            spans, or where the text came split.
        truncated: There were more words than the export's `maximum_length`,
            and only so many were read.
    """

    tokens: tuple[Token, ...]
    entities: tuple[Entity, ...]
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class Classification:
    """A text's label, or labels.

    Attributes:
        labels: The most probable label alone; where several can be right, all that were selected.
        score: The most probable label's probability.
        probabilities: The probability of each label.
        truncated: A text had more tokens than the export's `maximum_length`,
            and only so many were read.
    """

    labels: tuple[str, ...]
    score: float
    probabilities: dict[str, float]
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A text's label, with what the decision leaned on.

    Attributes:
        classification: The answer.
        tokens: What was read of the text.
        attention: What each token weighs; together 1.
    """

    classification: Classification
    tokens: tuple[str, ...]
    attention: tuple[float, ...]


class Predictor:
    """Answers with an exported model.

    Args:
        path: A model directory, whose newest version is taken, or one version.
        batch_size: Texts given to the model at once. They are put together by
            length; the results come in the order of the texts.

    Attributes:
        folder: The version folder that was loaded.
        family: `translator`, `tagger` or `classifier`.

    Raises:
        FileNotFoundError: The path holds no SavedModel.
        ValueError: `batch_size` < 1, or a SavedModel that is not of this
            package; of every method: the model's family does not have it.
    """

    def __init__(self, path: str | Path, *, batch_size: int = 64):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
        self.folder = _newest_version(Path(path))
        self._batch_size = batch_size
        self._model = tf.saved_model.load(str(self.folder))
        signatures = set(self._model.signatures)
        family = next((family for own, family in _FAMILIES.items() if own in signatures), None)
        if _PROBABILITIES in getattr(self._model.signatures.get("serving_default"), "structured_outputs", {}):
            family = "classifier"
        if family is None or "serving_default" not in signatures:
            raise ValueError(f"{self.folder} is no model of this package: its signatures are {sorted(signatures)}.")
        self.family = family

    def predict(
        self, texts: Sequence[str | bytes], *, pairs: Sequence[str | bytes] | None = None
    ) -> list[Translation] | list[Tagging] | list[Classification]:
        """Returns the best translation of each text, its words with their tags, or its labels.

        Args:
            texts: The texts.
            pairs: The second text of each example, for a classifier of pairs.
        """
        encoded = _encoded(texts)
        if self.family == "classifier" or pairs is not None:
            return self._each("serving_default", self._texts(encoded, pairs), _classification)
        if self.family == "translator":
            return self._each("serving_default", {"text": encoded}, _translation)
        answers = self._each("serving_default", {"text": encoded}, dict)
        return [_tagging(text, row) for text, row in zip(encoded, answers, strict=True)]

    def tag(self, sentences: Sequence[Sequence[str | bytes]]) -> list[Tagging]:
        """Returns the words of sentences that are split already, with their tags."""
        if any(isinstance(sentence, (str, bytes)) for sentence in sentences):
            raise TypeError("sentences must be lists of words, not texts; split them, or give them to predict.")
        words = [_encoded(sentence) for sentence in sentences]
        answers = self._each("tokens", {"tokens": words, "lengths": list(map(len, words))}, dict)
        return [_tagged(sentence, row) for sentence, row in zip(words, answers, strict=True)]

    def n_best(self, texts: Sequence[str | bytes]) -> list[list[Translation]]:
        """Returns each text's translations, best first: as many as the export was made for, or all there are."""
        return self._each("n_best", {"text": _encoded(texts)}, _translations)

    def explain(
        self, texts: Sequence[str | bytes], *, pairs: Sequence[str | bytes] | None = None
    ) -> list[Explanation] | list[Evidence]:
        """Returns each text's best translation or labels, with the attention behind it.

        Args:
            texts: The texts.
            pairs: The second text of each example, for a classifier of pairs.
        """
        if self.family == "classifier" or pairs is not None:
            return self._each("explain", self._texts(_encoded(texts), pairs), _evidence)
        return self._each("explain", {"text": _encoded(texts)}, _explanation)

    def _texts(self, texts: list[bytes], pairs: Sequence[str | bytes] | None) -> dict[str, list[Any]]:
        """Returns the inputs of a classifier, if they are as many as it wants."""
        wanted = "text_pair" in self._model.signatures["serving_default"].structured_input_signature[1]
        if wanted != (pairs is not None):
            raise ValueError(
                f"{self.folder} reads {'pairs of texts: give' if wanted else 'single texts: leave out'} pairs."
            )
        if pairs is None:
            return {"text": texts}
        if len(pairs) != len(texts):
            raise ValueError(f"pairs must be as many as the {len(texts)} texts, not {len(pairs)}.")
        return {"text": texts, "text_pair": _encoded(pairs)}

    def _each(self, signature: str, inputs: dict[str, list[Any]], read: Callable[[Row], Result]) -> list[Result]:
        if signature not in self._model.signatures:
            raise ValueError(f"{self.folder} is a {self.family}, which has no signature {signature}.")
        function = self._model.signatures[signature]
        first = next(iter(inputs.values()))
        order = sorted(range(len(first)), key=lambda index: len(first[index]))
        results: dict[int, Result] = {}
        for start in range(0, len(order), self._batch_size):
            chosen = order[start : start + self._batch_size]
            batch = {name: _batch([values[index] for index in chosen]) for name, values in inputs.items()}
            columns = {name: tensor.numpy() for name, tensor in function(**batch).items()}
            for place, index in enumerate(chosen):
                results[index] = read({name: column[place] for name, column in columns.items()})
        return [results[index] for index in range(len(first))]


def _batch(values: list[Any]) -> tf.Tensor:
    """Makes a tensor of texts, of numbers, or of lists of words, which are padded with ""."""
    if isinstance(values[0], int):
        return tf.constant(values, tf.int32)
    if isinstance(values[0], bytes):
        return tf.constant(values, tf.string)
    width = max(map(len, values))
    padded = [word for words in values for word in (*words, *[b""] * (width - len(words)))]
    return tf.reshape(tf.constant(padded, tf.string), [len(values), width])


def _encoded(texts: Sequence[str | bytes]) -> list[bytes]:
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"texts must be a list of texts, not one text; give [{texts[:20]!r}].")
    return [_encode(text) for text in texts]


def _newest_version(path: Path) -> Path:
    entries = [path, *path.iterdir()] if path.is_dir() else []
    found = [entry for entry in entries if (entry / "saved_model.pb").is_file()]
    if path in found:
        return path
    numbered = [entry for entry in found if entry.name.isascii() and entry.name.isdecimal()]
    if not numbered:
        raise FileNotFoundError(
            f"{path} holds no exported model; give a model directory with a version (1/, 2/, ...) in it, "
            "or export one with pipelines/export.py."
        )
    return max(numbered, key=lambda entry: int(entry.name))


def _encode(text: str | bytes) -> bytes:
    # A lone surrogate is no text: as invalid UTF-8 it is read as U+FFFD.
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _translation(row: Row) -> Translation:
    return Translation(text=_decode(row["translation"]), score=float(row["score"]), truncated=bool(row["truncated"]))


def _translations(row: Row) -> list[Translation]:
    return [
        Translation(text=_decode(text), score=float(score), truncated=bool(row["truncated"]))
        for text, score in zip(row["translations"], row["scores"], strict=True)
        if score > _LEAST_SCORE
    ]


def _explanation(row: Row) -> Explanation:
    read, written = int(row["source_lengths"]), int(row["target_lengths"])
    return Explanation(
        translation=_translation(row),
        source_tokens=tuple(map(_decode, row["source_tokens"][:read])),
        target_tokens=tuple(map(_decode, row["target_tokens"][:written])),
        attention=tuple(map(tuple, row["attention"][:written, :read].tolist())),
    )


def _classification(row: Row) -> Classification:
    names, probabilities = [_decode(label) for label in row["labels"]], row["probabilities"].tolist()
    chosen = (
        [_decode(row["label"])]
        if "label" in row
        else [name for name, selected in zip(names, row["selected"], strict=True) if selected]
    )
    return Classification(
        labels=tuple(chosen),
        score=max(probabilities),
        probabilities=dict(zip(names, probabilities, strict=True)),
        truncated=bool(row["truncated"]),
    )


def _evidence(row: Row) -> Evidence:
    count = int(row["lengths"])
    return Evidence(
        classification=_classification(row),
        tokens=tuple(map(_decode, row["tokens"][:count])),
        attention=tuple(row["attention"][:count].tolist()),
    )


def _tagging(text: bytes, row: Row) -> Tagging:
    """Reads the answer to a text."""
    decoded, count = _decode(text), int(row["lengths"])
    places = zip(row["starts"][:count].tolist(), row["ends"][:count].tolist(), strict=True)
    return Tagging(
        tokens=_tokens(row["tokens"][:count], row, list(places)),
        entities=_entities(decoded, row) if "entity_counts" in row else (),
        truncated=bool(row["truncated"]),
    )


def _tagged(words: Sequence[bytes], row: Row) -> Tagging:
    """Reads the answer to a sentence that came split."""
    count = int(row["lengths"])
    tokens = _tokens(words[:count], row, [(None, None)] * count)
    return Tagging(tokens=tokens, entities=(), truncated=bool(row["truncated"]))


def _tokens(words: Sequence[bytes], row: Row, places: Sequence[tuple[int | None, int | None]]) -> tuple[Token, ...]:
    count = len(places)
    scores = row["scores"][:count].tolist()
    return tuple(
        Token(text=_decode(word), tag=_decode(tag), score=score, start=start, end=end)
        for word, tag, score, (start, end) in zip(words, row["tags"][:count], scores, places, strict=True)
    )


def _entities(text: str, row: Row) -> tuple[Entity, ...]:
    count = int(row["entity_counts"])
    columns = (row[f"entity_{name}"][:count].tolist() for name in ("labels", "scores", "starts", "ends"))
    return tuple(
        Entity(text=text[start:end], label=_decode(label), score=score, start=start, end=end)
        for label, score, start, end in zip(*columns, strict=True)
    )
