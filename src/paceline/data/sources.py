"""Rows from a hub data set or from local files."""

import hashlib
from logging import CRITICAL
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from paceline import embedded
from paceline.config.base_names import is_hub_id
from paceline.config.data import Source
from paceline.data.bad_rows import BadRow, refuse_too_many
from paceline.data.cache import Batches, cached_table, file_digest
from paceline.data.hub import hub_rows
from paceline.data.paths import ENDINGS, ending, find_files, is_pattern
from paceline.data.read_text import read_text_rows
from paceline.data.rows import Rows
from paceline.errors import DataError, nearest

EMBEDDED = {
    "embedded:rust": embedded.RUST,
    "embedded:twix": embedded.TWIX,
    "embedded:codeforces": embedded.CODEFORCES,
}
_TEXT_SCHEMA = pa.schema(
    [("text", pa.large_string()), ("file", pa.int32()), ("line", pa.int64()), ("subset", pa.string())]
)
_BATCH = 1000
READ = "rows read"
# Part of every key: raised when the same file is read as something else than before.
_READING = "1"


def load_rows(source: Source) -> Rows:
    """All rows of the source's split, memory-mapped; bad ones are left out, within the source's limit.

    Raises:
        DataError: as `read_rows`; empty, or too many bad rows.
        ServiceError: the hub cannot be reached.
    """
    rows = read_rows(source)
    refuse_too_many(source.source, rows.bad, len(rows) + len(rows.bad), source.max_bad_rows)
    if len(rows) == 0:
        raise DataError(f"data {source.source!r}: split {source.split!r} has no rows")
    return rows


def read_rows(source: Source) -> Rows:
    """The same, however many of them are bad.

    Raises:
        DataError: not there, not readable (with file and line where there is one), or no such split.
        ServiceError: the hub cannot be reached.
    """
    datasets.disable_progress_bars()
    # its error log holds a traceback; what it raises is told in one line
    datasets.logging.set_verbosity(CRITICAL)
    check_source(source)
    path = _path(source)
    if path.is_dir() and ((path / "state.json").exists() or (path / "dataset_dict.json").exists()):
        return _saved(path, source)
    if path.exists() or is_pattern(source.source):
        return _files(source, path)
    table = hub_rows(source)
    return Rows(table, table._fingerprint, tuple(table.column_names))


def check_source(source: Source) -> None:
    """Refuses what can only be a file and is not there; reads nothing and asks no hub.

    Raises:
        DataError: no such file or folder; a field that only a hub data set has.
    """
    if not source.source.strip():
        raise DataError(f"data {source.source!r}: no name; give a file, a folder or a hub data set id")
    path = _path(source)
    if path.exists() or is_pattern(source.source):
        hub_only = {"config": source.config, "revision": source.revision, "stream": source.stream_rows}
        if given := next((name for name, value in hub_only.items() if value is not None), None):
            raise DataError(
                f"data {source.source!r}: data.{given} is for hub data sets, and this is a local file"
            )
    if path.exists():
        return
    if source.source.startswith("embedded:"):
        raise DataError(f"data {source.source!r}: no such sample{nearest(source.source, EMBEDDED)}")
    if is_pattern(source.source):
        find_files(source.source, path, source.split)
    elif not is_hub_id(source.source) or ending(source.source) in ENDINGS:
        where = "" if path.is_absolute() else f" in {Path.cwd()}, where the command runs"
        raise DataError(f"data {source.source!r}: no such file or folder{where}")


def is_on_hub(source: Source) -> bool:
    """Whether a source is a hub data set's id.

    Raises:
        DataError: as `check_source`.
    """
    check_source(source)
    return not _path(source).exists() and not is_pattern(source.source)


def _path(source: Source) -> Path:
    return EMBEDDED.get(source.source, Path(source.source).expanduser())


def _files(source: Source, path: Path) -> Rows:
    files = find_files(source.source, path, source.split)
    for file in files:
        if file.stat().st_size == 0:
            raise DataError(f"data {file}: the file is empty")
    kind = ending(files[0])
    try:
        contents = [file_digest(file) for file in files]
    except OSError as error:
        raise DataError(f"data {source.source!r}: cannot be read ({error.strerror})") from error
    key = hashlib.sha256("\n".join([_READING, kind, *contents]).encode()).hexdigest()
    if kind == ".parquet":
        table = _parquet(files, key)
        return Rows(table, key, tuple(table.column_names))
    table, facts = cached_table(key, lambda: _TEXT_SCHEMA, lambda: _text_batches(files), READ)
    bad = [BadRow(f"{files[file]} line {line}", kind, reason) for file, line, kind, reason in facts["bad"]]
    return Rows(table, key, tuple(facts["columns"]), tuple(map(str, files)), tuple(bad))


def _text_batches(files: list[Path]) -> Batches:
    """Rows as JSON text, in batches; the facts are the columns and the bad rows."""
    columns: dict[str, None] = {}
    bad: list[tuple[int, int, str, str]] = []
    batch: list[dict[str, Any]] = []
    for number, file in enumerate(files):
        for row in read_text_rows(file):
            if row.fields is None:
                bad.append((number, row.line, row.kind, row.reason))
                continue
            columns.update(dict.fromkeys(row.fields))
            subset = row.fields.get("subset")
            batch.append(
                {
                    "text": row.text,
                    "file": number,
                    "line": row.line,
                    "subset": subset if isinstance(subset, str) else None,
                }
            )
            if len(batch) == _BATCH:
                yield pa.RecordBatch.from_pylist(batch, _TEXT_SCHEMA)
                batch = []
    yield pa.RecordBatch.from_pylist(batch, _TEXT_SCHEMA)
    return {"columns": list(columns), "bad": bad}


def _parquet(files: list[Path], key: str) -> Dataset:
    try:
        schemas = [pq.read_schema(file) for file in files]
        for file, schema in zip(files, schemas, strict=True):
            if not schema.equals(schemas[0]):
                raise DataError(f"data {file}: its columns or their types are not those of {files[0]}")
        return cached_table(key, lambda: schemas[0], lambda: _parquet_batches(files, schemas[0]), READ)[0]
    except (pa.ArrowException, OSError, ValueError) as error:  # a type that `datasets` does not know
        raise DataError(f"data {files[0]}: cannot be read: {str(error).splitlines()[0]}") from error


def _parquet_batches(files: list[Path], schema: pa.Schema) -> Batches:
    for file in files:
        # without a batch size a file of one row group is read at once
        for batch in pq.ParquetFile(file).iter_batches(_BATCH):
            yield batch.cast(schema)
    return {}


def _saved(path: Path, source: Source) -> Rows:
    """A folder that `Dataset.save_to_disk` wrote."""
    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:  # the library raises many kinds
        raise DataError(f"data {path}: cannot be read: {(str(error).splitlines() or [''])[0]}") from error
    if isinstance(saved, datasets.DatasetDict):
        if source.split not in saved:
            raise DataError(
                f"data {path}: no split {source.split!r}{nearest(source.split, saved)}; "
                f"there are {', '.join(saved)}"
            )
        saved, path = saved[source.split], path / source.split
    files = sorted(file for file in path.iterdir() if file.is_file())
    key = hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()
    return Rows(saved, key, tuple(saved.column_names))
