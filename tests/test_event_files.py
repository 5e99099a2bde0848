from pathlib import Path

import pytest
import tensorflow as tf

from nlp_rnn.event_files import EventFile


def test_tensorboard_s_reader_finds_every_number_at_its_step(tmp_path: Path) -> None:
    callback = EventFile(tmp_path / "logs")
    callback.on_train_begin()
    callback.on_epoch_end(0, {"epoch": 1, "step": 40.0, "loss": 0.5, "f1": 0.25})
    # A killed training leaves what it has written so far.
    (file,) = (tmp_path / "logs").iterdir()
    assert file.name.startswith("events.out.tfevents.")
    assert len(list(tf.compat.v1.train.summary_iterator(str(file)))) == 2
    callback.on_epoch_end(1, {"epoch": 2, "step": 80.0, "loss": 0.25, "f1": 0.5})
    callback.on_train_end()
    first, *events = tf.compat.v1.train.summary_iterator(str(file))
    assert first.file_version == "brain.Event:2"
    found = [(event.step, {value.tag: value.simple_value for value in event.summary.value}) for event in events]
    assert found == [(40, {"loss": 0.5, "f1": 0.25}), (80, {"loss": 0.25, "f1": 0.5})]
    assert events[0].wall_time == pytest.approx(first.wall_time, abs=60)
