import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, IOBES, Entities

from nlp_rnn import corpora, tags
from nlp_rnn.config import ConfigError, DataConfig
from nlp_rnn.tags import Scheme, Span

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SCHEMES: tuple[Scheme, ...] = ("bio", "iob1", "iobes", "io")
SPELLED: dict[Scheme, str] = {
    "bio": "B-x I-x B-x O B-y B-x I-x I-x",
    "iob1": "I-x I-x B-x O I-y I-x I-x I-x",
    "iobes": "B-x E-x S-x O S-y B-x I-x E-x",
}
SPANS = [Span("x", 0, 2), Span("x", 2, 3), Span("y", 4, 5), Span("x", 5, 8)]


@st.composite
def sentences(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Spans that may touch, and the sentence's length."""
    found, place = [], 0
    for gap, size, label in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(["x", "y", "x-y", "B-x"])), max_size=6)
    ):
        found.append(Span(label, place + gap, place + gap + size))
        place = found[-1].end
    return found, place + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", SPELLED)
def test_spans_are_spelled_and_read_by_each_scheme(scheme: Scheme) -> None:
    assert tags.spans(SPELLED[scheme].split(), scheme=scheme) == SPANS
    assert tags.from_spans(reversed(SPANS), length=8, scheme=scheme) == SPELLED[scheme].split()


@pytest.mark.parametrize("source", SPELLED)
@pytest.mark.parametrize("target", SPELLED)
def test_a_conversion_by_hand(source: Scheme, target: Scheme) -> None:
    assert tags.convert(SPELLED[source].split(), source=source, target=target) == (SPELLED[target].split(), 0)


def test_io_joins_neighbours_with_the_same_label() -> None:
    joined = ["I-x", "I-x", "I-x", "O", "I-y", "I-x", "I-x", "I-x"]
    assert tags.convert(SPELLED["bio"].split(), source="bio", target="io") == (joined, 0)
    expected = ["B-x", "I-x", "I-x", "O", "B-y", "B-x", "I-x", "I-x"]
    assert tags.convert(joined, source="io", target="bio") == (expected, 0)


@given(sentences(), st.permutations(["bio", "iob1", "iobes"]))
def test_conversions_lose_nothing(sentence: tuple[list[Span], int], order: list[Scheme]) -> None:
    found, length = sentence
    first = written = tags.from_spans(found, length=length, scheme=order[0])
    for source, target in itertools.pairwise([*order, order[0]]):
        written, repaired = tags.convert(written, source=source, target=target)
        assert repaired == 0
        assert tags.spans(written, scheme=target) == found
    assert written == first


@given(st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"]), max_size=8))
def test_ill_formed_bio_is_read_as_seqeval_reads_it_leniently(sentence: list[str]) -> None:
    expected = [Span(label, start, end + 1) for label, start, end in get_entities(sentence)]
    assert tags.spans(sentence, scheme="bio") == expected


@given(sentences(), st.sampled_from([("bio", IOB2), ("iobes", IOBES)]))
def test_well_formed_tags_are_read_as_seqeval_reads_them_strictly(
    sentence: tuple[list[Span], int], scheme: tuple[Scheme, type]
) -> None:
    written = tags.from_spans(sentence[0], length=sentence[1], scheme=scheme[0])
    (found,) = Entities([written], scheme[1]).entities
    assert [Span(entity.tag, entity.start, entity.end) for entity in found] == sentence[0]


@pytest.mark.parametrize(
    ("source", "given_tags", "target", "expected", "repaired"),
    [
        ("bio", "O I-x I-x", "bio", "O B-x I-x", 1),
        ("bio", "B-x I-y", "bio", "B-x B-y", 1),
        ("bio", "I-x O I-y", "iobes", "S-x O S-y", 2),
        ("bio", "S-x B-x E-x", "bio", "B-x B-x I-x", 2),
        ("iob1", "B-x I-x O B-y", "iob1", "I-x I-x O I-y", 2),
        ("iob1", "I-x B-y", "bio", "B-x B-y", 1),
        ("iobes", "B-x O", "iobes", "S-x O", 1),  # without its end
        ("iobes", "B-x I-x O", "bio", "B-x I-x O", 1),
        ("iobes", "I-x E-x", "iobes", "B-x E-x", 1),  # without its beginning
        ("iobes", "O E-x", "iobes", "O S-x", 1),
        ("iobes", "B-x E-y", "bio", "B-x B-y", 2),
        ("iobes", "S-x I-x", "bio", "B-x B-x", 1),
        ("iobes", "B-x B-x E-x", "bio", "B-x B-x I-x", 1),
        ("io", "I-x B-x", "bio", "B-x B-x", 1),
        ("bio", "person person O", "bio", "B-person I-person O", 2),  # no span tags at all
        ("bio", "B-x -LRB-", "bio", "B-x B--LRB-", 1),
    ],
)
def test_ill_formed_tags_are_repaired_and_counted(
    source: Scheme, given_tags: str, target: Scheme, expected: str, repaired: int
) -> None:
    assert tags.convert(given_tags.split(), source=source, target=target) == (expected.split(), repaired)


def test_bilou_is_another_spelling_of_iobes() -> None:
    bilou = ["B-x", "L-x", "U-x", "O", "U-y", "B-x", "I-x", "L-x"]
    assert tags.recognise([bilou]) == "iobes"
    assert tags.convert(bilou, source="iobes", target="iobes") == (SPELLED["iobes"].split(), 0)
    assert [tags.respell(tag) for tag in ["L-x", "U-L-x", "O", "I-x", "U", "LS"]] == [
        "E-x", "S-L-x", "O", "I-x", "U", "LS",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sequences", "scheme"),
    [
        (["B-x I-x O", "B-y"], "bio"),
        (["B-x B-x"], "bio"),
        (["B-x", "O O"], "bio"),
        (["I-x I-x B-x O"], "iob1"),
        (["I-y I-x B-x"], "iob1"),
        (["O I-x I-x", "I-creative-work"], "io"),
        (["S-x O"], "iobes"),
        (["B-x E-x", "B-x I-x E-x"], "iobes"),
        (["B-x B-y O B-x I-y"], "bio"),  # one slip
        (["I-x O I-x", "I-y B-y", "B-x"], "iob1"),  # one slip
        (["O O", "O"], None),
        ([], None),
        (["NOUN PUNCT X"], None),
        (["PRP$ -LRB- HYPH NN -RRB- ''"], None),
        (["B-x I-x O", "B-x ADJ"], None),
        (["B I O"], None),
        (["B- I- O"], None),
    ],
)
def test_schemes_are_recognised(sequences: list[str], scheme: Scheme | None) -> None:
    assert tags.recognise(sequence.split() for sequence in sequences) == scheme


@given(st.lists(sentences(), max_size=4), st.sampled_from(SCHEMES))
def test_what_is_recognised_reads_the_same_spans(corpus: list[tuple[list[Span], int]], scheme: Scheme) -> None:
    """A small corpus can look like another scheme, but only if that reads the same."""
    written = [tags.from_spans(found, length=length, scheme=scheme) for found, length in corpus]
    recognised = tags.recognise(written)
    if recognised is None:
        assert not any(found for found, _ in corpus)
        return
    for sentence in written:
        assert tags.spans(sentence, scheme=recognised) == tags.spans(sentence, scheme=scheme)
        assert tags.convert(sentence, source=recognised, target=recognised)[1] == 0


def test_constraints_by_hand() -> None:
    names = ["O", "B-x", "I-x", "I-y"]
    starts, transitions, ends = tags.constraints(names, scheme="bio")
    assert starts.tolist() == [True, True, False, False]
    assert ends.tolist() == [True] * 4
    assert transitions.tolist() == [
        [True, True, False, False],
        [True, True, True, False],
        [True, True, True, False],
        [True, True, False, True],
    ]
    starts, transitions, ends = tags.constraints(["O", "B-x", "E-x", "I-x", "S-x"], scheme="iobes")
    assert starts.tolist() == [True, True, False, False, True]
    assert ends.tolist() == [True, False, True, False, True]
    outside, inside = [True, True, False, False, True], [False, False, True, True, False]
    assert transitions.tolist() == [outside, inside, outside, inside, outside]
    assert {part.dtype for part in (starts, transitions, ends)} == {np.dtype(bool)}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_constraints_allow_exactly_the_well_formed_sequences(scheme: Scheme) -> None:
    names = tags.closure(["O", *(f"{'I' if scheme == 'io' else 'B'}-{label}" for label in "xy")], scheme=scheme)
    starts, transitions, ends = tags.constraints(names, scheme=scheme)
    for places in itertools.product(range(len(names)), repeat=3):
        allowed = (
            starts[places[0]] and all(transitions[pair] for pair in itertools.pairwise(places)) and ends[places[2]]
        )
        sentence = [names[place] for place in places]
        assert allowed == (tags.convert(sentence, source=scheme, target=scheme) == (sentence, 0)), sentence


def test_without_a_scheme_everything_is_allowed() -> None:
    starts, transitions, ends = tags.constraints(["NOUN", "VERB"], scheme=None)
    assert starts.all() and transitions.all() and ends.all()
    assert (starts.shape, transitions.shape, ends.shape) == ((2,), (2, 2), (2,))


def test_the_closure_spells_every_label_seen_in_full() -> None:
    assert tags.closure(["I-y", "B-x", "B-x"], scheme="bio") == ["O", "B-x", "B-y", "I-x", "I-y"]
    assert tags.closure(["S-x"], scheme="iobes") == ["O", "B-x", "E-x", "I-x", "S-x"]
    assert tags.closure(["O", "I-x"], scheme="io") == ["O", "I-x"]
    assert tags.closure(["VERB", "NOUN", "VERB", "B-x"], scheme=None) == ["B-x", "NOUN", "VERB"]


@pytest.mark.parametrize("function", [tags.closure, tags.constraints])
def test_tags_of_another_scheme_are_refused(function) -> None:
    with pytest.raises(ConfigError, match=r"of the scheme bio must be O, B-LABEL, I-LABEL, not 'S-x'"):
        function(["O", "S-x"], scheme="bio")
    with pytest.raises(ConfigError, match="not 'NOUN'"):
        function(["NOUN"], scheme="io")


@pytest.mark.parametrize(
    "found", [[Span("x", 0, 2), Span("y", 1, 3)], [Span("x", 2, 2)], [Span("x", 3, 5)], [Span("x", -1, 1)]]
)
def test_impossible_spans_are_refused(found: list[Span]) -> None:
    with pytest.raises(ValueError, match="do not overlap, within 4 tokens"):
        tags.from_spans(found, length=4, scheme="bio")


@pytest.mark.parametrize(
    ("file", "column", "scheme", "count"),
    [
        ("wnut17/wnut17train.conll", None, "bio", 1975),
        ("wnut17/emerging.dev.conll", None, "bio", 836),
        ("wnut17/emerging.test.annotated", None, "bio", 1079),
        ("btc/h.conll", None, "bio", 3368),
        ("btc/f.conll", None, "bio", 4376),
        ("ud_english_ewt/en_ewt-ud-dev.conllu", "upos", None, 0),
        ("ud_english_ewt/en_ewt-ud-dev.conllu", "xpos", None, 0),
    ],
)
def test_schemes_of_real_corpora(file: str, column: str | None, scheme: Scheme | None, count: int) -> None:
    if not (DATA / file).exists():
        pytest.skip("the data set is not here")
    form = "conllu" if column else "conll"
    data = DataConfig(test=(str(DATA / file),), format=form, tag_column=column or "upos")
    rows, _ = corpora.load_split(data, "tagging")
    sequences = list(rows["tags"])
    assert tags.recognise(sequences) == scheme
    if scheme is not None:
        assert sum(len(tags.spans(sentence, scheme=scheme)) for sentence in sequences) == count
        assert sum(tags.convert(sentence, source=scheme, target="iobes")[1] for sentence in sequences) == 0
