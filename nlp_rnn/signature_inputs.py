"""Arguments for a signature of any family, made from samples or from texts.

Bytes that are no valid UTF-8 are spelt in texts as `parity.wire` spells them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from nlp_rnn import parity

Sample = Mapping[str, Any]
Arguments = dict[str, Any]
"""One example's arguments by the inputs' names: a text, a list of words, or a number."""

BUILT_IN = (
    "Two dogs are running across a green field.",
    "What is the name of this town?",
    "No.",
    "1984, or 2 + 2 = 5",
)
# Empty, blank, not UTF-8, and of many scripts.
EDGES = ("", " \t\n", "a\udcffb", "Ünïcode 漢字 \N{WAVING HAND SIGN} ﷺ")


def from_texts(texts: Sequence[str]) -> list[Sample]:
    """Makes samples that any family can read; a second text of each is the one before it."""
    return [{"text": text, "text_pair": texts[place - 1]} for place, text in enumerate(texts)]


def from_samples(samples: Iterable[Sample]) -> list[Sample]:
    """Reads held-out examples with the columns of any family; a few sentences stand in if there are none."""
    return list(map(_readable, samples)) or from_texts(BUILT_IN)


def arguments(specs: Mapping[str, tf.TensorSpec], sample: Sample) -> Arguments:
    """Returns what a signature with these inputs is given for a sample.

    Inputs of rank 2 are words, whole numbers are how many words there are, and all else is text.
    """
    words = sample["tokens"] if "tokens" in sample else sample["text"].split()
    given: Arguments = {}
    for name, spec in specs.items():
        if spec.dtype != tf.string:
            given[name] = len(words)
        elif spec.shape.rank == 2:
            given[name] = list(words)
        else:
            given[name] = sample["text_pair"] if name == "text_pair" else sample["text"]
    return given


def batch(specs: Mapping[str, tf.TensorSpec], rows: Sequence[Arguments]) -> Arguments:
    """Puts examples together; words are padded with ""."""
    return {name: _padded([row[name] for row in rows]) for name in specs}


def calls(functions: Mapping[str, Any], samples: Sequence[Sample]) -> dict[str, list[Arguments]]:
    """Returns two calls of each signature: one of all samples, with empty and invalid ones, and one of none.

    Args:
        functions: The live signatures, by name.
        samples: As `from_samples` gives them.
    """
    edges = [*from_texts(EDGES), {"text": " ".join(EDGES), "text_pair": "", "tokens": list(EDGES)}]
    given: dict[str, list[Arguments]] = {}
    for name, function in functions.items():
        specs = parity.specs_of(function)
        rows = [arguments(specs, sample) for sample in (*samples, *edges)]
        given[name] = [batch(specs, rows), batch(specs, [])]
    return given


def _padded(values: list[Any]) -> list[Any]:
    if not values or not isinstance(values[0], list):
        return values
    longest = max(map(len, values))
    return [[*words, *[""] * (longest - len(words))] for words in values]


def _readable(sample: Sample) -> Sample:
    if "tokens" in sample:
        tokens = list(map(_spelt, sample["tokens"]))
        text = " ".join(tokens)
        return {"text": text, "text_pair": text, "tokens": tokens}
    text = _spelt(sample["source"] if "source" in sample else sample["text"])
    return {"text": text, "text_pair": _spelt(sample.get("text_pair", text))}


def _spelt(text: str) -> str:
    """A lone surrogate is no text: as invalid UTF-8 it is read as U+FFFD."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
