"""What an interrupted training goes on from: numbered folders that appear whole, the newest of which is read.

    NAME/checkpoint/
      7/ 8/      state.json, arrays.npz

Each is written beside its place, flushed to the disk and renamed, so that a
process killed at any time leaves only whole ones. Should the disk damage one
nevertheless, its checksums tell, and the one before is read.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from nlp_rnn.config import ConfigError
from nlp_rnn.folders import add_version, versions

_log = logging.getLogger(__name__)

FORMAT = 2
_KEPT = 2
_STATE, _ARRAYS, _DIGEST = "state.json", "arrays.npz", "digest"
_ROWS_AT_ONCE = 1000
_SHOWN = 5

Arrays = Mapping[str, Sequence[np.ndarray]]


class BrokenCheckpointError(Exception):
    """A checkpoint that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A training between two steps.

    Attributes:
        state: Numbers, text, lists and dictionaries, as JSON has them, and NaN and infinity.
        arrays: Lists of arrays by name.
        data: Fingerprints of what the training read, if it was read from the disk.
    """

    state: Mapping[str, Any]
    arrays: Arrays
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: Where they are, `NAME/checkpoint`.
        settings: What the numbers of this training depend on, by name. A
            checkpoint with other ones is not gone on from.
        data: Fingerprints of what it is trained with, by what they are of.
        newest: The newest one of this training.
    """

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    newest: Path | None = None
    _own: list[Path] = field(default_factory=list)

    def write(self, snapshot: Snapshot) -> Path:
        """Adds a checkpoint, and deletes all but the newest two of this training.

        Those of an earlier training in the same folder stay until there is one of this.
        """
        content = {"format": FORMAT, "settings": self.settings, "data": self.data, "state": snapshot.state}
        self.newest = add_version(self.folder, lambda folder: _write(folder, content, snapshot.arrays))
        self._own = [*self._own, self.newest][-_KEPT:]
        for number in versions(self.folder):
            if self.folder / str(number) not in self._own:
                shutil.rmtree(self.folder / str(number), ignore_errors=True)
        return self.newest

    def read(self) -> Snapshot | None:
        """Returns the newest checkpoint that can be read, if there is one; others are told in the log.

        Raises:
            ConfigError: It was written with other settings, which are named.
        """
        for number in reversed(versions(self.folder)):
            folder = self.folder / str(number)
            try:
                content, arrays = _read(folder)
            except BrokenCheckpointError as error:
                _log.warning("%s is broken and passed over: %s", folder, error)
                continue
            self._require_same(folder, content)
            # Only whole ones: a broken one must not count as one of the two that are kept.
            self._own.insert(0, folder)
            self.newest = folder
            return Snapshot(state=content["state"], arrays=arrays, data=content["data"])
        return None

    def remove(self) -> None:
        """Deletes all checkpoints: the training has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def require_same_data(self, snapshot: Snapshot) -> None:
        """Refuses to go on with other data than a checkpoint's.

        Raises:
            ConfigError: `data` differs from what the snapshot was trained with.
        """
        changed = [name for name, value in self.data.items() if snapshot.data.get(name) != value]
        if changed:
            raise ConfigError(
                f"Since {self.newest} was written, this has changed: {', '.join(changed)}. Give what it was written "
                "with to go on from it, or train anew, without --resume."
            )

    def _require_same(self, folder: Path, content: Mapping[str, Any]) -> None:
        if content.get("format") != FORMAT:
            raise ConfigError(
                f"{folder} has format {content.get('format')}; this version of nlp_rnn goes on from format {FORMAT}. "
                "Install the version that wrote it, or train anew, without --resume."
            )
        stored, given = content["settings"], json.loads(json.dumps(self.settings))
        names = [name for name in {**stored, **given} if stored.get(name) != given.get(name)]
        if names:
            shown = [f"{name} was {stored.get(name)!r}, not {given.get(name)!r}" for name in names[:_SHOWN]]
            more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
            raise ConfigError(
                f"{folder} was written by a training with other settings: {'; '.join([*shown, *more])}. "
                "Give the same settings to go on from it, "
                # Not that anybody could, if one of them was not there to be given.
                + ("" if stored.keys() == given.keys() else "with the version of nlp_rnn that wrote it, ")
                + "or train anew, without --resume."
            )


def fingerprint_of_rows(dataset: datasets.Dataset) -> str:
    """Returns a digest of all rows and their order."""
    digest = hashlib.sha256()
    for rows in dataset.with_format(None).iter(_ROWS_AT_ONCE):
        digest.update(json.dumps(rows, default=str).encode())
    return digest.hexdigest()


def fingerprint_of_files(save: Callable[[Path], None]) -> str:
    """Returns a digest of the files that `save` writes into the folder it is given, and of their names."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            digest.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _write(folder: Path, content: Mapping[str, Any], arrays: Arrays) -> None:
    """Writes equal arrays once: frozen vectors, say, are in the present weights and in the best."""
    places: dict[str, list[str]] = {}
    stored: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        places[name] = []
        for value in values:
            described = f"{value.dtype.str}{value.shape}".encode()
            key = hashlib.sha256(described + value.tobytes()).hexdigest()
            stored[key] = value
            places[name].append(key)
    text = json.dumps({**content, "arrays": places}, indent=1).encode()
    (folder / _STATE).write_bytes(text)
    # The archive has checksums of its own content; this one is of the other file.
    stored[_DIGEST] = np.frombuffer(hashlib.sha256(text).digest(), np.uint8)
    np.savez(folder / _ARRAYS, **stored)  # type: ignore[arg-type]


def _read(folder: Path) -> tuple[dict[str, Any], Arrays]:
    try:
        text = (folder / _STATE).read_bytes()
        with (folder / _ARRAYS).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            stored = {key: archive[key] for key in archive.files}
        if stored.pop(_DIGEST).tobytes() != hashlib.sha256(text).digest():
            raise BrokenCheckpointError(f"{_STATE} is not the one that {_ARRAYS} was written with")
        content = json.loads(text)
        return content, {name: [stored[key] for key in keys] for name, keys in content.pop("arrays").items()}
    except Exception as error:  # what a damaged archive makes its readers raise has no common class
        raise BrokenCheckpointError(f"{type(error).__name__}: {error}") from error
