"""The parity gate: a SavedModel answers as the model it was made of, in a process of its own.

That process has TensorFlow and the operations of TensorFlow Text alone, as a
server has, sees no GPU, and answers real examples through every signature.
"""

import functools
import itertools
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_rnn import replay

# Scores differ by less than this between two ways to compute the same in float32.
TOLERANCE = 1e-4
# By what is computed in. bfloat16 has 8 binary digits: where two ways to add up a product's terms differ in the last
# digits of float32, the result may be rounded to the one neighbour or to the other.
TOLERANCES = {"float32": TOLERANCE, "bfloat16": 0.005}

Row = dict[str, Any]
"""One example's outputs by name, as lists; bytes spelt as text that JSON can hold."""
Specs = Mapping[str, tf.TensorSpec]
Inputs = Mapping[str, Any]
"""A signature's arguments by name: nests of lists, a string spelling bytes as `wire` does."""
Tie = Callable[[Row, Row, Row], bool]
"""Tells whether a live and a served answer that differ are equally good, given the live alternatives."""

_log = logging.getLogger(__name__)


class ParityError(RuntimeError):
    """A SavedModel answers otherwise than the model it was made of."""


def check(
    folder: Path,
    functions: Mapping[str, Any],
    batches: Mapping[str, Sequence[Inputs]],
    tie: Tie,
    *,
    alternatives: str | None = None,
    python: str | None = None,
    tolerance: float = TOLERANCE,
) -> int:
    """Compares a SavedModel with the functions it was made of.

    Texts must be equal, and so must all other outputs, numbers up to
    `tolerance`, unless an answer is a tie.

    Args:
        folder: The SavedModel.
        functions: The live signatures, by name.
        batches: For each signature, the arguments of some calls.
        tie: What may differ.
        alternatives: A signature with the same arguments as all others, whose
            live answers list other answers as good.
        python: The other process's interpreter, such as one with TensorFlow
            in a server's version; this process's own if not given.
        tolerance: How far numbers may be apart, absolutely or relatively.

    Returns:
        How many answers were ties.

    Raises:
        ParityError: They differ; the message says where.
    """
    specs = {name: specs_of(functions[name]) for name in batches}
    live = {name: [ask(functions[name], inputs) for inputs in calls] for name, calls in batches.items()}
    served, ties = _served(folder, batches, specs, python or sys.executable), 0
    for name, calls in batches.items():
        others = live[alternatives] if alternatives else [[{}] * len(rows) for rows in live[name]]
        for inputs, *answers in zip(calls, live[name], served[name], others, strict=True):
            examples = list(_examples(inputs))
            if any(len(rows) != len(examples) for rows in answers):
                raise ParityError(f"{name} answers {len(examples)} examples with {len(answers[1])}.")
            for example, mine, theirs, other in zip(examples, *answers, strict=True):
                if equal(mine, theirs, tolerance=tolerance):
                    continue
                if not tie(mine, theirs, other):
                    raise ParityError(difference(name, example, mine, theirs, tolerance=tolerance))
                ties += 1
    if ties:
        _log.info("%d answers of the export differ from the model's by a tie of two scores.", ties)
    return ties


def specs_of(function: Any) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of a signature by name, of one that is live or of one that was loaded."""
    live, loaded = function.structured_input_signature
    # What an argument that is left out holds is None.
    return {spec.name: spec for spec in live if spec is not None} | dict(loaded)


def ask(function: Any, inputs: Inputs) -> list[Row]:
    """Returns a signature's answer to each example, without padding."""
    return _by_example(call(function, inputs))


def call(function: Any, inputs: Inputs) -> dict[str, tf.Tensor]:
    """Returns a signature's outputs as they are."""
    return function(**tensors(specs_of(function), inputs))


def equal(one: Row, other: Row, *, tolerance: float = TOLERANCE) -> bool:
    """Tells whether two answers are the same but for the rounding of numbers."""
    return one.keys() == other.keys() and not _apart(one, other, tolerance)


def close(one: Any, other: Any, *, tolerance: float = TOLERANCE) -> bool:
    """Compares nests of texts, truth values and numbers; NaN is close to nothing."""
    if isinstance(one, list):
        same_length = isinstance(other, list) and len(one) == len(other)
        return same_length and all(close(*pair, tolerance=tolerance) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    return one == other


def _apart(one: Row, other: Row, tolerance: float) -> set[str]:
    """Returns which outputs of two answers are not close."""
    return {key for key in {**one, **other} if not close(one.get(key), other.get(key), tolerance=tolerance)}


def wire(value: Any) -> Any:
    """Spells bytes as JSON can hold them, at any depth of lists."""
    if isinstance(value, list):
        return [wire(item) for item in value]
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def near_tie(live: Row, served: Row, alternatives: Row, *, tolerance: float = TOLERANCE) -> bool:
    """Tells for an answer of any family whether another one is as good."""
    if "translation" in live or "translations" in live:
        return translation_tie(live, served, alternatives, tolerance=tolerance)
    if "tags" in live:
        return tagging_tie(live, served, alternatives, tolerance=tolerance)
    # What was chosen may differ if what it was chosen by does not.
    apart = _apart(live, served, tolerance)
    return live.keys() == served.keys() and bool(apart) and apart <= {"label", "selected"}


def translation_tie(live: Row, served: Row, alternatives: Row, *, tolerance: float = TOLERANCE) -> bool:
    """Tells whether each translation is the model's own at that rank, or one with nearly its score."""
    mine, theirs = list(_hypotheses(live)), list(_hypotheses(served))
    known = [*mine, *_hypotheses(alternatives)]
    if len(mine) != len(theirs) or [text for text, _ in mine] == [text for text, _ in theirs]:
        return False
    near = functools.partial(close, tolerance=tolerance)
    return live["truncated"] == served["truncated"] and all(
        near(one[1], other[1]) and any(other[0] == text and near(other[1], score) for text, score in known)
        for one, other in zip(mine, theirs, strict=True)
    )


def tagging_tie(live: Row, served: Row, alternatives: Row, *, tolerance: float = TOLERANCE) -> bool:
    """Tells whether tags differ, each by one nearly as probable; what does not hang on the tags must be equal."""
    del alternatives
    apart = _apart(live, served, tolerance)
    if live.keys() != served.keys() or "tags" not in apart or "scores" in apart:
        return False
    return all(key == "tags" or key.startswith("entity_") for key in apart)


def classification_tie(
    live: Row, served: Row, alternatives: Row, *, threshold: float, tolerance: float = TOLERANCE
) -> bool:
    """Tells whether only the choice differs, between labels nearly as probable as each other, or as the threshold."""
    del alternatives
    apart = _apart(live, served, tolerance)
    if live.keys() != served.keys() or not apart <= {"label", "selected"}:
        return False
    if "selected" in apart:
        # What stands at the end is cut off where it is False, or 0.
        rows = itertools.zip_longest(live["selected"], served["selected"], served["probabilities"], fillvalue=0)
        return all(
            mine == theirs or close(float(score), threshold, tolerance=tolerance) for mine, theirs, score in rows
        )
    probabilities = dict(zip(served["labels"], served["probabilities"], strict=False))
    return close(probabilities.get(served["label"], 0.0), served["score"], tolerance=tolerance)


def _hypotheses(row: Row) -> Iterator[tuple[str, float]]:
    if "translations" not in row:
        return iter([(row["translation"], row["score"])])
    texts, scores = row["translations"], row["scores"]
    # `_unpadded` takes empty translations at the end for padding, and likewise scores of 0.
    count = max(len(texts), len(scores))
    return zip([*texts, *[""] * (count - len(texts))], [*scores, *[0.0] * (count - len(scores))], strict=True)


def difference(signature: str, example: Row, live: Row, served: Row, *, tolerance: float = TOLERANCE) -> str:
    """Says in a sentence what an answer has instead of what was expected."""
    keys = sorted(_apart(live, served, tolerance))
    shown = "; ".join(f"{key} {served.get(key)!r} instead of {live.get(key)!r}"[:500] for key in keys)
    return f"{signature} of {str(example)[:200]} gives {shown}."


def _examples(inputs: Inputs) -> Iterator[Row]:
    for values in zip(*inputs.values(), strict=True):
        yield dict(zip(inputs, values, strict=True))


def _shape(values: Any, rank: int) -> list[int]:
    """Returns a nest's shape; one without examples is empty in all its dimensions."""
    return list(np.shape(values)) if values else [0] * rank


def tensors(specs: Specs, inputs: Inputs) -> dict[str, tf.Tensor]:
    """Makes tensors of a signature's arguments."""
    return {
        name: tf.reshape(tf.constant(_bytes(values), specs[name].dtype), _shape(values, specs[name].shape.rank))
        for name, values in inputs.items()
    }


def _bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _by_example(answer: Mapping[str, Any]) -> list[Row]:
    """Gives each example's outputs, without the padding, which depends on the other examples."""
    columns = {key: wire(value.numpy().tolist()) if tf.is_tensor(value) else value for key, value in answer.items()}
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, map(_unpadded, row), strict=True)) for row in rows]


def _unpadded(value: Any) -> Any:
    """Takes zeros and empty texts off the end of lists, at any depth."""
    if not isinstance(value, list):
        return value
    items = [_unpadded(item) for item in value]
    while items and items[-1] in (0, "", []):
        items.pop()
    return items


def _served(
    folder: Path, batches: Mapping[str, Sequence[Inputs]], specs: Mapping[str, Specs], python: str
) -> dict[str, list[list[Row]]]:
    asked = {
        name: [
            {key: (values, _shape(values, specs[name][key].shape.rank)) for key, values in inputs.items()}
            for inputs in calls
        ]
        for name, calls in batches.items()
    }
    try:
        served = replay.answers(folder, asked, python=python)
    except replay.ReplayError as error:
        raise ParityError(f"it cannot be loaded and called.\n{error}") from error
    return {name: list(map(_by_example, calls)) for name, calls in served.items()}
