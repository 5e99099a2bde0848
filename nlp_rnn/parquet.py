"""Parquet files as batches of columns; whatever is wrong with one is told in one sentence."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet

from nlp_rnn.config import DataError

_BATCH_ROWS = 1000

Batches = Iterator[Mapping[str, list[Any]]]


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[datasets.Features, Batches]]:
    """Opens a file; gives what its columns hold, and their values, some rows at a time.

    Raises:
        DataError: It is no Parquet file, is damaged, or holds what datasets do not.
    """
    with _errors(path):
        file = pyarrow.parquet.ParquetFile(path)
    with file:
        with _errors(path):
            features = datasets.Features.from_arrow_schema(file.schema_arrow)
        yield features, _batches(file, path)


def _batches(file: pyarrow.parquet.ParquetFile, path: str) -> Batches:
    batches = file.iter_batches(batch_size=_BATCH_ROWS)
    while True:
        # Not around the `yield`: what happens to the rows outside is no error of the file.
        with _errors(path):
            batch = next(batches, None)
            columns = None if batch is None else batch.to_pydict()
        if columns is None:
            return
        yield columns


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} is not a Parquet file that can be read: {error}") from error
