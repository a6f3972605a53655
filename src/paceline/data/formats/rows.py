"""A row of a data set through its format: columns under other names, and what no format reads."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from paceline.data.formats.row_format import Conversation, Row, RowFormat
from paceline.errors import DataError

Columns = Mapping[str, str]
# Columns that give a row a weight in other trainers' losses.
_WEIGHTS = ("weight", "sample_weight")


class _Watched(dict[str, Any]):
    """A row that remembers which of its columns were read."""

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        self.read: set[str] = set()

    def __getitem__(self, column: str) -> Any:
        self.read.add(column)
        return super().__getitem__(column)

    def get(self, column: str, default: Any = None) -> Any:
        self.read.add(column)
        return super().get(column, default)


def renamed(columns: Iterable[str], names: Columns, source: str) -> list[str]:
    """The columns as their format calls them.

    Args:
        names: {the format's name of a column: its name in the rows}.

    Raises:
        DataError: the rows have no such column.
    """
    there = list(columns)
    for wanted, name in names.items():
        if name not in there:
            raise DataError(
                f"data {source!r}: columns: {wanted} is to be {name!r}, and the rows have {', '.join(there)}"
            )
    taken = {*names, *names.values()}
    return [*names, *(column for column in there if column not in taken)]


def read_row(row_format: RowFormat, row: Row, names: Columns) -> tuple[Conversation, str]:
    """What a row says, and its task.

    The conversation's `columns` are named as the rows name them.

    Raises:
        DataError: the row cannot be read, or has a weight of its own.
    """
    moved = {wanted: row[name] for wanted, name in names.items()}
    others = {column: value for column, value in row.items() if column not in {*names, *names.values()}}
    watched = _Watched({**others, **moved})
    for column in _WEIGHTS:
        if column in row and row[column] not in (None, 1):
            raise DataError(
                f"column {column!r} is {row[column]!r}; rows have no weights here: "
                "leave the column out, or leave out the rows that should not count"
            )
    conversation = row_format.conversation(watched)
    task = row_format.task(watched)
    read = {names.get(column, column) for column in watched.read} & set(row)
    return replace(conversation, columns=frozenset(read)), task
