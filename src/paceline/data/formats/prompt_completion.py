"""A prompt and its completion, each a text or a list of messages (or its JSON text), as TRL has them."""

from dataclasses import replace
from typing import Any

from paceline.config.fields import Fields
from paceline.data.formats.pairs import after_what_was_said
from paceline.data.formats.row_format import Conversation, Row, RowFormat, required, text_of
from paceline.data.formats.tools import read_tools
from paceline.data.formats.turns import is_text_of_turns, read_turns
from paceline.data.text import read_json
from paceline.errors import DataError


def _conversation(row: Row) -> Conversation:
    given = after_what_was_said(row, _turns(row, "prompt", "user"))
    answer = _turns(row, "completion", "assistant")
    read = read_turns([*given, *answer], read_tools(row.get("tools")))
    # an assistant's turn inside the prompt is given, not learned
    learned = tuple(on and place >= len(given) for place, on in enumerate(read.supervised))
    return replace(read, supervised=learned)


def _turns(row: Row, column: str, role: str) -> list[Fields]:
    value: Any = required(row, column)
    if isinstance(value, str) and is_text_of_turns(value):  # as CSV has them
        value = read_json(value)
    if not isinstance(value, list):
        return [{"role": role, "content": text_of(row, column)}]
    if not all(isinstance(turn, dict) for turn in value):
        raise DataError(f"column {column!r} holds a list, but not of turns")
    return value


FORMAT = RowFormat("prompt-completion", ("prompt", "completion"), _conversation)
