"""Row formats: from a row's columns to messages and a task name."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from paceline.data import strandset
from paceline.errors import DataError

Messages = list[dict[str, str]]
Row = dict[str, Any]

ROLES = {"system", "user", "assistant", "tool"}
_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
}
_SOLVER = "You are an expert competitive programmer. Think about the problem step by step, then write a correct and efficient solution."


@dataclass(frozen=True)
class RowFormat:
    """How rows of one shape are read. `columns` are the ones that every such row has; `example` tells a user what was expected."""

    columns: tuple[str, ...]
    messages: Callable[[Row], Messages]
    task: Callable[[Row], str]


def _plain(row: Row) -> Messages:
    return [_turn(m.get("role"), m.get("content")) for m in _list(row, "messages")]


def _sharegpt(row: Row) -> Messages:
    turns = []
    for turn in _list(row, "conversations"):
        role = turn.get("from", turn.get("role"))
        turns.append(_turn(_SHAREGPT_ROLES.get(str(role), role), turn.get("value", turn.get("content"))))
    return turns


def _prompt_completion(row: Row) -> Messages:
    prompt, completion = _need(row, "prompt"), _need(row, "completion")
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    after = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
    return [_turn(m.get("role"), m.get("content")) for m in [*before, *after]]


def _alpaca(row: Row) -> Messages:
    question = "\n\n".join(part for part in (_need(row, "instruction"), row.get("input")) if part)
    system = [_turn("system", row["system"])] if row.get("system") else []
    return [*system, _turn("user", question), _turn("assistant", _need(row, "output"))]


def _codeforces(row: Row) -> Messages:
    """Ready messages where the row has them, else built from the problem's fields and the generated answer."""
    if row.get("messages"):
        return _plain(row)
    answer = row.get("generation") or row.get("solution") or row.get("code")
    if not row.get("description") or not answer:
        raise DataError("neither `messages` nor a `description` with a `generation` to answer it")
    return [_turn("system", _SOLVER), _turn("user", problem_text(row)), _turn("assistant", answer)]


def problem_text(row: Row) -> str:
    """A competitive-programming problem as text: title, limits, description, formats, examples, note; missing ones are left out."""
    limits = [
        f"{name} limit: {row[key]}"
        for name, key in (("Time", "time_limit"), ("Memory", "memory_limit"))
        if row.get(key)
    ]
    parts = [f"# {row['title']}" if row.get("title") else "", "\n".join(limits), row["description"]]
    for heading, key in (("Input", "input_format"), ("Output", "output_format")):
        parts.append(f"## {heading}\n{row[key]}" if row.get(key) else "")
    for number, example in enumerate(row.get("examples") or [], 1):
        parts.append(
            f"## Example {number}\nInput:\n```\n{_strip(example['input'])}\n```\nOutput:\n```\n{_strip(example['output'])}\n```"
        )
    parts.append(f"## Note\n{row['note']}" if row.get("note") else "")
    return "\n\n".join(str(part) for part in parts if part)


def _strip(text: Any) -> str:
    return str(text).strip("\n")


def _need(row: Row, column: str) -> Any:
    if row.get(column) is None:
        raise DataError(f"column {column!r} is missing or null")
    return row[column]


def _list(row: Row, column: str) -> list[dict[str, Any]]:
    turns = _need(row, column)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise DataError(f"column {column!r} is not a list of turns")
    return turns


def _turn(role: Any, content: Any) -> dict[str, str]:
    if role not in ROLES:
        raise DataError(f"unknown role {role!r}; known: {', '.join(sorted(ROLES))}")
    return {"role": str(role), "content": "" if content is None else str(content)}


FORMATS: dict[str, RowFormat] = {
    "strandset": RowFormat(
        ("task_category", "input_data", "output_data"),
        strandset.to_messages,
        lambda row: str(row["task_category"]),
    ),
    "codeforces": RowFormat(("title", "description"), _codeforces, lambda row: "competitive_programming"),
    "twix": RowFormat(("messages", "subset"), _plain, lambda row: str(row["subset"])),
    "messages": RowFormat(("messages",), _plain, lambda row: str(row.get("task") or "all")),
    "sharegpt": RowFormat(("conversations",), _sharegpt, lambda row: str(row.get("task") or "all")),
    "prompt-completion": RowFormat(
        ("prompt", "completion"), _prompt_completion, lambda row: str(row.get("task") or "all")
    ),
    "alpaca": RowFormat(("instruction", "output"), _alpaca, lambda row: str(row.get("task") or "all")),
}


def recognise(columns: Collection[str], wanted: str, source: str) -> str:
    """The name of the format that rows with these columns have; the first fitting one, the special before the general.

    Raises:
        DataError: no format fits, or the wanted one lacks a column.
    """
    if wanted != "auto":
        if missing := [name for name in FORMATS[wanted].columns if name not in columns]:
            raise DataError(
                f"data {source!r}: format {wanted} needs column {missing[0]!r}; the rows have {', '.join(columns)}"
            )
        return wanted
    for name, row_format in FORMATS.items():
        if all(column in columns for column in row_format.columns):
            return name
    known = "; ".join(f"{name}: {', '.join(f.columns)}" for name, f in FORMATS.items())
    raise DataError(f"data {source!r}: no format has the columns {', '.join(columns)} (known: {known})")
