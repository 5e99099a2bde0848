"""Rows of any source: picked by their columns, checked one by one."""

from typing import Any

import pyarrow as pa
import pytest

from nlp_rnn.config import ConfigError, DataConfig
from nlp_rnn.readers import DataError
from nlp_rnn.rows import COLUMNS, RowReader, Task, columns, schema

PAIRS = {"text_pair_column": "second"}
NAN, INFINITE = float("nan"), float("inf")


def reader(task: Task = "classification", **data: Any) -> RowReader:
    return RowReader(DataConfig(**data), task)


def read(row: dict[str, Any], task: Task = "classification", **data: Any) -> dict[str, Any] | None:
    return reader(task, **data).read(row, lambda: "file, row 7")


def label(value: Any, **data: Any) -> Any:
    row = read({"text": "a", "label": value}, **data)
    assert row is not None
    return row["label"]


def test_columns_are_a_task_s_own_unless_named() -> None:
    for task, standard in COLUMNS.items():
        assert columns(DataConfig(), task) == {name: name for name in standard}
    named = DataConfig(text_column="review", label_column="stars", **PAIRS)
    assert list(columns(named, "classification").items()) == [
        ("text", "review"), ("text_pair", "second"), ("label", "stars"),
    ]  # fmt: skip
    assert columns(named, "language_modelling") == {"text": "review"}


def test_types_are_those_of_the_columns() -> None:
    text, several = pa.string(), pa.list_(pa.string())
    assert schema(DataConfig(), "classification") == pa.schema([("text", text), ("label", text)])
    wide = schema(DataConfig(multi_label=True, **PAIRS), "classification")
    assert wide == pa.schema([("text", text), ("text_pair", text), ("label", several)])
    assert schema(DataConfig(multi_label=True), "tagging") == pa.schema([("tokens", several), ("tags", several)])


def test_other_columns_are_left_out() -> None:
    assert read({"label": 1, "review": "good", "id": 3}, text_column="review") == {"text": "good", "label": "1"}


def test_pairs_of_texts() -> None:
    row = {"text": "a", "second": " b ", "label": "yes"}
    assert read(row, **PAIRS) == {"text": "a", "text_pair": " b ", "label": "yes"}
    with pytest.raises(DataError, match="file, row 7: no value in column 'second'"):
        read({**row, "second": None}, **PAIRS)
    with pytest.raises(
        DataError, match="file, row 7: there is no column 'second'; there are 'text', 'label'.*--text-pair-column"
    ):
        read({"text": "a", "label": 1}, **PAIRS)


@pytest.mark.parametrize("blank", ["text", "second"])
def test_a_pair_with_a_blank_text_is_left_out_and_counted(blank: str) -> None:
    pairs = reader(**PAIRS)
    row = {"text": "a", "second": "b", "label": "yes", blank: " \t"}
    assert pairs.read(row, lambda: "there") is None
    assert pairs.dropped == {"rows with blank text": 1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("good", "good"),
        (3, "3"),
        (-1, "-1"),
        (2.0, "2"),
        (-0.0, "0"),
        (1e20, str(10**20)),
        (True, "True"),
        ("2.0", "2.0"),
    ],
)
def test_labels_are_names_and_whole_numbers(value: Any, expected: str) -> None:
    assert label(value) == expected


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("value", [0.5, INFINITE])
def test_broken_numbers_are_no_classes(value: float, multi_label: bool) -> None:
    with pytest.raises(
        DataError, match=f"row 7: column 'label' must hold the name or number of a class, not {value}. Classify values"
    ):
        label(value, multi_label=multi_label)


@pytest.mark.parametrize(
    ("value", "multi_label"),
    [(None, False), ("", False), (NAN, False), (None, True), (NAN, True), ([None], True), (["a", ""], True)],
)
def test_a_missing_label_is_told_from_a_wrong_one(value: Any, multi_label: bool) -> None:
    with pytest.raises(DataError, match="file, row 7: no value in column 'label'. Fill it or remove the row"):
        label(value, multi_label=multi_label)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["b", "a", "b"], ["b", "a"]),
        ([], []),
        ([1, 2.0], ["1", "2"]),
        ("a, b c ,a,,", ["a", "b c"]),
        ("", []),
        (" ", []),
        (4, ["4"]),
        (4.0, ["4"]),
    ],
)
def test_several_labels_come_as_lists_or_separated_by_commas(value: Any, expected: list[str]) -> None:
    assert label(value, multi_label=True) == expected


def test_commas_are_part_of_a_single_label() -> None:
    assert label("a, b") == "a, b"


def test_several_labels_where_one_is_expected_suggest_the_setting() -> None:
    with pytest.raises(DataError, match=r"must hold a name or a number, not \['a', 'b'\]. .*Then set multi_label"):
        label(["a", "b"])
    with pytest.raises(DataError, match=r"must hold a name or a number, not \{'a': 1\}.$"):
        label({"a": 1})


@pytest.mark.parametrize("task", ["classification", "translation"])
def test_blank_text_is_no_example_but_part_of_running_text(task: Task) -> None:
    rows = {"classification": {"text": "", "label": "a"}, "translation": {"source": "a", "target": "\u2028"}}
    found = reader(task)
    assert found.read(rows[task], str) is None
    assert found.dropped == {"rows with blank text": 1}
    assert read({"text": " "}, "language_modelling") == {"text": " "}


def test_text_is_no_number() -> None:
    with pytest.raises(DataError, match="file, row 7: column 'review' must hold text, not 7"):
        read({"review": 7, "label": 1}, text_column="review")


def test_blank_tokens_and_sentences_of_them_are_left_out_and_counted() -> None:
    tagged = reader("tagging")
    row = {"tokens": ["a", " ", "b"], "tags": ["X", "Y", 3]}
    assert tagged.read(row, str) == {"tokens": ["a", "b"], "tags": ["X", "3"]}
    assert tagged.read({"tokens": [""], "tags": ["X"]}, str) is None
    assert tagged.dropped == {"blank tokens": 2, "sentences without tokens": 1}


def test_one_language_alone_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="belong together: give both or neither"):
        reader("translation", source_language="en")
