"""How models of any family are asked, and what they answer, as Python objects.

What runs here is the same wherever the model runs, in this process or in a
server: the standard library alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

# An output of serving_default that no other family has, and whose it is.
_FAMILIES = {"translation": "translator", "tags": "tagger", "probabilities": "classifier"}
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
        pair_tokens: What was read of the second text, where examples are pairs.
        pair_attention: What each of these weighs; together 1.
    """

    classification: Classification
    tokens: tuple[str, ...]
    attention: tuple[float, ...]
    pair_tokens: tuple[str, ...] = ()
    pair_attention: tuple[float, ...] = ()


class Signature(NamedTuple):
    """A signature's inputs and outputs, by name."""

    inputs: Collection[str]
    outputs: Collection[str]


class Client(ABC):
    """Asks an exported model, wherever it runs: what `Predictor` and the clients of servers share.

    Args:
        batch_size: Texts given to the model at once. They are put together by
            length; the results come in the order of the texts.

    Raises:
        ValueError: `batch_size` < 1.
    """

    _refusal: type[Exception] = ValueError
    """What is raised of a model that cannot be asked this."""

    def __init__(self, *, batch_size: int):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
        self._batch_size = batch_size

    @property
    def family(self) -> str:
        """`translator`, `tagger` or `classifier`."""
        signatures = self._signatures()
        outputs = signatures["serving_default"].outputs if "serving_default" in signatures else ()
        for own, family in _FAMILIES.items():
            if own in outputs:
                return family
        names = sorted(signatures)
        raise self._refusal(f"{self._model_name()} is no model of this package: its signatures are {names}.")

    @abstractmethod
    def _model_name(self) -> str:
        """Returns what to call the model in messages."""

    @abstractmethod
    def _signatures(self) -> Mapping[str, Signature]:
        """Returns the model's signatures by name."""

    @abstractmethod
    def _call(self, signature: str, inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Gives one batch to the model.

        Args:
            signature: Its name; it exists.
            inputs: For each input a list of texts (bytes), of whole numbers, or of lists of words (bytes).

        Returns:
            The outputs as nests of lists: texts (bytes or str), numbers and truth values.
        """

    def _call_each(self, signature: str, batches: Sequence[dict[str, list[Any]]]) -> Iterator[dict[str, list[Any]]]:
        """Gives several batches to the model; returns its answers in their order."""
        return (self._call(signature, batch) for batch in batches)

    @property
    def reads_pairs(self) -> bool:
        """Whether the model is a classifier of pairs of texts."""
        return self.family == "classifier" and "text_pair" in self._signatures()["serving_default"].inputs

    @property
    def explains(self) -> bool:
        """Whether it can be asked to `explain`: a translator, or a classifier that pools by attention."""
        return "explain" in self._signatures()

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
        wanted = self.reads_pairs
        if wanted != (pairs is not None):
            raise self._refusal(
                f"{self._model_name()} reads {'pairs of texts: give' if wanted else 'single texts: leave out'} pairs."
            )
        if pairs is None:
            return {"text": texts}
        if len(pairs) != len(texts):
            raise ValueError(f"pairs must be as many as the {len(texts)} texts, not {len(pairs)}.")
        return {"text": texts, "text_pair": _encoded(pairs)}

    def _each(self, signature: str, inputs: dict[str, list[Any]], read: Callable[[Row], Result]) -> list[Result]:
        if signature not in self._signatures():
            raise self._refusal(f"{self._model_name()} is a {self.family}, which has no signature {signature}.")
        first = next(iter(inputs.values()))
        order = sorted(range(len(first)), key=lambda index: len(first[index]))
        chunks = [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]
        batches = [{name: [values[index] for index in chosen] for name, values in inputs.items()} for chosen in chunks]
        results: dict[int, Result] = {}
        for chosen, columns in zip(chunks, self._call_each(signature, batches), strict=True):
            for place, index in enumerate(chosen):
                results[index] = read({name: column[place] for name, column in columns.items()})
        return [results[index] for index in range(len(first))]


def padded(values: list[Any]) -> list[Any]:
    """Pads lists of words with "" to one length, of 1 or more; texts and numbers stay as they are."""
    if not isinstance(values[0], list):
        return values
    width = max(1, *map(len, values))
    return [[*words, *[b""] * (width - len(words))] for words in values]


def _encoded(texts: Sequence[str | bytes]) -> list[bytes]:
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"texts must be a list of texts, not one text; give [{texts[:20]!r}].")
    return [_encode(text) for text in texts]


def _encode(text: str | bytes) -> bytes:
    # A lone surrogate is no text: as invalid UTF-8 it is read as U+FFFD.
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _decode(text: bytes | str) -> str:
    # JSON has texts, and not bytes.
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


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
        attention=tuple(tuple(weights[:read]) for weights in row["attention"][:written]),
    )


def _classification(row: Row) -> Classification:
    names, probabilities = [_decode(label) for label in row["labels"]], row["probabilities"]
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
    leaned_on: dict[str, tuple[Any, ...]] = {}
    for prefix in ("", "pair_") if "pair_lengths" in row else ("",):
        count = int(row[f"{prefix}lengths"])
        leaned_on[f"{prefix}tokens"] = tuple(map(_decode, row[f"{prefix}tokens"][:count]))
        leaned_on[f"{prefix}attention"] = tuple(row[f"{prefix}attention"][:count])
    return Evidence(classification=_classification(row), **leaned_on)


def _tagging(text: bytes, row: Row) -> Tagging:
    """Reads the answer to a text."""
    decoded, count = _decode(text), int(row["lengths"])
    places = zip(row["starts"][:count], row["ends"][:count], strict=True)
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
    columns = zip(words, row["tags"][:count], row["scores"][:count], places, strict=True)
    return tuple(
        Token(text=_decode(word), tag=_decode(tag), score=score, start=start, end=end)
        for word, tag, score, (start, end) in columns
    )


def _entities(text: str, row: Row) -> tuple[Entity, ...]:
    count = int(row["entity_counts"])
    columns = (row[f"entity_{name}"][:count] for name in ("labels", "scores", "starts", "ends"))
    return tuple(
        Entity(text=text[start:end], label=_decode(label), score=score, start=start, end=end)
        for label, score, start, end in zip(*columns, strict=True)
    )
