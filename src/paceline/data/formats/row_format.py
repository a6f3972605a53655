"""What a row format is: from a row's columns to a conversation and a task name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paceline.config.fields import Fields
from paceline.data import text
from paceline.errors import DataError

# Turns as chat templates take them: role and content, and where there are any reasoning_content, tool_calls,
# tool_call_id and name.
Messages = list[dict[str, Any]]
Row = Fields

ROLES = {"system", "developer", "user", "assistant", "tool"}


@dataclass(frozen=True)
class Conversation:
    """A row as it is to be learned.

    Args:
        messages: the turns.
        supervised: for each turn whether it is to be learned; only the assistant's can be.
        tools: what the assistant may call, as JSON schemas.
        text: a text without turns, in place of messages.
        unused: keys of turns that nothing reads, each once.
        columns: the row's columns that were read.
        weight: what the loss of its supervised tokens counts, beside 1 for a row without a weight.
    """

    messages: Messages
    supervised: tuple[bool, ...]
    tools: list[Fields] | None = None
    text: str | None = None
    unused: tuple[str, ...] = ()
    columns: frozenset[str] = frozenset()
    weight: float = 1.0

    @classmethod
    def of(cls, messages: Messages, tools: list[Fields] | None = None) -> "Conversation":
        """A conversation of which every assistant's turn is learned."""
        return cls(messages, tuple(turn["role"] == "assistant" for turn in messages), tools)

    @property
    def teaches(self) -> bool:
        """Whether there is anything to learn: a text, or a supervised turn that says or calls something."""
        return bool((self.text or "").strip()) or any(
            on and says_anything(turn) for turn, on in zip(self.messages, self.supervised, strict=True)
        )


def says_anything(turn: Fields) -> bool:
    """Whether a turn has content, a thought or a call."""
    return bool(turn["content"].strip() or turn.get("reasoning_content") or turn.get("tool_calls"))


def task_column(row: Row) -> str:
    """The task of a row that may have a column `task`; `all` where it has none."""
    return str(row.get("task") or "all")


@dataclass(frozen=True)
class RowFormat:
    """How rows of one shape are read.

    Args:
        name: what `data.format` calls it.
        columns: those that every such row has.
        conversation: what a row says; raises DataError, without the row's number, where the row cannot be
            read.
        task: the name by which a row's losses are grouped and tasks are chosen.
    """

    name: str
    columns: tuple[str, ...]
    conversation: Callable[[Row], Conversation]
    task: Callable[[Row], str] = task_column


def required(row: Row, column: str) -> Any:
    """A column's value; DataError where it is missing or null."""
    if row.get(column) is None:
        raise DataError(f"column {column!r} is missing or null")
    return row[column]


def text_of(row: Row, column: str) -> str:
    """A column as text, letter for letter; DataError for what has no text in the file."""
    value = required(row, column)
    if isinstance(value, list) and any(isinstance(part, dict) and "type" in part for part in value):
        raise DataError(f"column {column!r} holds parts of a message; write it as text, or use `messages`")
    return text.text_of(value, f"column {column!r}")


def kind_of(value: Any) -> str:
    """What a value is, in the words of JSON."""
    kinds = {bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else kinds.get(type(value), f"a {type(value).__name__}")
