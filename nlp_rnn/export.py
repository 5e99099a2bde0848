"""A stored model as a SavedModel, put in place only if it answers as the model itself does.

On any difference that the parity gate finds the export is refused, and the
versions there before stay as they are.
"""

import functools
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_rnn import folders, parity, portability, replay, server_files, signature_inputs, store
from nlp_rnn.config import ConfigError
from nlp_rnn.families import ClassificationText, TranslationText
from nlp_rnn.jobs import ExportRun
from nlp_rnn.models.classification import ClassificationModule
from nlp_rnn.models.tagging import TaggingModule
from nlp_rnn.models.translation import TranslationModule

Module = TranslationModule | TaggingModule | ClassificationModule

_SAMPLES = 32
# Bytes, well above what a graph with its tokenizers takes.
_GRAPH = 8_000_000
_log = logging.getLogger(__name__)


class ExportError(RuntimeError):
    """An export does not do what it should, and was not put in place."""


def export_model(path: str | Path, **settings: float | int | str | None) -> Path:
    """Writes the next version of a stored model's SavedModel.

    Args:
        path: The model directory.
        **settings: What the graph fixes, as the fields of `nlp_rnn.ExportRun`:
            of a translator its search, of a tagger `maximum_length`, of a
            classifier also `threshold`. What is not given, or None, stays as
            the model was trained with. And `weights`: the number format that
            they are stored in, float32 if not given; and `keep`: how many
            versions are left, this one counted; the oldest are removed once
            this one is in place.

    Returns:
        The version folder; all settings are in its `assets.extra/settings.json`.

    Raises:
        ConfigError: No model directory, or settings that are impossible or
            not this family's; or `weights` is a format whose range the
            model's weights exceed.
        ExportError: The model has diverged; or the export holds operations
            that not every server has, or answers otherwise than the model,
            whose weights are rounded as the export's. Nothing is kept of it.
    """
    given = ExportRun(model=str(path), **settings)  # type: ignore[arg-type]
    # The gate's other process has no GPU, and neither has this side of the comparison.
    with tf.device("/CPU:0"):
        stored = store.load(path, weights=given.weights)
        _require_finite(stored)
        fixed = given.fixed(stored.config)
        module = build_module(stored, fixed)

        sizes: list[int] = []

        def write(folder: Path) -> None:
            _require_room(folder, sum(value.nbytes for value in stored.network.get_weights()) + _GRAPH)
            replay.start(sys.executable)  # it comes up while the graph is traced
            write_saved_model(module, folder, fixed)
            server_files.write_server_files(folder, module.signatures, stored.samples)
            check_operations(folder)
            check_parity(folder, module, stored.samples[:_SAMPLES])
            sizes.extend(file.stat().st_size for file in folder.rglob("*") if file.is_file())

        version = folders.add_version(path, write)
    if given.keep is not None:
        for removed in folders.remove_versions(path, keep=given.keep):
            _log.info("Removed %s: only the newest %d versions are kept.", removed, given.keep)
    _log.info("Exported %s: %.1f MB, checked against the model itself.", version, sum(sizes) / 1e6)
    return version


def _require_finite(stored: store.StoredModel) -> None:
    """Refuses a model that has diverged, and a number format that does not hold its weights."""
    if _is_finite(stored):
        return
    weights = stored.network.variable_dtype
    if weights != "float32" and _is_finite(store.load(stored.folder)):
        raise ConfigError(
            f"weights must be a number format that holds those of {stored.folder}, not {weights}, whose range "
            "they exceed: give float32 or bfloat16."
        )
    raise ExportError(f"{stored.folder} holds weights that are NaN or infinite: its training diverged. Train it again.")


def _is_finite(stored: store.StoredModel) -> bool:
    return all(np.isfinite(value.astype(np.float32)).all() for value in stored.network.get_weights())


def _require_room(folder: Path, size: int) -> None:
    """Raises an OSError that says why, as TensorFlow's own would not, if so many bytes cannot be written here."""
    probe = folder / ".room"
    try:
        with probe.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        probe.unlink(missing_ok=True)


def build_module(stored: store.StoredModel, fixed: Mapping[str, Any]) -> Module:
    """Returns a stored model as a module from text to answers, nothing of it traced yet.

    Args:
        stored: The model.
        fixed: What `ExportRun.fixed` returns.
    """
    if isinstance(stored.text, TranslationText):
        texts = stored.text
        return TranslationModule(
            network=stored.network, source_tokenizer=texts.source, target_tokenizer=texts.target, **fixed
        )
    if isinstance(stored.text, ClassificationText):
        labelled = stored.text
        return ClassificationModule(
            network=stored.network,
            reader=labelled.reader,
            labels=labelled.labels,
            temperature=labelled.temperature,
            **fixed,
        )
    words = stored.text
    return TaggingModule(
        network=stored.network, reader=words.reader, tags=words.tags, spans=words.scheme is not None, **fixed
    )


def write_saved_model(module: Module, folder: Path, fixed: Mapping[str, Any]) -> None:
    """Writes a module, what is fixed in it, and the number format of its weights into a folder."""
    # A Keras variable is saved as a copy of the TensorFlow variable that the functions read: Python's loader finds
    # its way from one to the other, and a server restores the copy alone. So the variables themselves are saved,
    # beside the module's other parts (tables and tokenizers).
    exported = tf.Module()
    exported.weights = {f"{place}.{weight.path}": weight.value for place, weight in enumerate(module.network.weights)}
    exported.parts = {name: part for name, part in vars(module).items() if isinstance(part, tf.Module)}
    tf.saved_model.save(exported, str(folder), signatures=module.signatures)
    extra = folder / "assets.extra"
    extra.mkdir()
    settings = {"weights": module.network.variable_dtype, **fixed}
    (extra / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def read_settings(folder: Path) -> tuple[str, dict[str, Any]]:
    """Returns the number format of a version's weights, and what is fixed in its graph."""
    settings = json.loads((folder / "assets.extra" / "settings.json").read_text(encoding="utf-8"))
    return settings.pop("weights"), settings


def check_operations(folder: Path) -> None:
    """Refuses a SavedModel that would not run everywhere, see `portability.problems`.

    Raises:
        ExportError: It holds an operation that TensorFlow Serving does not
            have, or of cuDNN, Python or XLA, or a device other than the CPU,
            or a function to be compiled by XLA, or a variable that no server
            restores.
    """
    found = portability.problems(folder)
    if found:
        raise ExportError(f"The export would not run everywhere: it holds {', '.join(found)}.")


def check_parity(folder: Path, module: Module, samples: Sequence[Mapping[str, Any]]) -> int:
    """Compares a SavedModel with the module it was made of, see `parity.check`.

    Empty and invalid texts and an empty batch are always among what is compared.

    Args:
        folder: The SavedModel.
        module: What it should answer like.
        samples: Held-out examples; a few sentences stand in if there are none.

    Returns:
        How many answers differed because of nearly equal scores.

    Raises:
        ExportError: They differ; the message says where.
    """
    try:
        return compare(folder, module, signature_inputs.from_samples(samples))
    except parity.ParityError as error:
        raise ExportError(f"Export refused: {error}") from error


def compare(
    folder: Path, module: Module, samples: Sequence[signature_inputs.Sample], *, python: str | None = None
) -> int:
    """Does what `check_parity` does, with samples as `signature_inputs` has them, in any interpreter.

    Raises:
        ParityError: They differ; the message says where.
    """
    tolerance = parity.TOLERANCES[module.network.compute_dtype]
    tie: parity.Tie = functools.partial(parity.near_tie, tolerance=tolerance)
    if isinstance(module, ClassificationModule):
        tie = functools.partial(parity.classification_tie, threshold=module.threshold, tolerance=tolerance)
    calls = signature_inputs.calls(module.signatures, samples)
    alternatives = "n_best" if "n_best" in calls else None
    return parity.check(
        folder, module.signatures, calls, tie, alternatives=alternatives, python=python, tolerance=tolerance
    )
