"""Data sets by name: on the hub, in a folder, or embedded; and what to do when one cannot be had."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import datasets

from nlp_rnn import samples
from nlp_rnn.config import ConfigError
from nlp_rnn.readers import DataError

_EXPECTED = (
    "Expected a hub id whose repository holds data files, a folder of data files or one written by save_to_disk, or "
    "sample:NAME."
)


Splits = Mapping[str, datasets.Dataset] | Mapping[str, datasets.IterableDataset]


def load_dataset(name: str, config: str | None, *, revision: str | None = None, streaming: bool = False) -> Splits:
    """Returns the splits of a data set, by their names there.

    Args:
        name: A hub id, a folder, or `sample:NAME`. What was downloaded once is
            found again where the hub cannot be reached.
        config: The hub data set's configuration, if it has several.
        revision: The hub data set's branch, tag or commit; the newest state if None.
        streaming: Download nothing, and return streams.

    Raises:
        DataError: It cannot be loaded; the message says why, and what to do.
        ConfigError: `config` or `revision` is given for what has none.
    """
    embedded, local = name.startswith("sample:"), Path(name).is_dir()
    stored = any((Path(name) / file).is_file() for file in ("dataset_dict.json", "state.json"))
    for setting, given, unused in (
        ("dataset_config", config, embedded or stored),
        ("dataset_revision", revision, embedded or local),
    ):
        if given is not None and unused:
            what = "a sample" if embedded else "a folder here"
            raise ConfigError(f"{setting} is for data sets of the hub, but {name!r} is {what}: leave {setting} out.")
    if embedded:
        sample = name.removeprefix("sample:")
        if sample not in samples.names():
            known = ", ".join(f"sample:{known}" for known in samples.names())
            raise DataError(f"Unknown sample {name!r}: expected one of {known}.")
        return _streamed(samples.load(sample)) if streaming else samples.load(sample)
    with explained(f"The data set {name!r} could not be loaded"):
        if stored:
            loaded = datasets.load_from_disk(name)
            splits = loaded if isinstance(loaded, Mapping) else {"train": loaded}
            return _streamed(splits) if streaming else splits
        return datasets.load_dataset(name, config, revision=revision, streaming=streaming)


def _streamed(splits: Mapping[str, datasets.Dataset]) -> Mapping[str, datasets.IterableDataset]:
    return {name: dataset.with_format(None).to_iterable_dataset() for name, dataset in splits.items()}


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns what goes wrong with a data set, in its files or on the way to them, into a DataError.

    Args:
        what: What could not be done, as the message begins.

    Raises:
        DataError: The message says why, and what to do.
    """
    try:
        yield
    except Exception as error:  # of many kinds: the hub, the network, the files' formats
        raise DataError(f"{what}: {_reason(error)}. {_mend(error)}") from error


def _reason(error: BaseException) -> str:
    """Returns what went wrong on one line; where a library only says that something did, what that was."""
    if isinstance(error, datasets.exceptions.DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _mend(error: Exception) -> str:
    if isinstance(error, datasets.exceptions.DatasetNotFoundError):
        first = "Ask for access on its page, then" if "gated" in str(error) else "Check its spelling; if it is private,"
        return f"{first} log in with `hf auth login`. {_EXPECTED}"
    if isinstance(error, ConnectionError):
        return (
            "Check the connection, and HF_ENDPOINT and HF_HUB_OFFLINE if you have set them; only what was downloaded "
            f"before is found without the hub. {_EXPECTED}"
        )
    if isinstance(error, ValueError) and "config" in str(error).lower():
        return "Name a configuration with --dataset-config."
    return _EXPECTED
