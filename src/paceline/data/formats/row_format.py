"""What a row format is: from a row's columns to messages and a task name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paceline.config.fields import Fields
from paceline.data.text import text_of
from paceline.errors import DataError

Messages = list[dict[str, str]]
Row = Fields

ROLES = {"system", "user", "assistant", "tool"}


def task_column(row: Row) -> str:
    """The task of a row that may have a column `task`; `all` where it has none."""
    return str(row.get("task") or "all")


@dataclass(frozen=True)
class RowFormat:
    """How rows of one shape are read.

    Args:
        name: what `data.format` calls it.
        columns: those that every such row has.
        messages: a row's conversation, as {role, content} with the roles of `ROLES`; raises DataError,
            without the row's number, where the row cannot be read.
        task: the name by which a row's losses are grouped and tasks are chosen.
    """

    name: str
    columns: tuple[str, ...]
    messages: Callable[[Row], Messages]
    task: Callable[[Row], str] = task_column


def required(row: Row, column: str) -> Any:
    """A column's value; DataError where it is missing or null."""
    if row.get(column) is None:
        raise DataError(f"column {column!r} is missing or null")
    return row[column]


def list_of_turns(row: Row, column: str) -> list[Fields]:
    """A column that holds a list of mappings; DataError for anything else."""
    turns = required(row, column)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise DataError(f"column {column!r} is not a list of turns")
    return turns


def message(role: Any, content: Any) -> dict[str, str]:
    """One turn; DataError for a role that no chat template knows."""
    if role not in ROLES:
        raise DataError(f"unknown role {role!r}; known: {', '.join(sorted(ROLES))}")
    return {"role": str(role), "content": "" if content is None else text_of(content, "the text of a turn")}
