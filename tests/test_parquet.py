"""Parquet files: what is wrong with one, and what is not."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from nlp_rnn import parquet
from nlp_rnn.readers import DataError


def read(path: Path) -> list[dict]:
    with parquet.opened(str(path)) as (_, batches):
        return [dict(batch) for batch in batches]


def test_parquet_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A type that datasets do not know, and pages that were damaged after the file was written."""
    path = tmp_path / "a.parquet"
    maps = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32()))
    pa.parquet.write_table(pa.table({"text": ["a"], "counts": maps}), path)
    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file that can be read: .*map"):
        read(path)
    pa.parquet.write_table(pa.table({"text": [f"text {i}" for i in range(1000)]}), path, compression="snappy")
    content = bytearray(path.read_bytes())
    content[20:400] = bytes(380)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file that can be read"):
        read(path)


def test_what_happens_to_the_rows_of_a_parquet_file_is_not_blamed_on_it(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(OSError, match="disk"), parquet.opened(str(path)):
        raise OSError("no space on the disk")
