"""What people read of a trained model: pictures, and a page with them, the figures and the worst mistakes.

Texts come from anywhere and may hold anything: all of them are escaped, and
the page's policy forbids scripts and whatever lies outside of it.
"""

import base64
import html
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlp_rnn import plots
from nlp_rnn.model_card import card
from nlp_rnn.reviews import Findings, Mistake, Slip, shown
from nlp_rnn.settings import to_dict

PAGE, CARD = "report.html", "README.md"
_CURVES, _LENGTHS, _CONFUSION = "learning_curves.png", "lengths.png", "confusion_matrix.png"
_LONGEST_TEXT = 600  # characters shown of a text
_MOST_LABELS = 200  # a bigger confusion matrix is left out: nobody could read it
_PICTURE_NAMES = {_CURVES: "Learning curves", _LENGTHS: "Lengths of the training examples", _CONFUSION: "Confusion"}


def draw(findings: Findings, folder: Path) -> None:
    """Writes the pictures of a training into a folder.

    They are `learning_curves.png`, `lengths.png`, `confusion_matrix.png` where
    there are labels, and, with `run.samples`, `attention_1.png` and further
    ones where there is attention.
    """
    plots.learning_curves(findings.history, folder / _CURVES)
    review = findings.review
    plots.length_histogram(review.lengths, folder / _LENGTHS, limit=review.longest)
    if review.confusion is not None and len(review.confusion[0]) <= _MOST_LABELS:
        plots.confusion_matrix(*review.confusion, folder / _CONFUSION)
    if findings.run.samples:
        for number, seen in enumerate(review.attention, start=1):
            picture = folder / f"attention_{number}.png"
            plots.attention_heat_map(seen.source_tokens, seen.target_tokens, seen.weights, picture)


def write(findings: Findings, folder: Path) -> None:
    """Writes `report.html` and `README.md` into a folder whose `plots/` holds the pictures."""
    pictures = sorted((folder / "plots").glob("*.png"), key=lambda path: (path.name not in _PICTURE_NAMES, path.name))
    (folder / PAGE).write_text(page(findings, pictures), encoding="utf-8", errors="backslashreplace")
    (folder / CARD).write_text(card(findings), encoding="utf-8", errors="backslashreplace")


# ---- The page


def page(findings: Findings, pictures: Iterable[Path]) -> str:
    """Returns one self-contained HTML page.

    Args:
        findings: What to tell.
        pictures: PNG files, in the order to show them in.
    """
    run, sections = findings.run, list[str]()
    sections.append(_section("Measured on the validation set", _table(findings.figures)))
    sections.append(_section("Data", _data(findings)))
    for path in pictures:
        name = _PICTURE_NAMES.get(path.name, path.stem.replace("_", " ").capitalize())
        encoded = base64.b64encode(path.read_bytes()).decode("ascii")
        sections.append(_section(name, f'<img alt="{_escaped(name)}" src="data:image/png;base64,{encoded}">'))
    sections.append(_section("The worst mistakes", _mistakes(findings)))
    groups = {name: value for name, value in to_dict(run).items() if isinstance(value, Mapping)}
    alone = {name: value for name, value in to_dict(run).items() if name not in groups and name != "output"}
    tables = [f"<h3>{_escaped(name)}</h3>{_table(values)}" for name, values in {**groups, "further": alone}.items()]
    sections.append(_section("Configuration", "".join(tables)))
    sections.append(_section("History", _history(findings.history)))
    return _PAGE.substitute(title=_escaped(findings.name), summary=_escaped(findings.summary), body="\n".join(sections))


_PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; } h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
.mistake { border-left: 3px solid #c33; padding-left: .8rem; margin: 1rem 0; }
.note { color: #666; font-size: .9em; }
mark { background: #fdd; } mark small { color: #a00; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$summary</p>
$body
</body>
</html>
""")


def _escaped(value: object) -> str:
    return html.escape(str(value))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_escaped(title)}</h2>{content}</section>"


def _table(rows: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><th>{_escaped(name.replace('_', ' '))}</th><td><bdi>{_escaped(shown(value))}</bdi></td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def _data(findings: Findings) -> str:
    rows: dict[str, Any] = {
        "first training examples" if findings.run.data.streaming else "training examples": findings.training_examples,
        "validation examples": findings.validation_examples,
    }
    for name, lengths in findings.review.lengths.items():
        rows[f"{name}, mean and most"] = f"{lengths.mean():.1f}, {lengths.max():,}"
    notes = "".join(f"<p><bdi>{_escaped(note)}</bdi></p>" for note in findings.notes)
    return _table(rows) + notes


def _mistakes(findings: Findings) -> str:
    if not findings.run.samples:
        return "<p>This model was trained with --no-samples, so that no text of its data is shown.</p>"
    examined = f"<p class='note'>Of {findings.review.examples:,} validation examples.</p>"
    if not findings.review.mistakes:
        return examined + "<p>There are none.</p>"
    return examined + "".join(map(_mistake, findings.review.mistakes))


def _mistake(mistake: Mistake) -> str:
    lines = "".join(
        f"<tr><th>{_escaped(name)}</th><td><bdi>{_content(content)}</bdi></td></tr>" for name, content in mistake.lines
    )
    return f"<div class='mistake'><span class='note'>{_escaped(mistake.note)}</span><table>{lines}</table></div>"


def _content(content: str | Sequence[str | Slip]) -> str:
    if isinstance(content, str):
        return _escaped(_cut(content)) or "<span class='note'>(nothing)</span>"
    # Each word is isolated, so that writing from right to left stays within it.
    return " ".join(
        f"<bdi>{_escaped(_cut(word))}</bdi>"
        if isinstance(word, str)
        else f"<mark><bdi>{_escaped(_cut(word.text))}</bdi> "
        f"<small>{_escaped(word.predicted)}, not {_escaped(word.expected)}</small></mark>"
        for word in content
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"


def _history(history: Sequence[Mapping[str, float]]) -> str:
    columns = list(dict.fromkeys(name for row in history for name in row))
    heading = "".join(f"<th>{_escaped(name.replace('_', ' '))}</th>" for name in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_escaped(shown(row.get(name)))}</td>" for name in columns) + "</tr>" for row in history
    )
    return f"<div class='wide'><table><tr>{heading}</tr>{rows}</table></div>"
