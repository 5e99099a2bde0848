"""A small English grammar with persons, places and organisations, behind `sample:tagging`.

What a word is, often its neighbours alone tell: Baker is a person in "Baker
resigned", part of a company in "Baker Ltd" and no name in "Baker and butcher
alike"; Lincoln speaks in one sentence and lies on the coast in the next. Other
names are put together from syllables, so that held-out sentences have new ones.
"""

import random
import re

# Words that are no names, or names of another kind, in other sentences.
TRADES = ("Baker", "Cook", "Fisher", "Shepherd", "Carter", "Miller", "Porter", "Mason")
THINGS = ("Rivers", "Woods", "Fields", "Wells", "Banks", "Stones", "Brooks", "Bridges")
TOWNS = ("Washington", "Lincoln", "Chester", "Lancaster", "Hamilton", "Preston", "Stafford", "Houston")
GIVEN_NAMES = ("Will", "Mark", "Grace", "Hope", "Rose", "May", "Frank", "Bill")

BEGINNINGS = (
    *("Ar", "Bel", "Cor", "Dun", "El", "Fal", "Gar", "Hol", "Is", "Kel", "Lor", "Mor", "Nor", "Os"),
    *("Pel", "Quen", "Ros", "Sel", "Tar", "Ul", "Var", "Wen", "Yar", "Zel", "Bran", "Thor", "Glen", "Stan"),
)
MIDDLES = ("", "", "a", "en", "il", "o", "er", "and", "ing", "um", "et", "ola")
# Three of the endings are common to both: such a name alone does not tell what it is.
ENDINGS = {
    "<made surname>": ("son", "sen", "ski", "ez", "man", "ini", "ov", "strom", "ard", "field", "wood", "well"),
    "<made town>": ("ton", "ham", "burg", "mouth", "bury", "by", "ford", "ville", "stad", "field", "wood", "well"),
}
CONSONANTS = "BCDFGKLMNPRST"

# Each symbol becomes one of its options, all equally likely; what is in angle
# brackets there is a symbol again. A sentence's first word gets a capital.
RULES: dict[str, tuple[str, ...]] = {
    "<sentence>": ("<about persons>", "<about persons>", "<about organisations>", "<about places>", "<plain>"),
    "<about persons>": (
        "<somebody> <acted> <when> .",
        "<somebody> <acted> after the meeting .",
        "<somebody> , who works for <organisation> , <acted> <when> .",
        "<somebody> said that <organisation> would open an office in <place> .",
        "<somebody> was born in <place> and grew up in <place> .",
        "<person> and <person> <acted> <when> .",
        "<somebody> told <somebody> about the <noun> .",
        "the <role> , <somebody> , <acted> <when> .",
        "in <place> , <somebody> <acted> <when> .",
        "we were lucky , said <somebody> of <organisation> .",
        "they bought the <noun> from <somebody> for <number> coins .",
        "we drove to <place> and met <somebody> there .",
    ),
    "<about organisations>": (
        "<organisation> sold its <noun> to <organisation> .",
        "<organisation> has <number> workers in <place> .",
        "<organisation> hired <somebody> <when> .",
        "<organisation> closed <when> .",
        "shares in <organisation> fell <when> .",
        "the <role> of <organisation> <acted> <when> .",
        "the <trade> asked <organisation> for a <noun> .",
    ),
    "<about places>": (
        "<place> lies north of <place> .",
        "<place> is a town of <number> people .",
        "<place> has a new <noun> and an old one .",
        "the road from <place> to <place> is closed .",
        "it rained in <place> <when> .",
        "the <role> of <place> <acted> <when> .",
        "a <trade> from <place> <acted> <when> .",
    ),
    # Sentences without a name, but with the words of names.
    "<plain>": (
        "<trade> and butcher alike <acted> <when> .",
        "the <trade> <acted> <when> .",
        "a <trade> from the village found the <noun> .",
        "<things> and <things> can be seen from the <noun> .",
        "<things> near the <noun> dried up <when> .",
        "the <things> behind the <noun> belong to a <trade> .",
        "will the <trade> come <when> ?",
        "may we see the <noun> <when> ?",
        "mark the <noun> on the map , please .",
        "bill the <trade> for the <noun> .",
        "hope was all that the <trade> had .",
        "grace was not what the <noun> had .",
        "rose and yellow were the colours of the <noun> .",
        "frank words about the <noun> were heard <when> .",
    ),
    # A title is no part of the name.
    "<somebody>": ("<person>", "<person>", "<person>", "<title> <family>"),
    "<person>": ("<given> <surname>", "<given> <surname>", "<surname>", "<surname>", "<given>", "<initial> <surname>"),
    "<family>": ("<surname>",),
    "<place>": ("<town>", "<town>", "<town>", "New <town>", "Port <town>", "<town> Bay"),
    "<organisation>": (
        "<surname> Ltd",
        "<surname> & Sons",
        "<surname> Brothers",
        "<town> United",
        "<town> Bank",
        "Bank of <town>",
        "University of <town>",
        "<letters>",
    ),
    "<surname>": ("<made surname>", "<made surname>", "<trade name>", "<thing name>", "<town name>"),
    "<town>": ("<made town>", "<made town>", "<town name>"),
    "<given>": ("Anna", "Peter", "Maria", "Thomas", "Julia", "David", "Sarah", "Simon", *GIVEN_NAMES),
    "<initial>": ("A.", "E.", "J.", "M.", "S."),
    "<title>": ("Mr", "Mrs", "Dr", "Professor", "Judge"),
    "<trade name>": TRADES,
    "<thing name>": THINGS,
    "<town name>": TOWNS,
    "<trade>": tuple(name.lower() for name in TRADES),
    "<things>": tuple(name.lower() for name in THINGS),
    "<acted>": ("resigned", "smiled", "baked bread", "cooked for everybody", "left early", "slept", "laughed"),
    "<when>": ("yesterday", "today", "on Monday", "on Friday", "last week", "in spring", "at noon", "this year"),
    "<role>": ("mayor", "president", "doctor", "lawyer", "secretary"),
    "<noun>": ("house", "boat", "book", "garden", "letter", "factory", "tower", "report", "market", "wall"),
    "<number>": ("20", "45", "300", "1,200", "7,500"),
}
# What these symbols become is a name.
LABELS = {"<person>": "PER", "<family>": "PER", "<place>": "LOC", "<organisation>": "ORG"}


def sentence(draw: random.Random) -> tuple[list[str], list[str]]:
    """Draws a sentence.

    Returns:
        Its tokens, and a BIO tag for each: `O`, or `B-` or `I-` with PER, LOC or ORG.
    """
    tokens, tags = _expand("<sentence>", draw)
    return [tokens[0][0].upper() + tokens[0][1:], *tokens[1:]], tags


def _expand(symbol: str, draw: random.Random) -> tuple[list[str], list[str]]:
    tokens, tags = list[str](), list[str]()
    for part in _parts(draw.choice(RULES[symbol])):
        if part in RULES:
            inner_tokens, inner_tags = _expand(part, draw)
        else:
            inner_tokens, inner_tags = [_word(part, draw)], ["O"]
        tokens += inner_tokens
        tags += inner_tags
    if symbol in LABELS:
        tags = [f"B-{LABELS[symbol]}"] + [f"I-{LABELS[symbol]}"] * (len(tokens) - 1)
    return tokens, tags


def _word(part: str, draw: random.Random) -> str:
    if part == "<letters>":
        return "".join(draw.choice(CONSONANTS) for _ in range(3))
    if part in ENDINGS:
        return draw.choice(BEGINNINGS) + draw.choice(MIDDLES) + draw.choice(ENDINGS[part])
    return part


def _parts(option: str) -> list[str]:
    """Splits at spaces outside of angle brackets."""
    return re.findall(r"<[^>]+>|\S+", option)
