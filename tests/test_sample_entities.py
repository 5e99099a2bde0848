import random
import re

from nlp_rnn import sample_entities as entities


def drawn(count: int, seed: int = 1) -> list[tuple[list[str], list[str]]]:
    draw = random.Random(seed)
    return [entities.sentence(draw) for _ in range(count)]


def test_every_symbol_has_a_meaning_and_a_use() -> None:
    used = {"<sentence>"} | set(
        re.findall("<[^>]*>", " ".join(option for rule in entities.RULES.values() for option in rule))
    )
    assert used == {*entities.RULES, *entities.ENDINGS, "<letters>"}
    assert set(entities.LABELS) <= set(entities.RULES)


def test_the_seed_alone_decides() -> None:
    assert drawn(20) == drawn(20) != drawn(20, seed=2)


def test_sentences_begin_with_a_capital_and_end_with_a_mark() -> None:
    for tokens, tags in drawn(500):
        assert len(tokens) == len(tags) > 3
        assert tokens[0][0].isupper() or tokens[0][0].isdigit()
        assert tokens[-1] in (".", "?") and tags[-1] == "O"
        assert not any(set("<> ") & set(token) for token in tokens)


def test_names_are_tagged_from_their_first_word_to_their_last() -> None:
    """Found by patterns of their own, not by the grammar."""
    marked = {
        "PER": r"([AEJMS]\. \w+)",
        "LOC": r"((?:New|Port) \w+|\w+ Bay)",
        "ORG": r"(\w+ (?:Ltd|& Sons|Brothers|United)|Bank of \w+|University of \w+|\b[B-T]{3}\b)",
    }
    found = dict.fromkeys(marked, 0)
    for tokens, tags in drawn(1000):
        text = " ".join(tokens)
        for label, pattern in marked.items():
            for match in re.finditer(pattern, text):
                start, size = text[: match.start()].count(" "), match[0].count(" ") + 1
                assert tags[start : start + size] == [f"B-{label}"] + [f"I-{label}"] * (size - 1), text
                assert not tags[start + size].startswith("I-"), text
                found[label] += 1
    assert min(found.values()) > 50, found


def test_a_title_is_no_part_of_the_name() -> None:
    count = 0
    for tokens, tags in drawn(500):
        for place, token in enumerate(tokens):
            if token in ("Mr", "Mrs", "Dr", "Professor", "Judge"):
                assert tags[place : place + 2] == ["O", "B-PER"] and tags[place + 2] == "O"
                count += 1
    assert count > 30


def test_the_words_of_names_are_ordinary_words_too() -> None:
    """At the beginning of a sentence nothing but what follows tells."""
    first = [(tokens[0], tags[0]) for tokens, tags in drawn(5000)]
    for name in (*entities.TRADES, *entities.THINGS, *entities.GIVEN_NAMES):
        assert {tag for token, tag in first if token == name} >= {"O", "B-PER"}, name
    for name in entities.TOWNS:
        assert {tag for token, tag in first if token == name} >= {"B-LOC", "B-PER", "B-ORG"}, name
