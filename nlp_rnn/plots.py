"""Pictures of a training, of attention and of mistakes, as PNG files.

Figures are made by matplotlib's objects alone: without pyplot there is no
window, no display and no state to clean up.
"""

import functools
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_log = logging.getLogger(__name__)

_DOTS_PER_INCH = 120
_CLOCKS = ("epoch", "step")  # these only count the others' progress
_PANELS_A_ROW = 3
_PANEL_INCHES = (4.0, 3.0)
_FONT_POINTS = 9.0
_CELL_INCHES = 0.26  # leaves a little air around a label of _FONT_POINTS
_COUNT_INCHES = 0.34  # a cell with a number in it
_LONGEST_SIDE_INCHES = 40.0  # of a grid of cells: beyond it, cells and labels shrink
_SMALLEST_FONT_POINTS = 3.0
_LONGEST_LABEL = 24  # characters
_SHOWN_LENGTHS = 0.995  # of the examples get a bar of their own length
_BARS = 50
_PLAIN_FONT = "DejaVu Sans"  # comes with matplotlib
_NOT_TEXT = "Last Resort High-Efficiency"  # has a box for every character
_NO_GLYPH = "□"


def learning_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws every quantity of a training's history over the epochs.

    Args:
        history: One row an epoch. `epoch` is the horizontal axis; rows are
            counted if there is none. `step` is not drawn. A column
            `validation_NAME` shares its panel with NAME. NaN, or a name that
            a row lacks, leaves a gap.
        path: The PNG file to write.

    Raises:
        ValueError: The history holds nothing to draw.
    """
    names = list(dict.fromkeys(name for row in history for name in row))
    epochs = [row.get("epoch", number) for number, row in enumerate(history, start=1)]
    curves = {name: [row.get(name, math.nan) for row in history] for name in names if name not in _CLOCKS}
    panels: dict[str, list[str]] = {}
    for name, values in curves.items():
        if not np.all(np.isnan(values)):
            panels.setdefault(name.removeprefix("validation_"), []).append(name)
    if not panels:
        raise ValueError("The history holds no numbers to draw: expected at least one row and one column of them.")
    columns = min(_PANELS_A_ROW, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(
        figsize=(columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1]), dpi=_DOTS_PER_INCH, layout="constrained"
    )
    for position, (title, members) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, position)
        for name in members:
            axes.plot(epochs, curves[name], marker="o", markersize=3, label=name.replace("_", " "))
        _label_curves(axes, title.replace("_", " "), legend=len(members) > 1)
    figure.savefig(path, format="png")


def attention_heat_map(
    source_tokens: Sequence[str], target_tokens: Sequence[str], weights: np.ndarray, path: Path
) -> None:
    """Draws what each target token attended to: one row a target token, one column a source token.

    The colours always span 0 to 1, so that pictures can be compared.
    Characters for which no installed font has a glyph are drawn as boxes.

    Args:
        source_tokens: Tokens of the source, without padding.
        target_tokens: Tokens of the target, without padding.
        weights: float (target tokens, source tokens), each between 0 and 1.
        path: The PNG file to write.

    Raises:
        ValueError: There are no tokens, or the weights have another shape.
    """
    weights = np.asarray(weights, dtype=np.float64)
    shape = (len(target_tokens), len(source_tokens))
    if not all(shape) or weights.shape != shape:
        raise ValueError(
            f"Expected weights of {shape[0]} target and {shape[1]} source tokens, at least one of each; "
            f"their shape is {weights.shape}."
        )
    _draw_grid(target_tokens, source_tokens, weights, path)


def confusion_matrix(labels: Sequence[str], matrix: np.ndarray, path: Path) -> None:
    """Draws which label was predicted for which: one row a label expected, one column a label predicted.

    A cell's colour is its share of the row, from 0 to 1, so that rare labels
    show as clearly as frequent ones; the number in it is the count. Characters
    for which no installed font has a glyph are drawn as boxes.

    Args:
        labels: What both rows and columns stand for.
        matrix: int (labels, labels), counts; a row may be all 0.
        path: The PNG file to write.

    Raises:
        ValueError: There are no labels, or the matrix has another shape or
            holds negative counts.
    """
    matrix = np.asarray(matrix)
    if not labels or matrix.shape != (len(labels), len(labels)) or np.any(matrix < 0):
        raise ValueError(
            f"Expected counts of {len(labels)} by {len(labels)} labels, at least one and none below 0; "
            f"the matrix's shape is {matrix.shape}."
        )
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    _draw_grid(labels, labels, shares, path, counts=matrix, names=("expected", "predicted"))


def length_histogram(lengths: Mapping[str, np.ndarray], path: Path, *, limit: int | None = None) -> None:
    """Draws how many examples are how long.

    The few that are far longer than all others are counted in the last bar,
    and the legend says how many they are.

    Args:
        lengths: int (examples,) by what is counted, such as source and target tokens.
        path: The PNG file to write.
        limit: What is longer is left out of the training: a dashed line.

    Raises:
        ValueError: There are no lengths.
    """
    if not lengths or not all(len(values) for values in lengths.values()):
        raise ValueError("Expected the length of at least one example of each kind, not none.")
    most = max(float(np.quantile(values, _SHOWN_LENGTHS)) for values in lengths.values())
    width = max(1, math.ceil(most / _BARS))
    edges = np.arange(0, most + 2 * width, width) - 0.5
    figure = Figure(figsize=(1.5 * _PANEL_INCHES[0], _PANEL_INCHES[1]), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    for name, values in lengths.items():
        beyond = int(np.sum(values > edges[-1]))
        label = name.replace("_", " ") + (f" ({beyond:,} longer ones in the last bar)" if beyond else "")
        axes.hist(np.minimum(values, edges[-1] - 0.5), bins=edges, histtype="stepfilled", alpha=0.5, label=label)
    if limit is not None and limit < edges[-1]:
        axes.axvline(limit + 0.5, linestyle="--", color="gray", linewidth=1, label="longest example used")
    axes.set_xlabel("length", fontsize=_FONT_POINTS)
    axes.set_ylabel("training examples", fontsize=_FONT_POINTS)
    axes.tick_params(labelsize=_FONT_POINTS - 1)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=_FONT_POINTS - 1, frameon=False)
    figure.savefig(path, format="png")


def reliability_diagram(confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray, path: Path) -> None:
    """Draws how often predictions of a like confidence are right, above how many there are.

    Bars that reach the dashed line are well calibrated: below it a model is too
    sure of itself, above it not sure enough. A dot marks each bar's mean
    confidence.

    Args:
        confidence: float (bins,). Mean confidence in bins of equal width from
            0 to 1; ignored where a bin is empty.
        accuracy: float (bins,). Share of right predictions; ignored likewise.
        count: int (bins,). Predictions.
        path: The PNG file to write.

    Raises:
        ValueError: There are no predictions, or not one value a bin.

    Reference:
        Guo et al. (2017), "On Calibration of Modern Neural Networks", figure
        1. arXiv:1706.04599
    """
    count = np.asarray(count)
    if not count.sum() or not np.shape(confidence) == np.shape(accuracy) == count.shape:
        raise ValueError(
            "Expected one confidence, accuracy and count a bin, and at least one prediction; their shapes are "
            f"{np.shape(confidence)}, {np.shape(accuracy)} and {count.shape}, with {count.sum()} predictions."
        )
    full = count > 0
    width = 1 / count.size
    lefts = np.arange(count.size) * width
    figure = Figure(figsize=(_PANEL_INCHES[0], 1.5 * _PANEL_INCHES[1]), dpi=_DOTS_PER_INCH, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bars: dict[str, Any] = {"width": width, "align": "edge", "edgecolor": "white", "linewidth": 0.5}
    upper.bar(lefts[full], np.asarray(accuracy)[full], color="tab:blue", **bars)
    upper.plot((0, 1), (0, 1), linestyle="--", color="gray", linewidth=1)
    upper.plot(np.asarray(confidence)[full], np.asarray(accuracy)[full], "o", color="black", markersize=3)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    lower.bar(lefts, count / count.sum(), color="tab:gray", **bars)
    lower.set(xlabel="confidence", ylabel="share")
    for axes in (upper, lower):
        axes.tick_params(labelsize=_FONT_POINTS - 1)
        axes.grid(alpha=0.3)
    figure.savefig(path, format="png")


def search_history(values: Sequence[float], path: Path, *, name: str, higher_is_better: bool) -> None:
    """Draws what each trial of a search for settings reached, and the best so far.

    Args:
        values: One a trial, in their order; NaN where a trial was given up, which leaves a gap.
        path: The PNG file to write.
        name: What was measured.
        higher_is_better: Whether the best is the highest.

    Raises:
        ValueError: There are no values.
    """
    reached = np.asarray(values, dtype=np.float64)
    if np.all(np.isnan(reached)):
        raise ValueError("Expected the value of at least one trial, not none.")
    best = (np.fmax if higher_is_better else np.fmin).accumulate(reached)
    figure = Figure(figsize=(1.5 * _PANEL_INCHES[0], _PANEL_INCHES[1]), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    trials = np.arange(1, len(reached) + 1)
    axes.plot(trials, reached, "o", markersize=4, label="each trial")
    axes.step(trials, best, where="post", label="the best so far")
    _label_curves(axes, name.replace("_", " "), legend=True)
    axes.set_xlabel("trial", fontsize=_FONT_POINTS)
    figure.savefig(path, format="png")


def importances(shares: Mapping[str, float], path: Path) -> None:
    """Draws how much each setting matters, the most important one on top.

    Args:
        shares: Between 0 and 1, by the settings' names.
        path: The PNG file to write.

    Raises:
        ValueError: There are no settings.
    """
    if not shares:
        raise ValueError("Expected the importance of at least one setting, not none.")
    ordered = sorted(shares.items(), key=lambda item: item[1])
    height = 0.8 + _COUNT_INCHES * len(ordered)
    figure = Figure(figsize=(1.5 * _PANEL_INCHES[0], height), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.barh([name.replace("_", " ") for name, _ in ordered], [share for _, share in ordered], color="tab:blue")
    axes.set(xlim=(0, 1))
    axes.set_xlabel("share of the differences between trials", fontsize=_FONT_POINTS)
    axes.tick_params(labelsize=_FONT_POINTS - 1)
    axes.grid(alpha=0.3, axis="x")
    figure.savefig(path, format="png")


def _draw_grid(
    rows: Sequence[str],
    columns: Sequence[str],
    weights: np.ndarray,
    path: Path,
    *,
    counts: np.ndarray | None = None,
    names: tuple[str, str] | None = None,
) -> None:
    """Draws weights between 0 and 1 as cells with labels, perhaps with counts in them and names of the axes."""
    cell = min(_CELL_INCHES if counts is None else _COUNT_INCHES, _LONGEST_SIDE_INCHES / max(weights.shape))
    height, width = (max(cell * count, _CELL_INCHES) for count in weights.shape)
    points = max(_SMALLEST_FONT_POINTS, _FONT_POINTS * min(1.0, cell / _CELL_INCHES))
    # The axes fill the figure; labels and bar lie outside, and saving makes room for them.
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1))
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    _label_tokens(axes, columns, rows, points)
    if counts is not None:
        _write_counts(axes, counts, weights, points)
    if names is not None:
        axes.set_ylabel(names[0], fontsize=_FONT_POINTS)
        axes.set_xlabel(names[1], fontsize=_FONT_POINTS)
        axes.xaxis.set_label_position("top")
    bar_height = min(max(height, 1.2), 4.0)
    bar = figure.add_axes((1 + 0.2 / width, 1 - bar_height / height, 0.12 / width, bar_height / height))
    figure.colorbar(image, cax=bar, ticks=[0, 0.5, 1]).ax.tick_params(labelsize=_FONT_POINTS - 1)
    figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.1)


def _write_counts(axes: Axes, counts: np.ndarray, weights: np.ndarray, points: float) -> None:
    for row, column in np.argwhere(counts):
        count = f"{counts[row, column]}"
        # A cell has room for four digits of this size.
        size = points * 0.8 * min(1.0, 4 / len(count))
        ink = "white" if weights[row, column] > 0.6 else "black"
        axes.text(column, row, count, fontsize=size, color=ink, ha="center", va="center")


def _label_curves(axes: Axes, title: str, *, legend: bool) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch", fontsize=_FONT_POINTS)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=_FONT_POINTS - 1)
    axes.grid(alpha=0.3)
    if legend:
        axes.legend(fontsize=_FONT_POINTS - 1, frameon=False)


def _label_tokens(axes: Axes, source_tokens: Sequence[str], target_tokens: Sequence[str], points: float) -> None:
    families = _font_families("".join([*source_tokens, *target_tokens]))
    drawable = frozenset[int]().union(*map(_characters_of, families))
    # A dollar sign is text here, not the start of a formula.
    font: dict[str, Any] = {"fontsize": points, "fontfamily": families, "parse_math": False}
    axes.set_xticks(
        range(len(source_tokens)), [_label(token, drawable) for token in source_tokens], rotation=90, **font
    )
    axes.set_yticks(range(len(target_tokens)), [_label(token, drawable) for token in target_tokens], **font)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=2)
    # White lines between the cells, so that a row or column can be followed.
    line: dict[str, Any] = {"colors": "white", "linewidths": 0.5 * points / _FONT_POINTS}
    axes.vlines(np.arange(0.5, len(source_tokens) - 1), -0.5, len(target_tokens) - 0.5, **line)
    axes.hlines(np.arange(0.5, len(target_tokens) - 1), -0.5, len(source_tokens) - 0.5, **line)


def _label(token: str, drawable: frozenset[int]) -> str:
    """Returns a token as one line of characters that the fonts have."""
    if token.isspace():
        return "␣" * len(token)
    shown = "".join(c if c.isprintable() and ord(c) in drawable else _NO_GLYPH for c in token)
    return shown if len(shown) <= _LONGEST_LABEL else shown[: _LONGEST_LABEL - 1] + "…"


def _font_families(text: str) -> list[str]:
    """Returns families that together have glyphs for as much of the text as the installed fonts allow."""
    families = [_PLAIN_FONT]
    missing = {ord(c) for c in text if c.isprintable()} - _characters_of(_PLAIN_FONT)
    for family in _upright_families():
        if not missing:
            break
        if missing & _characters_of(family):
            families.append(family)
            missing -= _characters_of(family)
    if missing:
        _log.warning(
            "No installed font has %s; %s is drawn instead. Install a font for this script, such as Noto Sans CJK.",
            _some(missing),
            _NO_GLYPH,
        )
    return families


def _some(characters: Iterable[int]) -> str:
    known = sorted(characters)
    return " ".join(f"U+{code:04X}" for code in known[:5]) + (" and others" if len(known) > 5 else "")


@functools.cache
def _upright_families() -> list[str]:
    """Returns the installed families that have an upright regular font."""
    entries = font_manager.fontManager.ttflist
    regular = {entry.name for entry in entries if entry.style == "normal" and entry.weight in (400, "normal")}
    return sorted(regular - {_PLAIN_FONT, _NOT_TEXT})


@functools.cache
def _characters_of(family: str) -> frozenset[int]:
    """Returns the code points that the family's upright regular font, the one drawn with, has glyphs for."""
    path = font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False)
    return frozenset(font_manager.get_font(path).get_charmap())
