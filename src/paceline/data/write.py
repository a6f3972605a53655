"""Rows to a file."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from paceline.config.fields import Fields
from paceline.data.rows import Rows
from paceline.data.text import own_keys, write_json
from paceline.errors import DataError

_BATCH = 1000


def check_ending(path: Path) -> None:
    """Refuses a file name that says neither Parquet nor JSONL."""
    if path.suffix not in (".parquet", ".jsonl"):
        raise DataError(f"{path}: the ending must be .parquet or .jsonl")


def write_rows(rows: pa.Table | Rows, path: Path) -> None:
    """Writes Parquet or JSONL, by the file's ending; the file is there whole or not at all.

    Raises:
        DataError: cannot be written, or not to the letter in this type of file.
    """
    check_ending(path)
    scratch = path.with_name(f".{path.name}.partial")
    try:
        if path.suffix == ".parquet":
            pq.write_table(_typed(rows, path), scratch, compression="zstd")
        else:
            with scratch.open("w", encoding="utf-8", newline="\n") as file:
                for number, row in enumerate(_plain(rows), 1):
                    file.write(_line(row, number, path))
        scratch.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        scratch.unlink(missing_ok=True)


def _plain(rows: pa.Table | Rows) -> Iterator[Fields]:
    if isinstance(rows, Rows):
        for start in range(0, len(rows), _BATCH):
            yield from rows.read(range(start, min(start + _BATCH, len(rows))))
    else:
        for batch in rows.to_batches(_BATCH):
            yield from batch.to_pylist()


def _line(row: Fields, number: int, path: Path) -> str:
    for column, value in row.items():
        try:
            write_json(value)
        except DataError as error:
            raise DataError(f"{path}: row {number}, column {column!r}: {error}; write .parquet") from error
    return write_json(row) + "\n"


def _typed(rows: pa.Table | Rows, path: Path) -> pa.Table:
    """Rows of text files get types, if they stand for the same values."""
    if isinstance(rows, pa.Table):
        return rows
    if not rows.files:
        return rows.table.with_format("arrow")[:]
    plain = rows.to_list()
    try:
        table = pa.Table.from_pylist([{name: row.get(name) for name in rows.columns} for row in plain])
    except pa.ArrowException as error:
        raise DataError(f"{path}: a column has values of several types ({error}); write .jsonl") from error
    for number, (before, after) in enumerate(zip(plain, table.to_pylist(), strict=True), 1):
        if write_json(own_keys(before)) != write_json(own_keys({name: after[name] for name in before})):
            raise DataError(
                f"{path}: row {number} would change in Parquet (its numbers or nulls); write .jsonl"
            )
    return table
