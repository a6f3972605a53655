"""Rows from a hub data set or from local files, through `datasets`."""

import json
from logging import CRITICAL
from pathlib import Path

import datasets
from datasets import Dataset

from paceline import embedded
from paceline.config.data import Source
from paceline.errors import DataError, ServiceError, nearest

# By name, since they are those of whichever client the hub's library has: httpx, requests or its own.
_NETWORK_ERRORS = {
    "ConnectError",
    "ConnectTimeout",
    "ReadTimeout",
    "OfflineModeIsEnabled",
    "LocalEntryNotFoundError",
}
_READERS = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".parquet": "parquet", ".csv": "csv"}
EMBEDDED = {
    "embedded:rust": embedded.RUST,
    "embedded:twix": embedded.TWIX,
    "embedded:codeforces": embedded.CODEFORCES,
}


def load_rows(source: Source) -> Dataset:
    """All rows of the source's split, memory-mapped.

    Raises:
        DataError: not there, not readable (with file and line where there is one), no such split, or empty.
        ServiceError: the hub cannot be reached.
    """
    datasets.disable_progress_bars()
    # its error log holds a traceback; what it raises is told in one line
    datasets.logging.set_verbosity(CRITICAL)
    path = _path(source)
    rows = _local(path, source.split) if path.exists() else _hub(source)
    if len(rows) == 0:
        raise DataError(f"data {source.source!r}: split {source.split!r} has no rows")
    return rows


def check_source(source: Source) -> None:
    """Refuses what can only be a file and is not there; reads nothing and asks no hub.

    Raises:
        DataError: no such file or folder.
    """
    looks_local = (
        source.source.startswith((".", "/", "~", "embedded:")) or Path(source.source).suffix in _READERS
    )
    if looks_local and not _path(source).exists():
        raise DataError(
            f"data {source.source!r}: no such file or folder"
            if not source.source.startswith("embedded:")
            else f"data {source.source!r}: no such sample{nearest(source.source, EMBEDDED)}"
        )


def _path(source: Source) -> Path:
    return EMBEDDED.get(source.source, Path(source.source))


def _local(path: Path, split: str) -> Dataset:
    files = sorted(p for p in path.rglob("*") if p.suffix in _READERS) if path.is_dir() else [path]
    if not files:
        raise DataError(f"data {path}: no {', '.join(_READERS)} file in this folder")
    if path.is_dir() and (named := [p for p in files if p.stem.split("-")[0] == split]):
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
        # without a batch size a Parquet file of one row group is read at once
        batches = {"batch_size": 1000} if reader == "parquet" else {}
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


def _hub(source: Source) -> Dataset:
    check_source(source)
    try:
        return datasets.load_dataset(source.source, source.config, split=source.split)
    except ValueError as error:
        if "split" in str(error):
            known = datasets.get_dataset_split_names(source.source, source.config)
            raise DataError(
                f"data {source.source!r}: no split {source.split!r}{nearest(source.split, known)}; "
                f"there are {', '.join(known)}"
            ) from error
        raise DataError(f"data {source.source!r}: {str(error).splitlines()[0]}") from error
    except Exception as error:  # the hub's client raises many kinds, for the network and for the id alike
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if _unreachable(error):
            raise ServiceError(
                f"data {source.source!r}: no such file here, and the hub cannot be reached ({reason})"
            ) from error
        raise DataError(
            f"data {source.source!r}: neither a local file nor a data set that the hub gives ({reason})"
        ) from error


def _unreachable(error: BaseException) -> bool:
    """Whether a connection failed, by any of the errors that led to this one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | TimeoutError) or type(cause).__name__ in _NETWORK_ERRORS:
            return True
        cause = cause.__cause__ or cause.__context__
    return False
