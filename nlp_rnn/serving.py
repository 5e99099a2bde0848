"""A SavedModel of any family, called from Python.

Like any other client of the SavedModel, this needs TensorFlow and the
operations of TensorFlow Text; of this package it takes the answers and the
error alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_text  # noqa: F401  (its import registers the operations)

from nlp_rnn.answers import Client, Signature, padded
from nlp_rnn.config import ConfigError

# Batches that are worked on at once. Between its larger products one alone leaves cores idle, which another one takes.
_AT_ONCE = 2


class Predictor(Client):
    """Answers with an exported model, in this process.

    Args:
        path: A model directory, whose newest version is taken, or one version.
        batch_size: Texts given to the model at once. They are put together by
            length, two batches are worked on side by side, and the results
            come in the order of the texts.

    Attributes:
        folder: The version folder that was loaded.
        family: `translator`, `tagger` or `classifier`.

    Raises:
        FileNotFoundError: The path holds no SavedModel.
        ConfigError: The SavedModel is damaged, or not of this package; of
            every method: the model's family does not have it.
        ValueError: `batch_size` < 1.
    """

    _refusal = ConfigError

    def __init__(self, path: str | Path, *, batch_size: int = 64):
        super().__init__(batch_size=batch_size)
        self.folder = _newest_version(Path(path))
        self._model = _loaded(self.folder)
        self._known = {
            name: Signature(
                inputs=tuple(function.structured_input_signature[1]), outputs=tuple(function.structured_outputs)
            )
            for name, function in self._model.signatures.items()
        }
        self.family  # noqa: B018  (raises an error if it has none)

    def _model_name(self) -> str:
        return str(self.folder)

    def _signatures(self) -> Mapping[str, Signature]:
        return self._known

    def _call(self, signature: str, inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        answer = self._model.signatures[signature](**{name: _tensor(values) for name, values in inputs.items()})
        return {name: tensor.numpy().tolist() for name, tensor in answer.items()}

    def _call_each(self, signature: str, batches: Sequence[dict[str, list[Any]]]) -> Iterator[dict[str, list[Any]]]:
        if len(batches) < 2:
            yield from super()._call_each(signature, batches)
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(partial(self._call, signature), batches)


def _loaded(folder: Path) -> Any:
    try:
        return tf.saved_model.load(str(folder))
    except FileNotFoundError:
        raise
    except (OSError, tf.errors.OpError) as error:
        raise ConfigError(f"{folder} holds a SavedModel that is damaged: {error}. Export it again.") from error


def _tensor(values: list[Any]) -> Any:
    """Makes a tensor of texts, of numbers, or of lists of words."""
    values = padded(values)
    return tf.constant(values, tf.int32 if isinstance(values[0], int) else tf.string)


def _newest_version(path: Path) -> Path:
    entries = [path, *path.iterdir()] if path.is_dir() else []
    found = [entry for entry in entries if (entry / "saved_model.pb").is_file()]
    if path in found:
        return path
    numbered = [entry for entry in found if entry.name.isascii() and entry.name.isdecimal()]
    if not numbered:
        raise FileNotFoundError(
            f"{path} holds no exported model; give a model directory with a version (1/, 2/, ...) in it, "
            "or export one with pipelines/export.py."
        )
    return max(numbered, key=lambda entry: int(entry.name))
