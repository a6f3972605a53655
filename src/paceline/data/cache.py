"""Tables on disk under a key made of contents: memory-mapped, and built again where one is damaged."""

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets import Dataset

from paceline.data.progress import Count
from paceline.errors import DataError
from paceline.runs.files import read_json

Batches = Generator[pa.RecordBatch, None, dict[str, Any]]


@cache
def cache_folder() -> Path:
    """Where tables are kept: in the cache of `datasets`, or where that is read-only in a temporary folder."""
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "paceline"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        scratch = tempfile.mkdtemp(prefix="paceline-")
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        return Path(scratch)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_table(
    key: str, schema: Callable[[], pa.Schema], build: Callable[[], Batches], what: str
) -> tuple[Dataset, dict[str, Any]]:
    """The table of a key and the facts that its builder returned, from the disk or newly built.

    Args:
        build: yields the table's batches and returns facts that JSON can hold.
        what: what happens to the rows, such as "rows read", for whoever is told of it.
    """
    table, facts = cache_folder() / f"{key}.arrow", cache_folder() / f"{key}.json"
    if (known := _read_facts(table, facts)) is None:
        known = _store(table, facts, schema(), build(), what)
    return Dataset.from_file(str(table)), known


def _read_facts(table: Path, facts: Path) -> dict[str, Any] | None:
    """The stored facts, if they and the table are whole."""
    try:
        stored = read_json(facts)
        whole = stored["table"] == file_digest(table) and stored["digest"] == _digest(stored["facts"])
        return stored["facts"] if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _store(table: Path, facts: Path, schema: pa.Schema, batches: Batches, what: str) -> dict[str, Any]:
    scratch = table.with_suffix(f".{os.getpid()}.partial")
    try:
        with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            found = _drain(batches, writer, Count(what))
        record = {"table": file_digest(scratch), "digest": _digest(found), "facts": found}
        scratch.replace(table)
        scratch.write_text(json.dumps(record))
        scratch.replace(facts)
    finally:
        scratch.unlink(missing_ok=True)
    return found


def _drain(batches: Batches, writer: Any, count: Count) -> dict[str, Any]:
    while True:
        try:
            batch = next(batches)
        except StopIteration as end:
            return dict(end.value)
        try:
            writer.write_batch(batch)
            count.add(batch.num_rows)
        except OSError as error:
            raise DataError(f"the cache {cache_folder()} cannot be written: {error}; set HF_HOME") from error
