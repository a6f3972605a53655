"""Competitive programming, as in codeforces-cots: ready messages, or a problem's fields and an answer."""

from typing import Any

from paceline.data.formats.messages import ready_messages
from paceline.data.formats.row_format import Messages, Row, RowFormat, message
from paceline.errors import DataError

TASK = "competitive_programming"
_SYSTEM = (
    "You are an expert competitive programmer. Think about the problem step by step, "
    "then write a correct and efficient solution."
)


def problem_messages(row: Row) -> Messages:
    """Ready messages where the row has them, else built from the problem's fields and the answer."""
    if row.get("messages"):
        return ready_messages(row)
    answer = row.get("generation") or row.get("solution") or row.get("code")
    if not row.get("description") or not answer:
        raise DataError("neither `messages` nor a `description` with a `generation` to answer it")
    return [message("system", _SYSTEM), message("user", problem_text(row)), message("assistant", answer)]


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


FORMAT = RowFormat("codeforces", ("title", "description"), problem_messages, lambda row: TASK)
