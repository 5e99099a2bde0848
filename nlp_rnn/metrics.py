"""Corpus metrics: how near hypotheses come to references.

Every function takes one hypothesis and one reference an example, as text and
in the same order. BLEU and chrF lie between 0 and 100; error rates are shares,
so 0 is perfect.
"""

import functools
from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics import BLEU, CHRF


def translation_metrics(
    hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool
) -> dict[str, float | str]:
    """Returns what machine translation is measured by, computed by sacreBLEU.

    Args:
        hypotheses: Translations, as plain (not tokenized) text.
        references: What they should be.
        lowercase: Let `bleu` and `chrf` ignore case: right for a model that
            writes lower case only.

    Returns:
        `bleu` (tokenizer 13a), `bleu_cased`, which heeds case whatever
        `lowercase` says, `chrf` (chrF2), and `bleu_signature` and
        `chrf_signature`, which say how they were computed.

    Raises:
        ValueError: No examples, or not one hypothesis for each reference.

    Reference:
        Post (2018), "A Call for Clarity in Reporting BLEU Scores".
    """
    _require_pairs(hypotheses, references)
    # `force` only keeps quiet about text that looks tokenized; it changes no score.
    bleu, chrf = BLEU(lowercase=lowercase, force=True), CHRF(lowercase=lowercase)
    cased = BLEU(force=True)
    score = bleu.corpus_score(hypotheses, [references]).score
    return {
        "bleu": score,
        "bleu_cased": cased.corpus_score(hypotheses, [references]).score if lowercase else score,
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
        "bleu_signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
    }


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool) -> list[float]:
    """Returns the chrF2 of each example for itself, between 0 and 100; `lowercase` ignores case.

    Raises:
        ValueError: No examples, or not one hypothesis for each reference.
    """
    _require_pairs(hypotheses, references)
    measure = CHRF(lowercase=lowercase)
    pairs = zip(hypotheses, references, strict=True)
    return [measure.sentence_score(hypothesis, [reference]).score for hypothesis, reference in pairs]


def sequence_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Returns the share of examples that are not entirely right.

    Tokens separated by white space are compared, so that its amount does not
    matter. Where an example is the spelling of one word, as in
    grapheme-to-phoneme conversion and inflection, this is the word error rate;
    of sentences it is the sentence error rate.

    Raises:
        ValueError: No examples, or not one hypothesis for each reference.
    """
    _require_pairs(hypotheses, references)
    wrong = sum(left.split() != right.split() for left, right in zip(hypotheses, references, strict=True))
    return wrong / len(references)


def token_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Returns the edit distance to the references in tokens, as a share of their tokens.

    Tokens are separated by white space; insertions, deletions and
    substitutions count one each, over the whole corpus. Of phones this is the
    phone error rate, of words what speech recognition calls word error rate.
    Many insertions bring it above 1.

    Raises:
        ValueError: No examples, not one hypothesis for each reference, or no
            token in any reference.
    """
    _require_pairs(hypotheses, references)
    expected = [reference.split() for reference in references]
    total = sum(map(len, expected))
    if not total:
        raise ValueError("A token error rate needs at least one token in the references; all of them are blank.")
    edits = sum(edit_distance(left.split(), right) for left, right in zip(hypotheses, expected, strict=True))
    return edits / total


def edit_distance(left: Sequence[str], right: Sequence[str]) -> int:
    """Returns the fewest insertions, deletions and substitutions that turn one sequence into the other.

    Reference:
        Wagner and Fischer (1974), "The String-to-String Correction Problem".
    """
    numbers = {token: number for number, token in enumerate({*left, *right})}
    columns = np.array([numbers[token] for token in right], dtype=np.int64)
    steps = np.arange(len(right) + 1)

    def next_row(row: np.ndarray, token: str) -> np.ndarray:
        below: np.ndarray = row + 1  # from above: one more token of the left side
        diagonal = row[:-1] + (columns != numbers[token])
        best = np.concatenate([below[:1], np.minimum(below[1:], diagonal)])
        # From the left, in one go: best[j] = min over i <= j of best[i] + (j - i).
        return np.minimum.accumulate(best - steps) + steps

    return int(functools.reduce(next_row, left, steps)[-1])


def _require_pairs(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise ValueError(
            f"Expected one hypothesis for each reference, not {len(hypotheses)} for {len(references)} references."
        )
    if not references:
        raise ValueError("Expected at least one example to measure, not none.")
