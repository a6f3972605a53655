"""Rows from a hub data set or from local files, through `datasets`."""

import json
from logging import CRITICAL
from pathlib import Path

import datasets
from datasets import Dataset

from paceline import embedded
from paceline.config.data import Data
from paceline.errors import DataError, nearest

_READERS = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".parquet": "parquet", ".csv": "csv"}
EMBEDDED = {
    "embedded:rust": embedded.RUST,
    "embedded:twix": embedded.TWIX,
    "embedded:codeforces": embedded.CODEFORCES,
}


def load_rows(data: Data) -> Dataset:
    """All rows of the source's split, memory-mapped.

    Raises:
        DataError: not found, not readable (with file and line where there is one), no such split, or empty.
    """
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(
        CRITICAL
    )  # its error log holds a traceback; what it raises is told in a line
    source = EMBEDDED.get(data.source, Path(data.source))
    rows = _local(source, data) if source.exists() else _hub(data)
    if len(rows) == 0:
        raise DataError(f"data {data.source!r}: split {data.split!r} has no rows")
    return rows


def _local(path: Path, data: Data) -> Dataset:
    files = sorted(p for p in path.rglob("*") if p.suffix in _READERS) if path.is_dir() else [path]
    if not files:
        raise DataError(f"data {path}: no {', '.join(_READERS)} file in this folder")
    if path.is_dir() and (named := [p for p in files if p.stem.split("-")[0] == data.split]):
        files = named
    suffixes = {p.suffix for p in files}
    if len(suffixes) > 1 or not suffixes <= set(_READERS):
        raise DataError(
            f"data {path}: files of type {', '.join(sorted(suffixes))}; expected one of {', '.join(_READERS)}"
        )
    for file in files:
        if file.stat().st_size == 0:
            raise DataError(f"data {file}: the file is empty")
    try:
        reader = _READERS[suffixes.pop()]
        batches = (
            {"batch_size": 1000} if reader == "parquet" else {}
        )  # else a file of one row group is read at once
        return datasets.load_dataset(reader, data_files=[str(p) for p in files], split="train", **batches)
    except Exception as error:
        for file in files:
            _explain_json(file)
        cause = error.__cause__ or error
        raise DataError(f"data {path}: cannot be read: {str(cause).splitlines()[0]}") from error


def _explain_json(file: Path) -> None:
    """Finds the line that a JSON reader stumbled over."""
    if _READERS.get(file.suffix) != "json":
        return
    text = file.read_text(errors="replace")
    if text.lstrip().startswith("["):
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"data {file} line {error.lineno}: broken JSON ({error.msg})") from error
        return
    for number, line in enumerate(text.splitlines(), 1):
        try:
            fine = not line.strip() or isinstance(json.loads(line), dict)
        except json.JSONDecodeError as error:
            raise DataError(
                f"data {file} line {number}: broken JSON ({error.msg} at column {error.colno})"
            ) from error
        if not fine:
            raise DataError(f"data {file} line {number}: expected an object with the row's fields")


def _hub(data: Data) -> Dataset:
    if data.source.startswith((".", "/", "~")) or Path(data.source).suffix in _READERS:
        raise DataError(f"data {data.source!r}: no such file or folder")
    try:
        return datasets.load_dataset(data.source, data.config, split=data.split)
    except ValueError as error:
        if "split" in str(error):
            known = datasets.get_dataset_split_names(data.source, data.config)
            raise DataError(
                f"data {data.source!r}: no split {data.split!r}{nearest(data.split, known)}; there are {', '.join(known)}"
            ) from error
        raise DataError(f"data {data.source!r}: {str(error).splitlines()[0]}") from error
    except Exception as error:  # the hub's client raises many kinds, for the network and for the id alike
        raise DataError(
            f"data {data.source!r}: neither a local file nor a data set that the hub gives ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
