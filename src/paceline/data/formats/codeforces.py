"""Competitive programming, as in codeforces-cots: ready messages, or a problem's fields and an answer."""

from typing import Any

from paceline.data.formats.messages import ready_messages
from paceline.data.formats.row_format import Conversation, Messages, Row, RowFormat, kind_of
from paceline.errors import DataError

TASK = "competitive_programming"
_SYSTEM = (
    "You are an expert competitive programmer. Think about the problem step by step, "
    "then write a correct and efficient solution."
)


def problem_conversation(row: Row) -> Conversation:
    """Ready messages where the row has them, else built from the problem's fields and the answer."""
    return ready_messages(row) if row.get("messages") else Conversation.of(problem_messages(row))


def problem_messages(row: Row) -> Messages:
    """System text, problem and answer."""
    answer = row.get("generation") or row.get("solution") or row.get("code")
    if not row.get("description") or not answer:
        raise DataError("neither `messages` nor a `description` with a `generation` to answer it")
    if not isinstance(answer, str):
        raise DataError(f"the answer is {kind_of(answer)}, not text")
    turns = {"system": _SYSTEM, "user": problem_text(row), "assistant": answer}
    return [{"role": role, "content": content} for role, content in turns.items()]


def problem_text(row: Row) -> str:
    """A problem as text: title, limits, description, formats, examples, note; missing ones are left out."""
    limits = [
        f"{name} limit: {row[key]}"
        for name, key in (("Time", "time_limit"), ("Memory", "memory_limit"))
        if row.get(key)
    ]
    parts = [f"# {row['title']}" if row.get("title") else "", "\n".join(limits), row["description"]]
    for heading, key in (("Input", "input_format"), ("Output", "output_format")):
        parts.append(f"## {heading}\n{row[key]}" if row.get(key) else "")
    for number, example in enumerate(row.get("examples") or [], 1):
        given, expected = _block(example["input"]), _block(example["output"])
        parts.append(f"## Example {number}\nInput:\n{given}\nOutput:\n{expected}")
    parts.append(f"## Note\n{row['note']}" if row.get("note") else "")
    return "\n\n".join(str(part) for part in parts if part)


def _block(text: Any) -> str:
    return "```\n" + str(text).strip("\n") + "\n```"


FORMAT = RowFormat("codeforces", ("title", "description"), problem_conversation, lambda row: TASK)
