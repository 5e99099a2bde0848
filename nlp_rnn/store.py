"""The model directory: what a training leaves behind, written and read as a whole.

    NAME/
      model/     config.json, weights.npz, the text side's files (tokenizers,
                 words, tags), metrics.json, history.csv, samples.jsonl,
                 plots/, report.html, README.md
      1/ 2/ ...  exports, never changed once written

Whatever is written goes into a hidden sibling first, is flushed to the disk,
and is then renamed into place: after a crash or on a full disk the old content
is still there. One process at a time writes `model/`; exports may run side by side.
"""

import csv
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nlp_rnn.config import ConfigError
from nlp_rnn.families import FAMILIES, Family, Run, Text, family_of
from nlp_rnn.folders import PREVIOUS, WRITING, replace_folder
from nlp_rnn.layers.precision import policy_of
from nlp_rnn.settings import from_dict, plain, to_dict

FORMAT = 1

MODEL = "model"
CHECKPOINT, LOGS = "checkpoint", "logs"
_CONFIG, _METRICS, _HISTORY, _SAMPLES = "config.json", "metrics.json", "history.csv", "samples.jsonl"
_WEIGHTS, _PLOTS = "weights.npz", "plots"

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A model read from its directory.

    Attributes:
        folder: The model directory.
        config: What its training was told; `output` is the folder.
        network: Its weights in the format that was asked for; of a finished model.
        text: What stands between text and network, as the family has it.
        metrics: What was measured at the end of the training.
        samples: Held-out examples with the family's columns; maybe none.
    """

    folder: Path
    config: Run
    network: keras.Model
    text: Text
    metrics: dict[str, Any]
    samples: tuple[dict[str, Any], ...]


def check_output(path: str | Path) -> None:
    """Refuses, before anything is trained, an output that is no place for a model.

    Raises:
        ConfigError: The path is a file, cannot be written to, or is a folder
            that holds something other than a model directory's content.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ConfigError(f"output {path} is a file; give a new or empty folder, or a model directory.")
    above = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"output {path} cannot be written, since {above} is not a folder that you can write to.")
    if not path.is_dir() or _is_model_directory(path):
        return
    strange = sorted(entry.name for entry in path.iterdir() if not _is_unfinished(entry))
    if strange:
        raise ConfigError(
            f"output {path} holds something else ({', '.join(strange[:3])}); "
            "give a new or empty folder, or a model directory."
        )


def save(
    path: str | Path,
    *,
    config: Run,
    network: keras.Model,
    text: Text,
    metrics: Row,
    history: Sequence[Row] = (),
    samples: Sequence[Row] = (),
    draw: Callable[[Path], None] | None = None,
    describe: Callable[[Path], None] | None = None,
) -> Path:
    """Writes `model/`, whose old content is replaced when all of the new is there.

    Args:
        path: The model directory, made if need be.
        config: What the training was told. `output` is not stored: a model
            directory does not say where it lies.
        network: Of any precision; its weights are float32.
        text: What stands between text and network.
        metrics: JSON values; NaN and infinity become null.
        history: One row for each epoch; columns in order of appearance.
        samples: Held-out examples with the family's columns. Left out if
            `config.samples` is false.
        draw: Writes pictures into the folder it is given, `plots/`.
        describe: Writes what people read, `report.html` and `README.md`, into
            the folder it is given, which holds all else by then.

    Returns:
        The folder written.

    Raises:
        ConfigError: See `check_output`.
        OSError: It cannot be written, as on a full disk; what was there is still there.
    """
    path = Path(path)
    check_output(path)

    def write(folder: Path) -> None:
        settings = {key: value for key, value in to_dict(config).items() if key != "output"}
        _write_json(folder / _CONFIG, {"format": FORMAT, "family": family_of(config).name, "config": settings})
        _write_json(folder / _METRICS, metrics)
        _write_table(folder / _HISTORY, history)
        if config.samples:
            lines = (json.dumps(dict(sample), ensure_ascii=False) + "\n" for sample in samples)
            # In JSON, a lone surrogate is spelt as an escape.
            (folder / _SAMPLES).write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
        text.save(folder)
        _write_weights(folder / _WEIGHTS, network)
        if draw is not None:
            (folder / _PLOTS).mkdir()
            draw(folder / _PLOTS)
        if describe is not None:
            describe(folder)

    replace_folder(path / MODEL, write)
    return path / MODEL


def load(path: str | Path, *, weights: str = "float32") -> StoredModel:
    """Reads a model directory.

    Args:
        path: The model directory.
        weights: The number format that the network's matrices are rounded to:
            float32 in which they are stored, bfloat16 or float16; see
            `nlp_rnn.layers.precision`.

    Raises:
        ConfigError: It is no model directory, is incomplete or broken, or was
            written by a newer version.
    """
    path = Path(path)
    folder = _model_folder(path)
    written = folder.stat()
    stored = _load(path, folder, weights)
    after = _model_folder(path).stat()
    # A training that put a new model in place meanwhile would leave parts of two.
    return stored if os.path.samestat(written, after) else load(path, weights=weights)


def _load(path: Path, folder: Path, weights: str) -> StoredModel:
    config, family = _read_config(path)
    missing = [name for name in (_METRICS, _WEIGHTS) if not (folder / name).exists()]
    if missing:
        raise ConfigError(
            f"{folder} lacks {', '.join(missing)}: it was written or copied in part. Copy it whole, or train again."
        )
    text = family.load_text(folder)
    network = family.build(config, text, precision=policy_of(weights))
    _read_weights(folder / _WEIGHTS, network)
    return StoredModel(
        folder=path,
        config=config,
        network=network,
        text=text,
        metrics=_table(folder / _METRICS, (folder / _METRICS).read_bytes()),
        samples=_read_samples(folder / _SAMPLES),
    )


def load_text(path: str | Path) -> Text:
    """Reads a model's text side alone. Errors are those of `load`."""
    _, family = _read_config(Path(path))
    return family.load_text(_model_folder(Path(path)))


def read_config(path: str | Path) -> Run:
    """Reads what a model's training was told; `output` is the path given. Errors are those of `load`."""
    return _read_config(Path(path))[0]


def _read_config(path: Path) -> tuple[Run, Family]:
    file = _model_folder(path) / _CONFIG
    stored = _table(file, file.read_bytes())
    missing = [key for key in ("format", "family", "config") if key not in stored]
    if missing or not isinstance(stored["config"], dict):
        raise _broken(file, f"it has no {missing[0]}" if missing else "its config is no table")
    version, name, settings = stored["format"], stored["family"], stored["config"]
    family = next((family for family in FAMILIES if family.name == name), None)
    if version != FORMAT or family is None:
        known = " and ".join(f"{family.name}s" for family in FAMILIES)
        raise ConfigError(
            f"{file} holds a {name} in format {version}; this version of nlp_rnn reads {known} up to "
            f"format {FORMAT}. Install the version that wrote it, or a newer one."
        )
    try:
        return from_dict(family.run, {**settings, "output": str(path)}), family
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def _is_model_directory(path: Path) -> bool:
    return any((path / name / _CONFIG).is_file() for name in (MODEL, f".{MODEL}.{PREVIOUS}"))


def _is_unfinished(entry: Path) -> bool:
    """Tells whether a training that has not got as far as a model left this behind."""
    return entry.is_dir() and (entry.name in (CHECKPOINT, LOGS) or f".{WRITING}-" in entry.name)


def _model_folder(path: Path) -> Path:
    """Finds the folder to read; a crash may have left the old one moved aside, and no new one."""
    for folder in (path / MODEL, path / f".{MODEL}.{PREVIOUS}"):
        if (folder / _CONFIG).is_file():
            return folder
    if not path.is_dir():
        raise ConfigError(f"There is no folder {path}; give a model directory, such as saved_models/NAME.")
    if _is_model_directory(path.absolute().parent):
        raise ConfigError(f"{path} is a part of a model directory; give the whole, {path.absolute().parent}.")
    if (path / MODEL).is_dir():
        raise ConfigError(f"{path / MODEL} lacks {_CONFIG}: it was copied in part. Copy it whole, or train again.")
    if any(_is_unfinished(entry) for entry in path.iterdir()):
        raise ConfigError(f"{path} holds no {MODEL}/ yet: its training did not get that far. Train again.")
    raise ConfigError(f"{path} is not a model directory: it holds no {MODEL}/{_CONFIG}.")


def _read_samples(file: Path) -> tuple[dict[str, Any], ...]:
    if not file.exists():
        return ()
    return tuple(_table(file, line) for line in file.read_bytes().split(b"\n") if line)


def _table(file: Path, content: bytes) -> dict[str, Any]:
    """Reads the JSON object that a file, or a line of it, holds; a ConfigError says if it is none."""
    try:
        value = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise _broken(file, error) from error
    if not isinstance(value, dict):
        raise _broken(file, "a table of names and values was expected")
    return value


def _broken(file: Path, reason: object) -> ConfigError:
    return ConfigError(f"{file} is broken ({reason}): copy the folder whole, or train again.")


def _write_json(file: Path, value: Row) -> None:
    content = json.dumps(plain(value), ensure_ascii=False, indent=1, allow_nan=False)
    file.write_text(content + "\n", encoding="utf-8", errors="backslashreplace")


def _write_table(file: Path, rows: Sequence[Row]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: plain(value) for key, value in row.items()} for row in rows)


# Not Keras's HDF5: on a full disk that library loses errors, or takes the process down.


def _keys(network: keras.Model) -> list[str]:
    """Names the weights by their order and their own names; those of their layers differ from process to process."""
    return [f"{index:03}.{weight.name}" for index, weight in enumerate(network.weights)]


def _write_weights(file: Path, network: keras.Model) -> None:
    np.savez(file, **dict(zip(_keys(network), network.get_weights(), strict=True)))


def _read_weights(file: Path, network: keras.Model) -> None:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            values = {key: stored[key] for key in stored.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _broken(file, error) from error
    shapes = {key: tuple(weight.shape) for key, weight in zip(_keys(network), network.weights, strict=True)}
    if {key: value.shape for key, value in values.items()} != shapes:
        raise ConfigError(f"{file} holds the weights of another network than {_CONFIG}; copy the folder whole.")
    for key, weight in zip(shapes, network.weights, strict=True):
        weight.assign(keras.ops.cast(values[key], weight.dtype))
