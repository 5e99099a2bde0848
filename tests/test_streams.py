"""Streams: every row of a lap once, from anywhere on, whatever the files; and what is left out or refused."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import stream_cases
from stream_cases import ORIGINS, ROWS, generated, lap, opened, stream

from nlp_rnn import corpora
from nlp_rnn.config import DataConfig
from nlp_rnn.readers import DataError
from nlp_rnn.streams import Position


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_lap_has_every_row_once_and_in_order_with_its_class_name(origin: str, tmp_path: Path) -> None:
    found = lap(opened(ORIGINS[origin](tmp_path)))
    assert [window.read for _, window in found] == [10] * 10 + [3, 0]
    numbered = [numbered for _, window in found for numbered in window.rows]
    assert [number for number, _ in numbered] == list(range(ROWS))
    assert [row for _, row in numbered] == [
        {"text": stream_cases.text(number), "label": stream_cases.NAMES[number % 2]} for number in range(ROWS)
    ]


@pytest.mark.parametrize("origin", ORIGINS)
def test_from_any_position_the_rest_is_the_same(origin: str, tmp_path: Path) -> None:
    name = ORIGINS[origin](tmp_path)
    found = lap(opened(name))
    for place, (position, _) in enumerate(found):
        rest = lap(opened(name), position)
        assert [window.rows for _, window in rest] == [window.rows for _, window in found[place:]], place
        # What is said of where they end leads on as well as what was said the first time.
        assert [after.row for after, _ in rest] == [after.row for after, _ in found[place:]]


def test_a_stream_can_be_read_again_from_its_beginning_or_from_where_it_was_before() -> None:
    one = opened("sample:sentiment", window=1500)
    found = lap(one)
    assert len(found) > 2
    for place in (0, 1, 0):
        assert one.read(found[place][0]).rows == found[place][1].rows


def test_what_is_left_out_is_counted_and_keeps_its_number(tmp_path: Path) -> None:
    texts = ["a", " ", "b", "a", "c", ""]
    examples = generated([{"text": text, "label": "x"} for text in texts])
    window = stream(examples, held_out=lambda row: row["text"] == "a").read(Position())
    assert [(number, row["text"]) for number, row in window.rows] == [(2, "b"), (4, "c")]
    assert window.read == 6
    assert window.left_out == {"rows with blank text": 2, "rows held out for validation": 2}


def test_a_wrong_row_is_named_by_its_number_in_the_whole_stream() -> None:
    examples = [{"text": "a", "label": "x"} for _ in range(25)]
    examples[17]["label"] = ""
    one = stream(generated(examples))
    second = lap_position(one)
    with pytest.raises(DataError, match=r"set, row 18: no value in column 'label'"):
        one.read(second)


def lap_position(one: corpora.Stream) -> Position:
    window = one.read(Position())
    return Position(row=window.read, state=window.state)


def test_files_that_turn_out_broken_are_the_user_s_and_told_where(tmp_path: Path) -> None:
    good = '{"text": "a", "label": "x"}\n' * 20
    (tmp_path / "train-0.jsonl").write_text(good)
    (tmp_path / "train-1.jsonl").write_text('{"text": "a", \n' * 3)
    one = opened(str(tmp_path))
    with pytest.raises(
        DataError, match="^set could not be read on from row 21, where --resume goes on: .*Expected a hub id"
    ) as caught:
        lap(one)
    assert "\n" not in str(caught.value)


# What a corpus makes of them


def folder_of(tmp_path: Path, **splits: int) -> str:
    for split, count in splits.items():
        lines = "".join(f'{{"text": "{split} {number}", "label": "x{number}"}}\n' for number in range(count))
        (tmp_path / f"{split}.jsonl").write_text(lines)
    return str(tmp_path)


def test_of_a_stream_only_the_first_rows_are_stored(tmp_path: Path) -> None:
    data = DataConfig(dataset=folder_of(tmp_path, train=50, validation=31), streaming=True, stream_sample=30)
    corpus = corpora.load(data, "classification")
    assert corpus.train["text"] == [f"train {number}" for number in range(30)]
    assert corpus.validation["text"] == [f"validation {number}" for number in range(30)]
    assert corpus.notes == (
        f"{tmp_path} (validation): only the first 30 rows are used.",
        f"{tmp_path} (train) is read as a stream: vocabulary and lengths are those of its first rows.",
    )
    assert corpus.stream is not None
    read = [row["text"] for _, window in lap(corpus.stream) for _, row in window.rows]
    assert read == [f"train {number}" for number in range(50)]


def test_a_validation_split_that_is_short_enough_is_whole_and_nothing_is_said(tmp_path: Path) -> None:
    data = DataConfig(dataset=folder_of(tmp_path, train=50, validation=30), streaming=True, stream_sample=30)
    corpus = corpora.load(data, "classification")
    assert len(corpus.validation) == 30
    assert corpus.own_validation
    assert len(corpus.notes) == 1


def test_without_a_validation_split_rows_are_held_out_all_along_the_stream(tmp_path: Path) -> None:
    name = folder_of(tmp_path, train=2000)
    corpus = corpora.load(
        DataConfig(dataset=name, streaming=True, stream_sample=500, validation_share=0.1), "classification"
    )
    whole = corpora.load(DataConfig(dataset=name, validation_share=0.1), "classification")
    assert corpus.stream is not None
    trained_on = {row["text"] for _, window in lap(corpus.stream) for _, row in window.rows}
    assert len(trained_on) == len(whole.train)
    # The rule is the one for stored data: what it holds out is in the first rows, or nowhere.
    assert trained_on == set(whole.train["text"])
    assert set(corpus.train["text"]) < trained_on
    first = [f"train {number}" for number in range(500)]
    assert corpus.validation["text"] == [text for text in first if text not in trained_on]


def test_where_chance_holds_nothing_out_the_lowest_text_is_never_trained_on(tmp_path: Path) -> None:
    data = DataConfig(dataset=folder_of(tmp_path, train=30), streaming=True, validation_share=1e-6)
    corpus = corpora.load(data, "classification")
    (held_out,) = corpus.validation["text"]
    assert corpus.stream is not None
    trained_on = [row["text"] for _, window in lap(corpus.stream) for _, row in window.rows]
    assert len(trained_on) == 29
    assert held_out not in trained_on


def test_local_files_stand_beside_a_stream(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    name = folder_of(tmp_path / "set", train=5, validation=5)
    own = tmp_path / "own.csv"
    own.write_text("text,label\nmine,x1\n")
    corpus = corpora.load(DataConfig(dataset=name, streaming=True, validation=(str(own),)), "classification")
    assert corpus.validation["text"] == ["mine"]


def test_a_test_split_is_streamed_whole(tmp_path: Path) -> None:
    data = DataConfig(dataset=folder_of(tmp_path, test=40), streaming=True, stream_sample=3)
    test, notes = corpora.load_split(data, "classification")
    assert test["text"] == [f"test {number}" for number in range(40)]
    assert notes == ()


def test_the_names_of_classes_are_known_beforehand_where_the_data_set_names_them(tmp_path: Path) -> None:
    data = DataConfig(dataset=stream_cases.parquet(tmp_path), streaming=True, validation_share=0.5)
    corpus = corpora.load(data, "classification")
    assert corpus.stream is not None
    assert corpus.stream.class_names == ("bad", "good")


def test_a_broken_first_row_is_one_clear_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    (tmp_path / "train.jsonl").write_text('{"text": "a", \n' * 3)
    data = DataConfig(dataset=str(tmp_path), streaming=True)
    with pytest.raises(DataError, match=r"could not be (loaded|read)") as caught:
        corpora.load(data, "classification")
    assert "\n" not in str(caught.value)


ENDS = """
import time
from stream_cases import generated, stream
stream(generated([])).beside(lambda: time.sleep(600))
"""


def test_a_process_ends_though_its_stream_is_still_being_read() -> None:
    subprocess.run([sys.executable, "-c", ENDS], cwd=Path(__file__).parent, check=True, timeout=120)


def test_after_a_wrong_row_the_same_window_is_read_again_and_not_the_next() -> None:
    examples = [{"text": f"r{number}", "label": "x"} for number in range(25)]
    examples[17]["label"] = ""
    one = stream(generated(examples))
    second = lap_position(one)
    for _ in range(2):
        with pytest.raises(DataError, match=r"set, row 18: no value in column 'label'"):
            one.read(second)
