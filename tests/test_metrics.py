import itertools
import math
from functools import cache

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.metrics import edit_distance, sentence_chrf, sequence_error_rate, token_error_rate, translation_metrics

REFERENCES = ["The cat sat on the mat .", "Two dogs run, and a third one sleeps.", "It's a small house"]
HYPOTHESES = ["The cat sat on a mat .", "two dogs ran, and the third sleeps.", "It's a Small house"]


def test_bleu_by_hand() -> None:
    """Precisions 4/5, 3/4, 2/3 and 1/2 of equally long sentences: the fourth root of 1/5."""
    measured = translation_metrics(["a b c d x"], ["a b c d e"], lowercase=False)
    assert measured["bleu"] == pytest.approx(100 * 0.2**0.25)


def test_a_short_translation_pays_the_brevity_penalty() -> None:
    """All n-grams are right, but four tokens stand for five: exp(1 - 5/4)."""
    measured = translation_metrics(["a b c d"], ["a b c d e"], lowercase=False)
    assert measured["bleu"] == pytest.approx(100 * math.exp(-0.25))


def test_scores_are_those_of_sacrebleu() -> None:
    measured = translation_metrics(HYPOTHESES, REFERENCES, lowercase=True)
    assert measured["bleu"] == sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES], lowercase=True).score
    assert measured["bleu_cased"] == sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score
    lower = [text.lower() for text in REFERENCES]
    assert measured["chrf"] == sacrebleu.corpus_chrf([text.lower() for text in HYPOTHESES], [lower]).score
    cased = translation_metrics(HYPOTHESES, REFERENCES, lowercase=False)
    assert cased["chrf"] == sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score < measured["chrf"]
    assert measured["bleu"] > measured["bleu_cased"] > 0


def test_the_signatures_say_how_scores_were_computed() -> None:
    cased = translation_metrics(HYPOTHESES, REFERENCES, lowercase=False)
    lower = translation_metrics(HYPOTHESES, REFERENCES, lowercase=True)
    assert cased["bleu"] == cased["bleu_cased"] == lower["bleu_cased"]
    assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp" in str(cased["bleu_signature"])
    assert "nrefs:1|case:lc|eff:no|tok:13a|smooth:exp" in str(lower["bleu_signature"])
    assert "nrefs:1|case:mixed|eff:yes|nc:6|nw:0" in str(cased["chrf_signature"])
    assert "nrefs:1|case:lc|eff:yes|nc:6|nw:0" in str(lower["chrf_signature"])


def test_sequence_error_rate_counts_examples_with_any_error() -> None:
    hypotheses = ["K AE T", "D AO G", "", "HH AW S"]
    references = ["K AE T", "D AO G Z", "AH", "HH  AW S "]
    assert sequence_error_rate(hypotheses, references) == 2 / 4


def test_token_error_rate_is_over_the_whole_corpus() -> None:
    """One substitution, one deletion and one insertion for 3 + 4 + 1 tokens."""
    assert token_error_rate(["K AH T", "D AO G", "AH N"], ["K AE T", "D AO G Z", "AH"]) == 3 / 8


def test_token_error_rate_of_too_long_hypotheses_exceeds_one() -> None:
    assert token_error_rate(["a b c", ""], ["d", ""]) == 3.0


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [
        ("kitten", "sitting", 3),
        ("intention", "execution", 5),
        ("abc", "", 3),
        ("", "abc", 3),
        ("", "", 0),
        ("ab", "ba", 2),
    ],
)
def test_known_edit_distances(left: str, right: str, distance: int) -> None:
    assert edit_distance(left, right) == distance


@given(st.text("ab", max_size=7), st.text("abc", max_size=7))
def test_edit_distance_follows_its_definition(left: str, right: str) -> None:
    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(
            distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (left[i - 1] != right[j - 1])
        )

    assert edit_distance(left, right) == distance(len(left), len(right))


@pytest.mark.parametrize("measure", [sequence_error_rate, token_error_rate])
def test_examples_must_come_in_pairs(measure) -> None:
    with pytest.raises(ValueError, match="one hypothesis for each reference, not 2 for 1 references"):
        measure(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="at least one example"):
        measure([], [])


def test_translations_must_come_in_pairs() -> None:
    for hypotheses, references in itertools.permutations([["a"], ["a", "b"]]):
        with pytest.raises(ValueError, match="one hypothesis for each reference"):
            translation_metrics(hypotheses, references, lowercase=False)
    with pytest.raises(ValueError, match="at least one example"):
        translation_metrics([], [], lowercase=False)


def test_blank_references_have_no_token_error_rate() -> None:
    with pytest.raises(ValueError, match="all of them are blank"):
        token_error_rate(["a"], [" "])


def test_each_sentence_s_chrf_is_sacrebleu_s() -> None:
    expected = [
        sacrebleu.sentence_chrf(*pair).score for pair in zip(HYPOTHESES, [[r] for r in REFERENCES], strict=True)
    ]
    assert sentence_chrf(HYPOTHESES, REFERENCES, lowercase=False) == pytest.approx(expected)
    assert sentence_chrf(["abc", "x", "Abc"], ["abc"] * 3, lowercase=True) == [100.0, 0.0, 100.0]
