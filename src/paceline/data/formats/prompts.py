"""What is to be answered: a prompt of a file or of a request, read as training rows are."""

from typing import Any

from paceline.data.formats.row_format import Conversation, Row
from paceline.data.formats.tools import read_tools
from paceline.data.formats.turns import list_of_turns, read_turns
from paceline.errors import DataError


def read_prompt(row: Row) -> Conversation:
    """The conversation in a row's `prompt` (text, or turns) or `messages`, up to where an answer is expected.

    The assistant's turns at its end are left out: they are a training row's answer.

    Raises:
        DataError: neither is there; a turn that cannot be read, with its number.
    """
    column = "prompt" if row.get("prompt") is not None else "messages"
    value: Any = row.get(column)
    if value is None:
        raise DataError("neither `prompt` (text) nor `messages` (a list of {role, content})")
    if column == "prompt" and isinstance(value, str):
        value = [{"role": "user", "content": value}]
    read = read_turns(list_of_turns(value, f"`{column}`"), read_tools(row.get("tools")))
    messages = read.messages
    while messages and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    if not messages:
        raise DataError(f"`{column}` holds no turn that is to be answered")
    return Conversation.of(messages, read.tools)
