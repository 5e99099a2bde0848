"""The grammar of opinions: sentences that word counts cannot judge."""

import random
import re

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from nlp_rnn import sample_opinions as opinions

DRAWN = [opinions.sentence(draw) for draw in [random.Random(7)] for _ in range(2000)]
GOOD = {word for good, _ in opinions.THINGS.values() for word in good}
BAD = {word for _, bad in opinions.THINGS.values() for word in bad}


def judged(clause: str) -> bool:
    """Judges a clause as a reader does: the quality at its end, turned around by what stands before it."""
    quality = next(word for word in sorted(GOOD | BAD, key=len, reverse=True) if clause.endswith(f" {word}"))
    before = clause.removesuffix(f" {quality}")
    flipped = any(before.endswith(f" {word}") for word in opinions.FLIPPED)
    return (quality in GOOD) != flipped


@pytest.mark.parametrize("connective", ["but", "yet", "although", "even if"])
def test_the_main_clause_decides(connective: str) -> None:
    found = 0
    for text, praises in DRAWN:
        sentence = text[0].lower() + text[1:-1]
        if f", {connective} " not in sentence:
            continue
        found += 1
        first, second = re.split(f", {connective} ", sentence)
        decisive, other = (second, first) if connective in ("but", "yet") else (first, second)
        assert (judged(decisive), judged(other)) == (praises, not praises), text
    assert found > 20


def test_plain_sentences_mean_what_they_say() -> None:
    plain = [(text[0].lower() + text[1:-1], praises) for text, praises in DRAWN if "," not in text]
    assert len(plain) > 200
    assert all(judged(text) == praises for text, praises in plain)


def test_praise_and_blame_are_equally_frequent() -> None:
    assert 0.45 < np.mean([praises for _, praises in DRAWN]) < 0.55


def test_counting_words_hardly_helps() -> None:
    counts = CountVectorizer().fit_transform([text for text, _ in DRAWN])
    labels = [praises for _, praises in DRAWN]
    fitted = LogisticRegression(max_iter=500).fit(counts[:1500], labels[:1500])
    assert fitted.score(counts[1500:], labels[1500:]) < 0.7
