"""Rows of a data set on the hub, through `datasets`."""

import hashlib

import datasets
import pyarrow as pa
from datasets import Dataset

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


def hub_rows(source: Source) -> Dataset:
    """The rows of a hub data set's split: downloaded whole, or the first of them streamed.

    Raises:
        DataError: no such data set, configuration or split.
        ServiceError: the hub cannot be reached.
    """
    try:
        if source.stream_rows is not None:
            return _streamed(source)
        return datasets.load_dataset(
            source.source, source.config, split=source.split, revision=source.revision
        )
    except ValueError as error:
        if "split" in str(error):
            known = datasets.get_dataset_split_names(source.source, source.config, revision=source.revision)
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


def _streamed(source: Source) -> Dataset:
    """The first rows of the split, or of its subset, held in memory."""
    stream = datasets.load_dataset(
        source.source, source.config, split=source.split, revision=source.revision, streaming=True
    )
    if source.subset is not None:
        stream = stream.filter(lambda row: row.get("subset") == source.subset)
    first = Dataset.from_list(list(stream.take(source.stream_rows)), features=stream.features)
    return Dataset(first.data, fingerprint=_digest(first.data.table))


def _digest(table: pa.Table) -> str:
    """A digest of a table's content."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _unreachable(error: BaseException) -> bool:
    """Whether a connection failed, by any of the errors that led to this one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | TimeoutError) or type(cause).__name__ in _NETWORK_ERRORS:
            return True
        cause = cause.__cause__ or cause.__context__
    return False
