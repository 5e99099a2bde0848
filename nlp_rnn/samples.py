"""Embedded corpora: small, generated, the same on every machine, with nothing to download."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import datasets

from nlp_rnn import sample_entities as entities
from nlp_rnn import sample_grammar as grammar
from nlp_rnn import sample_opinions as opinions
from nlp_rnn.sample_grammar import Clause, Phrase, Tense

_Row = dict[str, Any]


def _draw_phrase(draw: random.Random, noun: grammar.Noun, *, definite: bool) -> Phrase:
    determiners = ["the", "the"] + ([] if definite else ["a", "a"])
    if "own" in noun.kinds:
        determiners += grammar.POSSESSIVES
    fitting = grammar.ABOUT_PEOPLE if noun in grammar.PEOPLE else grammar.ABOUT_OTHERS
    adjective = draw.choice(fitting) if draw.random() < 0.35 else ""
    return Phrase(noun, draw.choice(determiners), draw.random() < 0.3, adjective)


def _draw_clause(
    draw: random.Random, *, tenses: tuple[Tense, ...] = grammar.TENSES, adverbs: float = 0.0, negations: float = 0.0
) -> Clause:
    verb, tense = draw.choice(grammar.VERBS), draw.choice(tenses)
    # "must not" is not "muss nicht", and "not a" would be "kein".
    negated = tense != "must" and draw.random() < negations
    nouns = draw.sample(grammar.PEOPLE, 1 + len(verb.objects))
    subject: Phrase | str = _draw_phrase(draw, nouns[0], definite=negated)
    if draw.random() < 0.4:
        subject = draw.choice(list(grammar.PRONOUNS))
    objects = []
    for person, (_, kind) in zip(nouns[1:], verb.objects, strict=True):
        noun = person if kind == "person" else draw.choice([other for other in grammar.OTHERS if kind in other.kinds])
        objects.append(_draw_phrase(draw, noun, definite=negated))
    fitting = [adverb for adverb in grammar.ADVERBS if tense in adverb.tenses]
    adverb = draw.choice(fitting) if draw.random() < adverbs else None
    return Clause(subject, verb, tuple(objects), tense, negated, adverb)


def _draw_pair(draw: random.Random) -> tuple[str, str]:
    kind = draw.choice(("statement", "statement", "fronted", "question", "thought", "thought", "reason", "condition"))
    if kind == "statement":
        # With "not", an adverb would be ambiguous in its reach.
        adverbs = draw.choice((0.0, 1.0))
        return grammar.statement(_draw_clause(draw, adverbs=adverbs, negations=0.5 * (1 - adverbs)))
    if kind == "fronted":
        return grammar.fronted(_draw_clause(draw, adverbs=1.0, negations=0.2))
    if kind == "question":
        return grammar.question(_draw_clause(draw, adverbs=0.4))
    if kind == "thought":
        return grammar.thought(_draw_clause(draw, negations=0.2), draw.choice(list(grammar.THOUGHTS)))
    if kind == "reason":
        main, cause = _draw_clause(draw, tenses=("present",)), _draw_clause(draw)
        return grammar.reason(main, cause)
    main, premise = _draw_clause(draw, tenses=grammar.NOW), _draw_clause(draw, tenses=("present", "can"))
    return grammar.condition(main, premise)


def _translations(draw: random.Random) -> Iterator[tuple[_Row, set[str]]]:
    while True:
        source, target = _draw_pair(draw)
        yield {"source": source, "target": target}, {source, target}


def _tagged_sentences(draw: random.Random) -> Iterator[tuple[_Row, set[str]]]:
    while True:
        tokens, tags = entities.sentence(draw)
        yield {"tokens": tokens, "tags": tags}, {" ".join(tokens)}


def _opinions(draw: random.Random) -> Iterator[tuple[_Row, set[str]]]:
    while True:
        text, praises = opinions.sentence(draw)
        yield {"text": text, "label": "positive" if praises else "negative"}, {text}


@dataclass(frozen=True)
class _Corpus:
    """A corpus; `draw` yields rows for ever, each with the sentences in it."""

    draw: Callable[[random.Random], Iterator[tuple[_Row, set[str]]]]
    sizes: dict[str, int]


_CORPORA = {
    "translation": _Corpus(_translations, {"train": 4000, "validation": 200, "test": 200}),
    "sentiment": _Corpus(_opinions, {"train": 3000, "validation": 300, "test": 300}),
    "tagging": _Corpus(_tagged_sentences, {"train": 1500, "validation": 200, "test": 200}),
}


def names() -> tuple[str, ...]:
    """Returns the names `load` knows."""
    return tuple(_CORPORA)


def load(name: str) -> dict[str, datasets.Dataset]:
    """Generates a corpus; no sentence, of either language, occurs twice in it.

    `translation` has the columns `source` (English) and `target` (German),
    `tagging` the columns `tokens` and `tags` (BIO; PER, LOC and ORG),
    `sentiment` the columns `text` and `label` (positive or negative).

    Raises:
        KeyError: There is no such corpus.
    """
    corpus = _CORPORA[name]
    count = sum(corpus.sizes.values())
    rows = list(itertools.islice(_without_repeats(corpus.draw(random.Random(20))), count))
    splits, start = {}, 0
    for split, size in corpus.sizes.items():
        splits[split] = datasets.Dataset.from_list(rows[start : start + size])
        start += size
    return splits


def _without_repeats(drawn: Iterator[tuple[_Row, set[str]]]) -> Iterator[_Row]:
    seen = set[str]()
    for row, sentences in drawn:
        if seen.isdisjoint(sentences):
            seen |= sentences
            yield row
