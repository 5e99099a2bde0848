"""A page of texts whose words are shaded by what a classifier's decision leaned on."""

import html
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nlp_rnn.answers import Evidence

_MOST_LABELS = 5
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>What the labels lean on</title>
<style>
body { font: 16px/1.7 sans-serif; margin: 2em auto; max-width: 50em; padding: 0 1em; color: #222; background: #fff }
section { border-top: 1px solid #ccc; padding: .7em 0 }
p { margin: .3em 0 }
.token { padding: .1em .15em; border-radius: .2em }
.labels { color: #555; font-size: .9em }
</style>
</head>
<body>
<h1>What the labels lean on</h1>
<p>The darker a word, the more the recurrent networks attended to it when they decided. Hold the pointer over
a word for its weight; the weights of a text add up to 1.</p>
"""
_FOOT = "</body>\n</html>\n"


def write_explanations(path: str | Path, evidence: Iterable[Evidence]) -> None:
    """Writes one HTML page, which needs nothing but a browser.

    Args:
        path: The file to write, replaced if there is one.
        evidence: What the answers to some texts leaned on, in the order of the page.
    """
    with Path(path).open("w", encoding="utf-8", errors="replace") as file:
        file.write(_HEAD)
        for one in evidence:
            file.writelines(_section(one))
        file.write(_FOOT)


def _section(evidence: Evidence) -> Iterator[str]:
    labels = ", ".join(evidence.classification.labels) or "no label"
    ranked = sorted(evidence.classification.probabilities.items(), key=lambda item: -item[1])[:_MOST_LABELS]
    probabilities = ", ".join(f"{label} {probability:.3f}" for label, probability in ranked)
    yield f"<section>\n<p><b>{html.escape(labels)}</b>"
    yield f' <span class="labels">{html.escape(probabilities)}</span></p>\n'
    yield from _shaded(evidence.tokens, evidence.attention)
    if evidence.pair_tokens:
        yield from _shaded(evidence.pair_tokens, evidence.pair_attention)
    yield "</section>\n"


def _shaded(tokens: Sequence[str], attention: Sequence[float]) -> Iterator[str]:
    """Gives a text as a paragraph."""
    yield "<p>"
    # As dark as can be is the heaviest word, however many share the weight.
    heaviest = max(attention, default=0.0) or 1.0
    for token, weight in zip(tokens, attention, strict=True):
        shade = 0.75 * weight / heaviest
        style = f"background: rgba(255, 150, 0, {shade:.3f})"
        shown = html.escape(token.replace("\u2581", " ").strip() or "\u2423")
        yield f'<span class="token" style="{style}" title="{weight:.3f}">{shown}</span> '
    yield "</p>\n"
