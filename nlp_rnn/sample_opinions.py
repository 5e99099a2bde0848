"""A small English grammar of opinions with their sentiment, behind `sample:sentiment`.

The same words praise or blame by where they stand: "not dull, but far from
moving" against "not moving, but far from dull". Counting words does not tell.
"""

import random
from typing import NamedTuple

# What is spoken of, and what is good or bad of it.
THINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "film": (("moving", "clever", "gripping", "funny"), ("dull", "clumsy", "tedious", "predictable")),
    "book": (("gripping", "witty", "wise", "touching"), ("boring", "confused", "long-winded", "shallow")),
    "meal": (("delicious", "fresh", "tasty", "generous"), ("cold", "greasy", "bland", "overpriced")),
    "hotel": (("quiet", "clean", "friendly", "comfortable"), ("noisy", "dirty", "shabby", "overpriced")),
    "concert": (("thrilling", "graceful", "moving", "lively"), ("dull", "clumsy", "lifeless", "tedious")),
    "phone": (("fast", "sturdy", "elegant", "reliable"), ("slow", "fragile", "clumsy", "unreliable")),
    "train": (("punctual", "clean", "comfortable", "quiet"), ("late", "dirty", "crowded", "noisy")),
    "garden": (("lovely", "peaceful", "charming", "well-kept"), ("neglected", "crowded", "dreary", "bare")),
}
PARTS: dict[str, tuple[str, ...]] = {
    "film": ("plot", "acting", "ending", "music"),
    "book": ("story", "style", "ending", "first chapter"),
    "meal": ("soup", "dessert", "service", "main course"),
    "hotel": ("room", "breakfast", "staff", "view"),
    "concert": ("singer", "orchestra", "hall", "second half"),
    "phone": ("screen", "battery", "camera", "case"),
    "train": ("carriage", "seat", "conductor", "restaurant car"),
    "garden": ("pond", "path", "rose bed", "tea house"),
}
STRONGER = ("very", "really", "quite", "so", "truly", "rather")
FLIPPED = ("not", "never", "hardly", "anything but", "far from", "by no means")
KEPT = ("nothing but", "always", "simply")


class Opinion(NamedTuple):
    """A clause without its first capital and full stop, and whether it praises."""

    text: str
    praises: bool


def sentence(draw: random.Random) -> Opinion:
    """Draws a sentence; both sentiments are equally likely."""
    thing = draw.choice(list(THINGS))
    praises = draw.random() < 0.5
    kind = draw.choice((_plain, _plain, _plain, _but, _but, _although, _main_first, _in_the_end, _hearsay, _said_of))
    text = kind(draw, thing, praises)
    return Opinion(f"{text[0].upper()}{text[1:]}.", praises)


def _quality(draw: random.Random, thing: str, praises: bool) -> str:
    """Says that a thing is good or bad, outright or by its opposite."""
    good, bad = THINGS[thing]
    chosen = draw.random()
    if chosen < 0.25:
        return f"{draw.choice(FLIPPED)} {draw.choice(bad if praises else good)}"
    word = draw.choice(good if praises else bad)
    if chosen < 0.45:
        return f"{draw.choice(STRONGER)} {word}"
    return f"{draw.choice(KEPT)} {word}" if chosen < 0.6 else word


def _clause(draw: random.Random, thing: str, praises: bool) -> str:
    subject = draw.choice((f"the {thing}", f"this {thing}", f"the {draw.choice(PARTS[thing])} of the {thing}"))
    return f"{subject} {draw.choice(('is', 'was'))} {_quality(draw, thing, praises)}"


def _plain(draw: random.Random, thing: str, praises: bool) -> str:
    return _clause(draw, thing, praises)


def _but(draw: random.Random, thing: str, praises: bool) -> str:
    return f"{_clause(draw, thing, not praises)}, {draw.choice(('but', 'yet'))} {_clause(draw, thing, praises)}"


def _although(draw: random.Random, thing: str, praises: bool) -> str:
    return (
        f"{draw.choice(('although', 'even if'))} {_clause(draw, thing, not praises)}, {_clause(draw, thing, praises)}"
    )


def _main_first(draw: random.Random, thing: str, praises: bool) -> str:
    return (
        f"{_clause(draw, thing, praises)}, {draw.choice(('although', 'even if'))} {_clause(draw, thing, not praises)}"
    )


def _in_the_end(draw: random.Random, thing: str, praises: bool) -> str:
    first, last = _quality(draw, thing, not praises), _quality(draw, thing, praises)
    return f"at first the {thing} was {first}, and in the end {last}"


def _hearsay(draw: random.Random, thing: str, praises: bool) -> str:
    """Others were wrong."""
    others = draw.choice(("everybody", "my neighbour", "the paper"))
    told = f"{others} called the {thing} {_quality(draw, thing, not praises)}"
    return f"{told}, and {draw.choice(('I disagree', 'that is wrong', 'they are mistaken'))}"


def _said_of(draw: random.Random, thing: str, praises: bool) -> str:
    """Others were right."""
    others = draw.choice(("everybody", "my neighbour", "the paper"))
    told = f"{others} called the {thing} {_quality(draw, thing, praises)}"
    return f"{told}, and {draw.choice(('I agree', 'that is true', 'they are right'))}"
