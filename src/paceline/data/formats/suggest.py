"""Columns under names that no format knows: which of them are probably a question and its answer."""

import re
from collections.abc import Collection

# What people call what a format reads, the likeliest first.
_QUESTION = ("prompt", "question", "instruction", "query", "problem", "request", "input", "user", "q")
_ANSWER = ("completion", "answer", "response", "output", "solution", "reply", "target", "assistant", "a")
_TURNS = ("messages", "conversation", "conversations", "dialogue", "dialog", "chat", "turns")
_TEXT = ("text", "content", "body", "document", "story")


def suggest_columns(columns: Collection[str]) -> dict[str, str]:
    """`data.columns` by which rows of these columns can probably be read; empty where nothing fits.

    By names alone: whether the rows can be read so is seen when they are.
    """
    if turns := _named(columns, _TURNS):
        return {"messages": turns}
    question, answer = _named(columns, _QUESTION), _named(columns, _ANSWER)
    if question and answer:
        named = {"prompt": question, "completion": answer}
        return {ours: theirs for ours, theirs in named.items() if ours != theirs}
    text = _named(columns, _TEXT)
    return {"text": text} if text else {}


def _named(columns: Collection[str], words: tuple[str, ...]) -> str | None:
    """The column that has the first of these words in its name, whole and in any case."""
    parts = {column: re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", column) for column in columns}
    for word in words:
        for column, named in parts.items():
            if word in (column.lower(), *(part.lower() for part in named)):
                return column
    return None
