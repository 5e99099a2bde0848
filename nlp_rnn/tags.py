"""Tag schemes: how the tags of single tokens spell spans, such as the names in a sentence.

A span tag is a prefix, a hyphen and a label, as in `B-person`; `O` stands
outside of every span. The schemes differ in their prefixes:

    scheme  one token  several tokens  following a span with the same label
    bio     B          B I I           B I
    iob1    I          I I I           B I
    iobes   S          B I E           B E
    io      I          I I I           cannot be told apart

BIOES and BILOU are IOBES in another spelling (L is E, U is S) and read as such.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from nlp_rnn.config import ConfigError

Scheme = Literal["bio", "iob1", "iobes", "io"]

OUTSIDE = "O"

_PREFIXES: dict[Scheme, str] = {"bio": "BI", "iob1": "BI", "iobes": "BIES", "io": "I"}
_SPELLINGS = {"L": "E", "U": "S"}


class Span(NamedTuple):
    """Tokens with a common label; `end` is exclusive."""

    label: str
    start: int
    end: int


class Constraints(NamedTuple):
    """Which sequences of n tags are well-formed; True is allowed.

    Attributes:
        starts: bool (n,). May begin a sequence.
        transitions: bool (n, n). The column's tag may follow the row's.
        ends: bool (n,). May end a sequence.
    """

    starts: np.ndarray
    transitions: np.ndarray
    ends: np.ndarray


class _Tag(NamedTuple):
    prefix: str  # B, I, E, S or O
    label: str  # empty for O


def split(tag: str) -> tuple[str, str] | None:
    """Returns a tag's prefix (B, I, E, S or O) and its label ("" for O), or None if it is no span tag."""
    if tag == OUTSIDE:
        return _Tag(OUTSIDE, "")
    prefix, hyphen, label = tag.partition("-")
    prefix = _SPELLINGS.get(prefix, prefix)
    return _Tag(prefix, label) if prefix in ("B", "I", "E", "S") and hyphen and label else None


def respell(tag: str) -> str:
    """Returns BILOU's tags in the spelling of IOBES, every other tag as it is."""
    found = split(tag)
    return tag if found is None else _join(*found)


def recognise(sequences: Iterable[Sequence[str]]) -> Scheme | None:
    """Finds the scheme of a corpus, or None when its tags spell no spans.

    One tag that is neither `O` nor a span tag, as any part of speech, settles
    that there are none; so does a corpus of `O` alone. Prefixes of ends or
    single tokens are those of IOBES, `I` alone those of IO. Between BIO and
    IOB1 the more frequent wins: spans that begin with `I` are IOB1, spans that
    begin with `B` though no span of the same label is before them are BIO. So
    a few slips do not turn one into the other.

    Args:
        sequences: The tags of each sentence; read once, up to the first tag
            that is no span tag.
    """
    prefixes = set[str]()
    begun_with_b = begun_with_i = 0
    for sequence in sequences:
        before = _Tag(OUTSIDE, "")
        for tag in sequence:
            found = split(tag)
            if found is None:
                return None
            now = _Tag(*found)
            prefixes.add(now.prefix)
            if now.label != before.label:
                begun_with_b += now.prefix == "B"
                begun_with_i += now.prefix == "I"
            before = now
    if prefixes & {"E", "S"}:
        return "iobes"
    if "B" not in prefixes:
        return "io" if "I" in prefixes else None
    return "iob1" if begun_with_i > begun_with_b else "bio"


def spans(tags: Sequence[str], *, scheme: Scheme) -> list[Span]:
    """Reads the spans of a sentence, leniently.

    A tag that continues a span where there is none of its label begins one;
    a span ends where the next tag does not continue it, with or without its E.
    A tag that is no span tag counts as `I` with itself as the label, so that
    nothing is lost.
    """
    found: list[Span] = []
    is_open = False
    for place, tag in enumerate(tags):
        prefix, label = split(tag) or ("I", tag)
        if prefix == OUTSIDE:
            is_open = False
            continue
        if is_open and prefix in ("I", "E") and found[-1].label == label:
            found[-1] = found[-1]._replace(end=place + 1)
        else:
            found.append(Span(label, place, place + 1))
        is_open = prefix in ("B", "I") or scheme != "iobes"
    return found


def from_spans(spans: Iterable[Span], *, length: int, scheme: Scheme) -> list[str]:
    """Spells spans as one tag a token.

    IO joins neighbours with the same label; the other schemes lose nothing.

    Args:
        spans: In any order.
        length: Tokens of the sentence.
        scheme: The scheme to write.

    Raises:
        ValueError: Spans are empty, overlap, or leave the sentence.
    """
    tags = [OUTSIDE] * length
    previous = Span("", 0, 0)
    for span in sorted(spans, key=lambda span: span.start):
        label, start, end = span
        if not previous.end <= start < end <= length:
            raise ValueError(
                f"Expected spans of at least one token that do not overlap, within {length} tokens; "
                f"{span} follows {previous}."
            )
        follows = previous.label == label and previous.end == start
        tags[start:end] = [f"{prefix}-{label}" for prefix in _prefixes(end - start, scheme, follows=follows)]
        previous = span
    return tags


def convert(tags: Sequence[str], *, source: Scheme, target: Scheme) -> tuple[list[str], int]:
    """Spells a sentence's spans in another scheme.

    Returns:
        The tags, well-formed, and how many of those given were ill-formed:
        the ones that differ from how the source scheme spells what `spans`
        reads. With `source` as the target this only repairs.
    """
    found = spans(tags, scheme=source)
    proper = from_spans(found, length=len(tags), scheme=source)
    repaired = sum(respell(tag) != right for tag, right in zip(tags, proper, strict=True))
    return from_spans(found, length=len(tags), scheme=target), repaired


def closure(tags: Iterable[str], *, scheme: Scheme | None) -> list[str]:
    """Returns the tags a model needs so that every label seen can be spelled in full.

    Returns:
        `O`, then every prefix of the scheme with every label, sorted. Without
        a scheme the tags themselves, each once and sorted.

    Raises:
        ConfigError: A tag does not belong to the scheme.
    """
    if scheme is None:
        return sorted(set(tags))
    labels = {_require(tag, scheme).label for tag in tags} - {""}
    return [OUTSIDE, *sorted(_join(prefix, label) for prefix in _PREFIXES[scheme] for label in labels)]


def constraints(tags: Sequence[str], *, scheme: Scheme | None) -> Constraints:
    """Returns which sequences of tags the scheme allows; without one, all.

    Args:
        tags: The n tags of a model, as `closure` returns them: with fewer, a
            tag might have no successor.
        scheme: How they spell spans.

    Raises:
        ConfigError: A tag does not belong to the scheme.
    """
    if scheme is None:
        count = len(tags)
        return Constraints(np.ones(count, bool), np.ones((count, count), bool), np.ones(count, bool))
    known = [_require(tag, scheme) for tag in tags]
    # Before and after a sentence is as outside of every span.
    border = _Tag(OUTSIDE, "")
    return Constraints(
        starts=np.array([_may_follow(border, tag, scheme) for tag in known], bool),
        transitions=np.array([[_may_follow(left, right, scheme) for right in known] for left in known], bool),
        ends=np.array([_may_follow(tag, border, scheme) for tag in known], bool),
    )


def _may_follow(left: _Tag, right: _Tag, scheme: Scheme) -> bool:
    same = left.label == right.label
    if scheme == "bio":
        return right.prefix != "I" or same
    if scheme == "iob1":
        return right.prefix != "B" or same
    if scheme == "iobes":
        unfinished, continuing = left.prefix in ("B", "I"), right.prefix in ("I", "E")
        return unfinished == continuing and (same or not continuing)
    return True


def _prefixes(length: int, scheme: Scheme, *, follows: bool) -> str:
    """Returns a span's prefixes; `follows` says that one with its label ends right before it."""
    if scheme == "iobes":
        return "S" if length == 1 else "B" + "I" * (length - 2) + "E"
    begin = "B" if scheme == "bio" or (scheme == "iob1" and follows) else "I"
    return begin + "I" * (length - 1)


def _join(prefix: str, label: str) -> str:
    return f"{prefix}-{label}" if label else prefix


def _require(tag: str, scheme: Scheme) -> _Tag:
    found = split(tag)
    if found is None or found[0] not in (OUTSIDE, *_PREFIXES[scheme]):
        expected = ", ".join(f"{prefix}-LABEL" for prefix in _PREFIXES[scheme])
        raise ConfigError(
            f"Tags of the scheme {scheme} must be {OUTSIDE}, {expected}, not {tag!r}. Convert them first."
        )
    return _Tag(*found)
