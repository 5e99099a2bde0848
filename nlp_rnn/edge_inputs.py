"""Texts that break careless models, and what an answer to any text must be like."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_WORDS = 100_000
_PLANE = 0x10000
_SAMPLED_CODE_POINTS = 512
_IN_ONE_TEXT = 64


def named_texts() -> dict[str, list[str]]:
    """Returns texts by what is odd about them; bytes that are no text are spelt as `parity.wire` does."""
    controls = [chr(code) for code in range(0xA0) if unicodedata.category(chr(code)) == "Cc"]
    return {
        "an empty text": [""],
        "white space only": [" ", "\t\r\n", "\u2003\u3000\u00a0", " " * 1000],
        "invalid UTF-8": ["\udcff", "a\udcffb", "a\udced\udca0\udc80b", "\udcf0\udc9f\udc92", "a \udcc0\udc80 b"],
        "control characters": [*controls, "a" + "".join(controls) + "b", " ".join(controls)],
        "marks without a letter": ["\u0301", "\u0301" * 500, "\u200d\u200d", "\ufe0f", "\u202eabc", "\ufeffabc"],
        "100,000 words": ["dog " * _WORDS],
        "one word of 100,000 letters": ["a" * _WORDS],
        **{f"Unicode plane {plane}": texts for plane, texts in _planes()},
    }


def _planes() -> Iterator[tuple[int, list[str]]]:
    """Gives texts of the assigned code points of each plane, evenly sampled."""
    for plane in range(0x11):
        codes = range(plane * _PLANE, (plane + 1) * _PLANE)
        assigned = [chr(code) for code in codes if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]
        # Private use is assigned, too; two of it say as much as sixty thousand.
        private = [chr(code) for code in codes if unicodedata.category(chr(code)) == "Co"]
        chosen = [*assigned[:: max(1, len(assigned) // _SAMPLED_CODE_POINTS)], *private[:1], *private[1:][-1:]]
        if chosen:
            yield plane, ["".join(chosen[at : at + _IN_ONE_TEXT]) for at in range(0, len(chosen), _IN_ONE_TEXT)]


def answer_problems(
    specs: Mapping[str, tf.TensorSpec], inputs: Mapping[str, Sequence[Any]], answer: Mapping[str, tf.Tensor]
) -> list[str]:
    """Returns what is wrong with the answer of a signature, whatever was asked.

    Every output has one row for each example and the rank it is documented
    with, numbers are finite, texts are UTF-8, and offsets lie inside the text:
    those of tokens exactly at the tokens.

    Args:
        specs: The signature's outputs by name.
        inputs: Its arguments: lists, as `parity.call` takes them.
        answer: Its outputs.
    """
    count = len(next(iter(inputs.values())))
    found = [f"it has the outputs {sorted(answer)} instead of {sorted(specs)}"] if answer.keys() != specs.keys() else []
    for name, tensor in answer.items():
        found += [f"{name} {problem}" for problem in _tensor_problems(specs.get(name), tensor, count)]
    if found or "text" not in inputs:
        return found
    columns = {name: tensor.numpy() for name, tensor in answer.items()}
    texts = [_as_read(text) for text in inputs["text"]]
    for starts in (name for name in columns if name.endswith("starts")):
        found += _offset_problems(columns, starts.removesuffix("starts"), texts)
    return found


def _tensor_problems(spec: tf.TensorSpec | None, tensor: tf.Tensor, count: int) -> Iterator[str]:
    if spec is not None and not spec.shape.is_compatible_with(tensor.shape):
        yield f"has the shape {tuple(tensor.shape)}, which is not one of {tuple(spec.shape)}"
    if tensor.shape.rank == 0 or tensor.shape[0] != count:
        yield f"has the shape {tuple(tensor.shape)} for {count} examples"
    if tensor.dtype.is_floating and not np.isfinite(tensor.numpy()).all():
        yield "is NaN or infinite"
    if tensor.dtype == tf.string and not all(map(_is_utf_8, tensor.numpy().ravel())):
        yield "is not valid UTF-8"


def _is_utf_8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _as_read(text: str) -> str:
    """The text that offsets count in: without what is no text."""
    decoded = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return decoded.replace("\0", "\ufffd").replace("\ufdd0", "\ufffd")


def _offset_problems(columns: Mapping[str, Any], prefix: str, texts: Sequence[str]) -> Iterator[str]:
    counts = columns["lengths" if not prefix else f"{prefix}counts"]
    for row, text in enumerate(texts):
        starts, ends = (columns[f"{prefix}{name}"][row, : counts[row]].tolist() for name in ("starts", "ends"))
        places = list(zip(starts, ends, strict=True))
        if not all(0 <= start < end <= len(text) for start, end in places):
            yield f"{prefix}starts and {prefix}ends lie outside of the text {text[:40]!r}"
        elif f"{prefix}tokens" in columns:
            tokens = [token.decode("utf-8", "replace") for token in columns[f"{prefix}tokens"][row, : counts[row]]]
            if [text[start:end] for start, end in places] != tokens:
                yield f"{prefix}starts and {prefix}ends are not where the tokens are in {text[:40]!r}"
