"""A row of a data set through its format: columns under other names, and what no format reads."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from paceline.data.formats.row_format import Conversation, Row, RowFormat
from paceline.errors import DataError

Columns = Mapping[str, str]
# What `data.columns` calls the column that weighs rows; no format has a column of that name.
WEIGHT = "weight"
# Columns that give a row a weight in other trainers' losses.
WEIGHTS = (WEIGHT, "sample_weight")
# The largest number in single precision: sums of such weights are still numbers in double precision.
_LARGEST = 3.4e38


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
        DataError: the row cannot be read, or has a weight that is none or that nothing reads.
    """
    moved = {wanted: row[name] for wanted, name in names.items() if name in row}
    others = {column: value for column, value in row.items() if column not in {*names, *names.values()}}
    weight = _weight(names[WEIGHT], moved.pop(WEIGHT, None)) if WEIGHT in names else 1.0
    for column in WEIGHTS:
        if column in row and column != names.get(WEIGHT) and row[column] not in (None, 1, "1"):
            raise DataError(
                f"column {column!r} is {row[column]!r}, and nothing reads it: "
                f"to weigh rows by it say data.columns: {{weight: {column}}}, else leave the column out"
            )
    watched = _Watched({**others, **moved})
    conversation = row_format.conversation(watched)
    task = row_format.task(watched)
    read = {names.get(column, column) for column in watched.read | ({WEIGHT} & set(names))} & set(row)
    return replace(conversation, columns=frozenset(read), weight=weight), task


def _weight(column: str, value: Any) -> float:
    """A row's weight: a number, or text of one, since a CSV file holds nothing else."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        weight = float(value)
        if not 0 <= weight < _LARGEST:
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"column {column!r} is {value!r}, and a row's weight is a number from 0 (not learned) "
            f"to {_LARGEST:g}"
        ) from error
    return weight
