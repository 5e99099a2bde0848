"""Feeds: every row of a lap in one batch, the same batches for the same numbers, few rows ahead."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import keras
import numpy as np
import pytest
import stream_cases
import tensorflow as tf

from nlp_rnn import training
from nlp_rnn.checkpoints import Checkpoints
from nlp_rnn.config import BatchConfig, TrainingConfig
from nlp_rnn.examples import Examples, Picked
from nlp_rnn.feeds import Feed
from nlp_rnn.plans import FixedShapes, Lengths
from nlp_rnn.readers import DataError
from nlp_rnn.rows import Row
from nlp_rnn.streams import Stream

FEATURES = datasets.Features({"text": datasets.Value("string"), "label": datasets.Value("int32")})


def measure(dataset: datasets.Dataset) -> Lengths:
    words = np.array([len(text.split()) for text in dataset["text"]], np.int32)
    return Lengths(source=words, target=np.zeros_like(words))


def prepare(row: Row) -> Row | None:
    known = {"bad": 0, "good": 1}
    return {"text": row["text"], "label": known[row["label"]]} if row["label"] in known else None


def feed(stream: Stream, *, longest: int = 20, **changes: Any) -> Feed:
    first = Lengths(source=np.int32([1, 3, 5, 9] * 50), target=np.zeros(200, np.int32))
    batching = BatchConfig(batch_size=4, bucket_width=1, longest_example=longest)
    plain: dict[str, Any] = {
        "shapes": FixedShapes(lengths=first, batching=batching, end_tokens=0),
        "features": FEATURES, "prepare": prepare, "measure": measure, "seed": 1, "steps": 5,
    }  # fmt: skip
    return Feed(stream=stream, **{**plain, **changes})


def read(one: Feed, first: int, count: int) -> list[Picked]:
    return list(one.read(first, count, ["text", "label"]))


def plain(batches: list[Picked]) -> list[Any]:
    return [(batch.rows.tolist(), batch.shape, batch.examples.to_pydict()) for batch in batches]


@pytest.fixture
def name(tmp_path: Path) -> str:
    return stream_cases.parquet(tmp_path)


def laps(one: Feed, batches: int) -> list[list[Picked]]:
    """The batches of each whole lap among so many."""
    found: list[list[Picked]] = [[]]
    for batch in read(one, 0, batches):
        if sum(len(before.rows) for before in found[-1]) == stream_cases.ROWS:
            found.append([])
        found[-1].append(batch)
    return found[:-1]


def test_every_row_of_a_lap_is_in_one_batch_with_its_own_text_and_label(name: str) -> None:
    first, second, *_ = laps(feed(stream_cases.opened(name, window=30)), 120)
    for batches in (first, second):
        assert sorted(row for batch in batches for row in batch.rows.tolist()) == list(range(stream_cases.ROWS))
        for batch in batches:
            assert batch.examples["text"].to_pylist() == [stream_cases.text(row) for row in batch.rows.tolist()]
            assert batch.examples["label"].to_pylist() == [row % 2 for row in batch.rows.tolist()]
            assert max(len(text.split()) for text in batch.examples["text"].to_pylist()) <= batch.shape.source
            assert len(batch.rows) <= batch.shape.examples <= 4


def test_rows_meet_others_in_each_lap_and_with_another_seed(name: str) -> None:
    def members(seed: int) -> list[set[frozenset[int]]]:
        found = laps(feed(stream_cases.opened(name, window=50), seed=seed), 120)
        whole = ([batch.rows.tolist() for batch in batches if len(batch.rows) == 4] for batches in found[:2])
        return [set(map(frozenset, rows)) for rows in whole]

    (first, second), (other, _) = members(1), members(2)
    assert min(map(len, (first, second, other))) > 15
    assert len(first & second) < 4
    assert len(first & other) < 4
    assert members(1) == [first, second]


def test_from_any_batch_on_the_rest_is_the_same(name: str) -> None:
    """Going on from a position as a checkpoint has it, which is asked for while reading is ahead of it."""
    whole = feed(stream_cases.opened(name))
    batches = plain(read(whole, 0, 60))
    for number in (0, 1, 7, 31, 40, 59):
        before = feed(stream_cases.opened(name))
        read(before, 0, 60)
        position = json.loads(json.dumps(before.position(number)))
        resumed = feed(stream_cases.opened(name))
        resumed.restore(position)
        assert plain(read(resumed, number, 60 - number)) == batches[number:], number
        assert resumed.position(number) == position


def test_an_epoch_goes_on_where_the_last_one_stopped_and_none_is_read_twice(name: str) -> None:
    seen: list[int] = []
    examples = [{**row, "label": stream_cases.NAMES[row["label"]]} for row in stream_cases.rows()]
    one = feed(stream_cases.stream(stream_cases.generated(examples, seen)))
    whole = plain(read(feed(stream_cases.opened(name)), 0, 20))
    assert plain(read(one, 0, 5)) + plain(read(one, 5, 5)) + plain(read(one, 10, 10)) == whole
    assert max(Counter(seen).values()) == 1


def test_several_trainings_can_be_on_one_stream(name: str) -> None:
    """As in a search for settings."""
    stream = stream_cases.opened(name)
    one, other = feed(stream), feed(stream)
    found = [plain(read(one, 0, 12)), plain(read(other, 0, 20)), plain(read(one, 12, 8)), plain(read(one, 0, 20))]
    assert found[0] + found[2] == found[1] == found[3]


def test_a_batch_that_is_done_and_forgotten_is_refused(name: str) -> None:
    one = feed(stream_cases.opened(name))
    read(one, 0, 20)
    one.position(18)
    with pytest.raises(ValueError, match="Batch 0 of the stream is gone"):
        read(one, 0, 1)


def test_no_more_than_one_window_is_read_ahead() -> None:
    seen: list[int] = []
    examples = [{"text": "a", "label": "bad"} for _ in range(1000)]
    one = feed(stream_cases.stream(stream_cases.generated(examples, seen)))
    batches = one.read(0, 300, ["text"])
    trained_on = 0
    for _ in range(100):
        trained_on += len(next(batches).rows)
        assert one._ahead is not None
        one._ahead.result()
        # The window in use ends after at most nine more rows; one of ten comes after it.
        assert len(seen) <= trained_on + 9 + 10


def test_unknown_labels_are_left_out_with_one_warning_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nlp_rnn")
    examples = [{"text": f"r{number}", "label": "odd" if number % 10 == 7 else "bad"} for number in range(50)]
    examples[30]["text"] = "long " * 21
    one = feed(stream_cases.stream(stream_cases.generated(examples)))
    seen = [row for batch in read(one, 0, 15) for row in batch.rows.tolist()]
    assert not {number for number in seen if number % 10 == 7 or number == 30}
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [warning.partition(".")[0] for warning in warnings] == [
        "set, row 8: a label or tag that the first rows lack"
    ]
    assert (
        "set: all 50 rows were read, and it begins anew. Left out: rows with an unknown label or tag: 5, "
        "rows of more than 20 tokens: 1." in caplog.text
    )


def test_a_stream_of_which_nothing_is_left_is_an_error_instead_of_an_endless_search() -> None:
    one = feed(stream_cases.stream(stream_cases.generated([{"text": "a", "label": "odd"}] * 25)))
    with pytest.raises(
        DataError, match=r"set: there is nothing to learn from in 25 rows. Left out: .* label or tag: 25"
    ):
        read(one, 0, 1)


# Under the train loop


class Guess(keras.Model):
    """One number, which every batch pulls towards its rows' mean."""

    def __init__(self) -> None:
        super().__init__()
        self.number = self.add_weight(shape=(), initializer="zeros", name="number")


def encode(examples: Examples) -> tf.data.Dataset:
    def batches() -> Any:
        for picked in examples.read(["text"]):
            yield {"rows": picked.rows}

    return tf.data.Dataset.from_generator(batches, output_signature={"rows": tf.TensorSpec([None], tf.int64)})


def trainable(one: Feed) -> training.Training:
    network = Guess()

    def objective(batch: Any, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.cast(batch["rows"], tf.float32)
        return tf.reduce_sum((rows - network.number) ** 2), tf.cast(tf.size(rows), tf.float32)

    return training.Training(
        network=network,
        objective=objective,
        validate=lambda: {"value": 0.0},
        monitor="value",
        higher_is_better=True,
        **one.training(encode),
    )


class Recorder(keras.callbacks.Callback):
    def __init__(self, *, stop_after: int = -1) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.stop_after = stop_after

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(float(logs["loss"]))
        if len(self.losses) == self.stop_after:
            raise KeyboardInterrupt


def test_epochs_have_the_steps_they_were_given_and_a_resumed_one_the_rest(name: str, tmp_path: Path) -> None:
    settings = TrainingConfig(epochs=4, patience=9, warmup_steps=0, checkpoint_steps=2)
    whole = Recorder()
    history = training.train(trainable(feed(stream_cases.opened(name))), settings, callbacks=[whole])
    assert [row["step"] for row in history] == [5, 10, 15, 20]
    assert len(whole.losses) == 20
    for after in (3, 5, 14):
        checkpoints = Checkpoints(folder=tmp_path / f"{after}")
        broken_off = trainable(feed(stream_cases.opened(name)))
        with pytest.raises(KeyboardInterrupt):
            training.train(broken_off, settings, callbacks=[Recorder(stop_after=after)], checkpoints=checkpoints)
        rest = Recorder()
        snapshot = checkpoints.read()
        resumed = trainable(feed(stream_cases.opened(name)))
        training.train(resumed, settings, callbacks=[rest], checkpoints=checkpoints, snapshot=snapshot)
        assert after - 2 <= 20 - len(rest.losses) <= after
        assert rest.losses == whole.losses[-len(rest.losses) :]


def test_an_error_in_the_data_is_what_it_was_when_it_comes_out_of_tensorflow() -> None:
    examples = [{"text": "a", "label": "bad"} for _ in range(30)]
    examples[25]["label"] = ""
    one = feed(stream_cases.stream(stream_cases.generated(examples)), steps=50)
    with pytest.raises(DataError, match="^set, row 26: no value in column 'label'"):
        training.train(trainable(one), TrainingConfig(epochs=1))
