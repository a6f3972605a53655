"""All rows of a data set looked at, good and bad: what it is read as, and which rows cannot be."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from paceline.config.data import Data, Source
from paceline.data.bad_rows import BadRow
from paceline.data.chat import Chat
from paceline.data.formats import recognise, renamed
from paceline.data.formats.suggest import suggest_columns
from paceline.data.mixture import SampledSource
from paceline.data.sources import read_rows
from paceline.data.tokens import tokenize
from paceline.errors import DataError


@dataclass(frozen=True)
class Examined:
    """What was found in a source.

    Args:
        rows: rows in its files, those that cannot be read included.
        looked_at: how many of them were read as conversations and tokenized, or could not be.
        format: the row format; empty where no row could be read.
        unused: columns that nothing was read from.
        bad: the rows that cannot be used: first those that cannot be read.
        lengths: tokens of each example (examples,), int64.
    """

    source: str
    rows: int
    looked_at: int
    format: str
    unused: tuple[str, ...]
    bad: tuple[BadRow, ...]
    lengths: NDArray[np.int64]

    @property
    def good(self) -> int:
        """Rows looked at that training can use."""
        return self.looked_at - len(self.bad)


def examine(data: Data, chat: Chat, most: int | None = None) -> list[Examined]:
    """Looks at the rows of each source of a data set, whatever share or subset of it is used; refuses none.

    Args:
        most: read and tokenize only so many rows of each source, spread over it.

    Raises:
        DataError: not there, not readable at all, or of no known format.
        ServiceError: the hub cannot be reached.
    """
    sources = dict.fromkeys(replace(part, subset=None, ratio=1.0) for part in data.parts())
    return [_examine(source, data, chat, most) for source in sources]


def with_suggested_columns(data: Data) -> Data:
    """The data with the mapping that its columns' names suggest, where no format has them as they are.

    Raises:
        DataError: as `read_rows`; no format has the columns, and their names suggest nothing.
    """
    source = data.parts()[0]
    columns = read_rows(source).columns
    if not columns:
        return data
    try:
        recognise(renamed(columns, dict(source.columns), source.source), source.format, source.source)
    except DataError:
        suggested = suggest_columns(columns)
        if source.columns or source.format != "auto" or not suggested:
            raise
        return data.model_copy(update={"columns": suggested})
    return data


def _examine(source: Source, data: Data, chat: Chat, most: int | None) -> Examined:
    rows = read_rows(source)
    unread = len(rows.bad)
    if not len(rows):
        return Examined(source.source, unread, unread, "", (), rows.bad, np.zeros(0, dtype=np.int64))
    picked = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most or len(rows))).astype(np.int64))
    made = tokenize(SampledSource(source, rows, picked), data, chat)
    return Examined(
        source=source.source,
        rows=len(rows) + unread,
        looked_at=len(picked) + unread,
        format=made.format,
        unused=tuple(column for column in rows.columns if column not in {*made.used, "subset"}),
        bad=(*rows.bad, *(bad for _, bad in made.bad)),
        lengths=np.asarray(pc.list_value_length(made.table.data.column("input_ids")).to_numpy()),
    )
