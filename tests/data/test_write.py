"""Rows to a file, whole or not at all."""

from pathlib import Path

import pyarrow as pa
import pytest

from paceline.config.data import Source
from paceline.data.sources import load_rows
from paceline.data.write import check_ending, write_rows
from paceline.errors import DataError

ROWS = [{"prompt": f"é{i}", "completion": "a"} for i in range(3)]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    write_rows(pa.Table.from_pylist(ROWS), tmp_path / name)
    assert load_rows(Source(str(tmp_path / name))).to_list() == ROWS
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the ending must be"):
        check_ending(tmp_path / "rows.txt")
    with pytest.raises(DataError, match="cannot be written"):
        write_rows(pa.Table.from_pylist(ROWS), tmp_path / "no" / "rows.jsonl")
