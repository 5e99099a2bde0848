"""The history of a training as TensorBoard reads it.

Written with TensorFlow's own records: TensorBoard itself need not be installed.
"""

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


class EventFile(keras.callbacks.Callback):
    """Writes each epoch's numbers by the step they were measured at.

    Args:
        folder: Where the file goes; a further training adds a file.
    """

    def __init__(self, folder: str | Path):
        super().__init__()
        self._folder = Path(folder)
        self._writer: tf.io.TFRecordWriter | None = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Opens the file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() / 1e9:017.6f}.{socket.gethostname()}"
        self._writer = tf.io.TFRecordWriter(str(self._folder / name))
        self._write(tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes what is in the logs, `step` and `epoch` excepted."""
        row = dict(logs or {})
        step = int(row.pop("step", epoch + 1))
        values = [
            tf.compat.v1.Summary.Value(tag=name, simple_value=float(value))
            for name, value in row.items()
            if name != "epoch"
        ]
        self._write(tf.compat.v1.Event(wall_time=time.time(), step=step, summary=tf.compat.v1.Summary(value=values)))

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Closes the file."""
        assert self._writer is not None
        self._writer.close()

    def _write(self, event: Any) -> None:
        assert self._writer is not None
        self._writer.write(event.SerializeToString())
        self._writer.flush()
