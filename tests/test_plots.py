import logging
import math
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from nlp_rnn.plots import (
    attention_heat_map,
    confusion_matrix,
    importances,
    learning_curves,
    length_histogram,
    reliability_diagram,
    search_history,
)

CELL = 0.26 * 120  # pixels
COUNT_CELL = 0.34 * 120
BLUE = (31, 119, 180)
GRAY = (127, 127, 127)


def heat_map(tmp_path: Path, source: list[str], target: list[str], weights: object) -> np.ndarray:
    path = tmp_path / "attention.png"
    attention_heat_map(source, target, np.asarray(weights, dtype=np.float32), path)
    return matplotlib.image.imread(path)


def curves(tmp_path: Path, history: list[dict[str, float]]) -> np.ndarray:
    path = tmp_path / "curves.png"
    learning_curves(history, path)
    return matplotlib.image.imread(path)


def confusions(tmp_path: Path, labels: list[str], matrix: object) -> np.ndarray:
    path = tmp_path / "confusion.png"
    confusion_matrix(labels, np.asarray(matrix), path)
    return matplotlib.image.imread(path)


def reliability(tmp_path: Path, confidence: list[float], accuracy: list[float], count: list[int]) -> np.ndarray:
    path = tmp_path / "reliability.png"
    reliability_diagram(np.array(confidence), np.array(accuracy), np.array(count), path)
    return matplotlib.image.imread(path)


def size_of(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The box around all bars of a colour; smoothed letters and lines may have it here and there: top to right."""
    near = np.abs(picture[..., :3] - np.array(colour) / 255).max(axis=-1) < 0.01
    rows, columns = np.nonzero(near.sum(axis=1) > 30)[0], np.nonzero(near.sum(axis=0) > 30)[0]
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def changed(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """The box around all pixels that differ: top, bottom, left, right."""
    rows, columns = np.nonzero((before != after).any(axis=-1))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_a_weight_colours_the_cell_of_its_tokens_alone(tmp_path: Path) -> None:
    source, target = ["a", "b", "c", "d"], ["x", "y", "z"]
    blank = heat_map(tmp_path, source, target, np.zeros((3, 4)))
    boxes = {}
    for cell in [(0, 0), (0, 1), (2, 1)]:
        weights = np.zeros((3, 4))
        weights[cell] = 0.7
        top, bottom, left, right = changed(blank, heat_map(tmp_path, source, target, weights))
        assert bottom - top == pytest.approx(CELL, abs=3)
        assert right - left == pytest.approx(CELL, abs=3)
        boxes[cell] = np.array([top, left])
    np.testing.assert_allclose(boxes[0, 1] - boxes[0, 0], [0, CELL], atol=2)  # one source token to the right
    np.testing.assert_allclose(boxes[2, 1] - boxes[0, 1], [2 * CELL, 0], atol=2)  # two target tokens down


def test_larger_weights_are_darker_on_a_fixed_scale(tmp_path: Path) -> None:
    light, middle, dark = (
        heat_map(tmp_path, ["a"] * 9, ["b"] * 9, np.full((9, 9), weight)).mean() for weight in (0.1, 0.3, 0.9)
    )
    assert light > middle + 0.03 > dark + 0.06


def test_a_heat_map_grows_with_the_sentences(tmp_path: Path) -> None:
    sizes = {
        shape: heat_map(tmp_path, ["s"] * shape[1], ["t"] * shape[0], np.zeros(shape)).shape[:2]
        for shape in [(20, 20), (20, 50), (60, 20)]
    }
    assert sizes[20, 20] == pytest.approx((20 * CELL + 50, 20 * CELL + 110), abs=30)  # labels and bar come on top
    assert sizes[20, 50] == pytest.approx((sizes[20, 20][0], sizes[20, 20][1] + 30 * CELL), abs=3)
    assert sizes[60, 20] == pytest.approx((sizes[20, 20][0] + 40 * CELL, sizes[20, 20][1]), abs=3)


def test_a_heat_map_of_a_very_long_sentence_keeps_to_a_size(tmp_path: Path) -> None:
    height, width = heat_map(tmp_path, ["s"] * 300, ["t"] * 2, np.zeros((2, 300))).shape[:2]
    assert 40 * 120 < width < 41 * 120
    assert height < 300


def test_tokens_label_the_rows_and_columns(tmp_path: Path) -> None:
    weights = np.zeros((2, 2))
    plain = heat_map(tmp_path, ["pp", "pp"], ["pp", "pp"], weights)
    first, second = (
        changed(plain, heat_map(tmp_path, source, ["pp", "pp"], weights)) for source in (["qq", "pp"], ["pp", "qq"])
    )
    upper, lower = (
        changed(plain, heat_map(tmp_path, ["pp", "pp"], target, weights)) for target in (["qq", "pp"], ["pp", "qq"])
    )
    assert second[2] - first[2] == pytest.approx(CELL, abs=2)  # source tokens from left to right
    assert lower[0] - upper[0] == pytest.approx(CELL, abs=2)  # target tokens downwards
    assert first[1] <= upper[0] and upper[3] <= first[2]  # the one above, the other at the left


def test_tokens_are_no_formulas(tmp_path: Path) -> None:
    """Two dollar signs would make one, without any sign of them; an ill-formed one would raise."""
    formula = heat_map(tmp_path, ["a"], ["$a$"], [[0.5]])
    assert formula.shape[1] > heat_map(tmp_path, ["a"], ["a"], [[0.5]]).shape[1] + 10
    heat_map(tmp_path, ["$\\frac$"], ["$"], [[0.5]])


@pytest.mark.parametrize(
    ("token", "shown"), [(" ", "␣"), ("\n", "␣"), ("a\x01", "a□"), ("a\nb", "a□b"), ("m" * 30, "m" * 23 + "…")]
)
def test_tokens_that_cannot_be_drawn_as_they_are(tmp_path: Path, token: str, shown: str) -> None:
    np.testing.assert_array_equal(
        heat_map(tmp_path, ["s"], [token], [[0.5]]), heat_map(tmp_path, ["s"], [shown], [[0.5]])
    )


def test_scripts_without_a_font_are_boxes_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Matplotlib would warn of missing glyphs, which is an error here."""
    with caplog.at_level(logging.WARNING):
        picture = heat_map(tmp_path, ["ß", "ə", "שלום"], ["字典"], [[0.2, 0.3, 0.5]])
    boxes = heat_map(tmp_path, ["ß", "ə", "שלום"], ["□□"], [[0.2, 0.3, 0.5]])
    has_font = "U+5178 U+5B57" not in caplog.text
    assert has_font == (picture.shape != boxes.shape or bool((picture != boxes).any()))
    assert has_font or "□ is drawn instead" in caplog.text


@pytest.mark.parametrize(("source", "target"), [(3, 2), (0, 0), (2, 0)])
def test_weights_of_other_tokens_are_refused(tmp_path: Path, source: int, target: int) -> None:
    message = rf"Expected weights of {target} target and {source} source tokens.*shape is \({target}, 2\)"
    with pytest.raises(ValueError, match=message):
        heat_map(tmp_path, ["s"] * source, ["t"] * target, np.zeros((target, 2)))


def test_quantities_have_a_panel_each_which_validation_shares(tmp_path: Path) -> None:
    def size(*names: str) -> tuple[int, ...]:
        history = [{"epoch": epoch, "step": 9.0, **dict.fromkeys(names, 1.0 / epoch)} for epoch in (1, 2)]
        return curves(tmp_path, history).shape[:2]

    assert size("loss") == (360, 480)
    assert size("loss", "validation_loss") == (360, 480)
    assert size("loss", "validation_loss", "validation_bleu") == (360, 960)
    assert size("loss", "validation_bleu", "learning_rate", "seconds") == (720, 1440)


def test_a_higher_value_is_drawn_higher(tmp_path: Path) -> None:
    """Blue is the curve: the one marker of the middle epoch moves up, the ends fix the axis."""

    def heights(middle: float) -> np.ndarray:
        picture = curves(tmp_path, [{"epoch": x + 1, "loss": y} for x, y in enumerate((0.0, middle, 1.0))])
        blue = (picture[..., 2] - picture[..., 0] > 0.3)[:, picture.shape[1] // 2 : picture.shape[1] // 2 + 40]
        return np.nonzero(blue)[0]

    assert heights(0.9).mean() < heights(0.5).mean() - 20 < heights(0.1).mean() - 40


def test_gaps_in_a_history_are_left_out(tmp_path: Path) -> None:
    gap = curves(tmp_path, [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": math.nan}, {"epoch": 3, "loss": 1.0}])
    lacking = curves(tmp_path, [{"epoch": 1, "loss": 3.0}, {"epoch": 2}, {"epoch": 3, "loss": 1.0}])
    whole = curves(tmp_path, [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0}, {"epoch": 3, "loss": 1.0}])
    np.testing.assert_array_equal(gap, lacking)
    assert (gap != whole).any()


def test_rows_are_counted_where_no_epoch_is_given(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        curves(tmp_path, [{"loss": 3.0}, {"loss": 1.0}]),
        curves(tmp_path, [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 1.0}]),
    )


@pytest.mark.parametrize("history", [[], [{"epoch": 1.0, "step": 2.0}], [{"epoch": 1.0, "loss": math.nan}]])
def test_a_history_without_numbers_is_refused(tmp_path: Path, history: list[dict[str, float]]) -> None:
    with pytest.raises(ValueError, match="The history holds no numbers to draw"):
        curves(tmp_path, history)


def test_a_count_colours_the_cell_of_its_labels_alone(tmp_path: Path) -> None:
    labels = ["a", "b", "c", "d"]
    blank = confusions(tmp_path, labels, np.zeros((4, 4), int))
    boxes = {}
    for cell in [(0, 0), (0, 1), (2, 1)]:
        matrix = np.zeros((4, 4), int)
        matrix[cell] = 7
        top, bottom, left, right = changed(blank, confusions(tmp_path, labels, matrix))
        assert bottom - top == pytest.approx(COUNT_CELL, abs=3)
        assert right - left == pytest.approx(COUNT_CELL, abs=3)
        boxes[cell] = np.array([top, left])
    np.testing.assert_allclose(boxes[0, 1] - boxes[0, 0], [0, COUNT_CELL], atol=2)  # predicted: to the right
    np.testing.assert_allclose(boxes[2, 1] - boxes[0, 1], [2 * COUNT_CELL, 0], atol=2)  # expected: downwards


def test_a_cell_is_coloured_by_its_share_of_the_row(tmp_path: Path) -> None:
    """Ten times as many of a label change the figures, not the colours; another share changes both."""

    def colour(matrix: list[list[int]]) -> np.ndarray:
        picture = confusions(tmp_path, ["a", "b"], matrix)
        top, _, left, _ = changed(confusions(tmp_path, ["a", "b"], [[0, 0], [0, 0]]), picture)
        return picture[top + 4, left + 4]  # of the first cell, beside its figure

    np.testing.assert_array_equal(colour([[3, 1], [0, 5]]), colour([[30, 10], [0, 1]]))
    assert colour([[3, 1], [0, 5]]).mean() < colour([[1, 3], [0, 5]]).mean() - 0.1


def test_counts_are_written_into_the_cells(tmp_path: Path) -> None:
    """The same shares, other figures; only the cell changes in which the figure does."""
    few = confusions(tmp_path, ["a", "b"], [[4, 0], [0, 3]])
    top, bottom, left, right = changed(few, confusions(tmp_path, ["a", "b"], [[12345678, 0], [0, 3]]))
    assert 4 <= bottom - top < COUNT_CELL
    assert COUNT_CELL / 2 < right - left <= COUNT_CELL + 2


@pytest.mark.parametrize(
    ("labels", "matrix"), [([], np.zeros((0, 0))), (["a"], [[1, 2]]), (["a", "b"], [[1]]), (["a"], [[-1]])]
)
def test_counts_of_other_labels_are_refused(tmp_path: Path, labels: list[str], matrix: object) -> None:
    with pytest.raises(ValueError, match=f"counts of {len(labels)} by {len(labels)} labels"):
        confusions(tmp_path, labels, matrix)


def test_a_bar_is_as_high_as_its_bin_is_accurate(tmp_path: Path) -> None:
    """Of four bins, at the place of the one that is not empty; the others' NaN are not looked at."""
    nan = math.nan
    boxes = {}
    for accuracy, place in [(1.0, 1), (0.5, 1), (0.5, 2)]:
        values = [accuracy if bin == place else nan for bin in range(4)]
        picture = reliability(tmp_path, values, values, [9 if bin == place else 0 for bin in range(4)])
        boxes[accuracy, place] = size_of(picture, BLUE)
    top, bottom, left, right = boxes[1.0, 1]
    assert boxes[0.5, 1][1] == bottom
    assert bottom - boxes[0.5, 1][0] == pytest.approx((bottom - top) / 2, abs=3)
    assert boxes[0.5, 2][2] == pytest.approx(right, abs=3)
    assert boxes[0.5, 2][3] - boxes[0.5, 2][2] == pytest.approx(right - left, abs=3)


def test_a_dot_stands_at_the_mean_confidence(tmp_path: Path) -> None:
    low, high = (reliability(tmp_path, [0.25, place], [0.9, 0.9], [5, 5]) for place in (0.55, 0.95))
    top, bottom, left, right = changed(low, high)
    full = size_of(reliability(tmp_path, [0.5], [1.0], [1]), BLUE)
    assert right - left == pytest.approx(0.4 * (full[3] - full[2]), abs=12)
    assert bottom - top < 12


def test_the_shares_of_the_bins_are_drawn_below(tmp_path: Path) -> None:
    low, high = (size_of(reliability(tmp_path, [0.2, 0.8], [0.5, 0.5], counts), GRAY) for counts in ([10, 0], [0, 10]))
    assert low[2] < high[2] and low[3] < high[3]
    blue = size_of(reliability(tmp_path, [0.2, 0.8], [0.5, 0.5], [10, 0]), BLUE)
    assert blue[1] < low[0]


@pytest.mark.parametrize(
    ("confidence", "accuracy", "count"), [([], [], []), ([0.5], [0.5], [0]), ([0.5], [0.5, 1.0], [1, 1])]
)
def test_bins_that_do_not_fit_are_refused(
    tmp_path: Path, confidence: list[float], accuracy: list[float], count: list[int]
) -> None:
    with pytest.raises(ValueError, match="one confidence, accuracy and count a bin, and at least one prediction"):
        reliability(tmp_path, confidence, accuracy, count)


def test_twice_as_many_examples_of_a_length_make_a_bar_of_twice_the_height(tmp_path: Path) -> None:
    path = tmp_path / "lengths.png"
    length_histogram({"words": np.array([3] * 10 + [8] * 20)}, path)
    picture = matplotlib.image.imread(path)[..., :3]
    bars = np.abs(picture - np.array([142, 186, 217]) / 255).max(axis=-1) < 0.02  # half of the blue
    heights = bars.sum(axis=0)
    columns = np.nonzero(heights > 40)[0]
    left, right = heights[columns[0] + 5], heights[columns[-1] - 5]
    assert right == pytest.approx(2 * left, rel=0.1)


def test_what_is_far_longer_than_all_others_does_not_stretch_the_picture(tmp_path: Path) -> None:
    usual = np.array([5, 6, 7] * 1000)
    length_histogram({"words": usual}, tmp_path / "usual.png")
    length_histogram({"words": np.append(usual, 100_000)}, tmp_path / "odd.png")
    usual_picture, odd_picture = (matplotlib.image.imread(tmp_path / name) for name in ("usual.png", "odd.png"))
    # The same but for the legend, which counts it.
    assert usual_picture.shape == odd_picture.shape
    assert (usual_picture != odd_picture).any(axis=-1).mean() < 0.05


def test_no_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="length of at least one example"):
        length_histogram({"words": np.array([])}, tmp_path / "lengths.png")


@pytest.mark.parametrize(("higher_is_better", "level"), [(True, 3.0), (False, 1.0)])
def test_the_best_so_far_is_drawn_over_the_trials(tmp_path: Path, higher_is_better: bool, level: float) -> None:
    """From its trial on, the best stays: more trials like it change nothing but dots."""
    path = tmp_path / "history.png"
    search_history([2.0, level, math.nan, 2.0], path, name="f1", higher_is_better=higher_is_better)
    picture = matplotlib.image.imread(path)[..., :3]
    orange = np.abs(picture - np.array([255, 127, 14]) / 255).max(axis=-1) < 0.02
    rows = np.nonzero(orange.sum(axis=1) > 150)[0]  # the long level line
    blue = np.abs(picture - np.array(BLUE) / 255).max(axis=-1) < 0.02
    columns = np.nonzero(blue.any(axis=1))[0]
    edge = columns.min() if higher_is_better else columns.max()
    assert len(rows)
    assert np.abs(rows - edge).min() < 8


def test_a_more_important_setting_has_a_longer_bar_above(tmp_path: Path) -> None:
    path = tmp_path / "importances.png"
    importances({"minor": 0.25, "major": 0.75}, path)
    blue = np.abs(matplotlib.image.imread(path)[..., :3] - np.array(BLUE) / 255).max(axis=-1) < 0.01
    widths = blue.sum(axis=1)
    rows = np.nonzero(widths > 30)[0]
    assert widths[rows[5]] == pytest.approx(3 * widths[rows[-5]], rel=0.05)


def test_pictures_of_no_trials_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        search_history([math.nan], tmp_path / "a.png", name="f1", higher_is_better=True)
    with pytest.raises(ValueError, match="at least one setting"):
        importances({}, tmp_path / "a.png")
