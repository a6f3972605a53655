"""Rows to a file."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from paceline.errors import DataError


def check_ending(path: Path) -> None:
    """Refuses a file name that says neither Parquet nor JSONL."""
    if path.suffix not in (".parquet", ".jsonl"):
        raise DataError(f"{path}: the ending must be .parquet or .jsonl")


def write_rows(rows: pa.Table, path: Path) -> None:
    """Writes Parquet or JSONL, by the file's ending; the file is there whole or not at all."""
    check_ending(path)
    scratch = path.with_name(f".{path.name}.partial")
    try:
        if path.suffix == ".parquet":
            pq.write_table(rows, scratch, compression="zstd")
        else:
            with scratch.open("w") as file:
                for batch in rows.to_batches(1000):
                    file.writelines(
                        json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in batch.to_pylist()
                    )
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
