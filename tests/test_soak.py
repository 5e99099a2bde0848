"""What the soak test of a model server tells from what: equal answers, ties, and different ones."""

from dataclasses import replace

import pytest

from benchmarks.soak import compare
from nlp_rnn.answers import Classification, Entity, Tagging, Token

TOKENS = (
    Token(text="Anna", tag="B-PER", score=0.5, start=0, end=4), Token(text="ran", tag="O", score=0.9, start=5, end=8)
)  # fmt: skip
PERSON = Entity(text="Anna", label="PER", score=0.5, start=0, end=4)
TAGGING = Tagging(tokens=TOKENS, entities=(PERSON,), truncated=False)
OPINION = Classification(labels=("good",), score=0.6, probabilities={"bad": 0.4, "good": 0.6}, truncated=False)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (TAGGING, "equal"),
        (replace(TAGGING, entities=(replace(PERSON, score=0.50001),)), "equal up to rounding"),
        (replace(TAGGING, entities=(replace(PERSON, score=0.4),)), "different"),
        (replace(TAGGING, entities=(replace(PERSON, label="LOC"),)), "different"),
        (replace(TAGGING, entities=()), "different"),
        (replace(TAGGING, truncated=True), "different"),
        # Another tag that is as probable marks another entity, or none.
        (replace(TAGGING, tokens=(replace(TOKENS[0], tag="O"), TOKENS[1]), entities=()), "ties"),
    ],
)
def test_a_tagging_is_compared_with_its_entities(found: Tagging, expected: str) -> None:
    assert compare(found, TAGGING) == expected


def test_what_was_cut_off_of_a_text_is_compared() -> None:
    assert compare(replace(OPINION, truncated=True), OPINION) == "different"
