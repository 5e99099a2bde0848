"""Labelled texts cut once, before training: their words or tokens as numbers, in a file.

To find the words of a text by regular expressions takes longer than a small
network takes to learn from it, and comes out the same every epoch.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import tensorflow as tf

from nlp_rnn.ahead import worked_ahead
from nlp_rnn.reading import NumberedTokenReader, NumberedWordReader, SplitTextReader, TextReader

_TEXTS_AT_ONCE = 1000
_CHUNKS_AHEAD = 2
_NUMBERS = pa.list_(pa.int32())


def cut_texts(dataset: datasets.Dataset, reader: TextReader) -> tuple[datasets.Dataset, TextReader]:
    """Cuts texts, or the texts of a part of a corpus, once for all epochs.

    The numbers lie in a file beside that of the data set, if it has one, of
    which only what a batch needs is read; the distinct words are kept in memory.

    Args:
        dataset: with columns `text`, perhaps `text_pair`, and `label`, a list of numbers.
        reader: of its texts. Cuts that it draws at random in training are not for this.

    Returns:
        The same rows with numbers, int32, in the place of each text, and what
        reads them; batches made of the two are those made of texts and `reader`.
    """
    columns = [name for name in ("text", "text_pair") if name in dataset.column_names]
    words: dict[bytes, int] = {}
    schema = pa.schema([(name, _NUMBERS) for name in (*columns, "label")])
    beside = Path(dataset.cache_files[0]["filename"]).parent if dataset.cache_files else None
    with tempfile.TemporaryDirectory(prefix="cut-", dir=beside, ignore_cleanup_errors=True) as folder:
        path = str(Path(folder) / "texts.arrow")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for cut, labels in zip(_cut(dataset, columns, reader), _chunks(dataset, ["label"]), strict=True):
                numbers = [_lists(*cut[name], words) for name in columns]
                label = labels["label"].combine_chunks().cast(_NUMBERS)
                writer.write_table(pa.table([*numbers, label], schema=schema))
        # Open files outlive their names: nothing is left behind, however the process ends.
        numbered = datasets.Dataset.from_file(path)
    if isinstance(reader, SplitTextReader):
        return numbered, NumberedWordReader(reader, list(words))
    return numbered, NumberedTokenReader(reader)


def _chunks(dataset: datasets.Dataset, columns: list[str]) -> Iterable[pa.Table]:
    return dataset.select_columns(columns).with_format("arrow").iter(_TEXTS_AT_ONCE)


def _cut(
    dataset: datasets.Dataset, columns: Sequence[str], reader: TextReader
) -> Iterator[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Gives the units of many texts at a time, one after the other, and how many are each text's."""

    def read() -> Iterator[dict[str, list[str]]]:
        for part in _chunks(dataset, list(columns)):
            yield {name: part[name].to_pylist() for name in columns}

    def cut(texts: dict[str, tf.Tensor]) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        units = {name: reader.cut(text) for name, text in texts.items()}
        return {name: (ragged.values, ragged.row_lengths()) for name, ragged in units.items()}

    signature = {name: tf.TensorSpec([None], tf.string) for name in columns}
    return worked_ahead(read, cut, signature=signature, ahead=_CHUNKS_AHEAD).as_numpy_iterator()


def _lists(units: np.ndarray, lengths: np.ndarray, words: dict[bytes, int]) -> pa.Array:
    """Returns each text's numbers; new words get the next ones, from 1 on."""
    if units.dtype == object:
        units = np.array([words.setdefault(word, len(words) + 1) for word in units.tolist()], np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(starts, pa.array(units, pa.int32()))
