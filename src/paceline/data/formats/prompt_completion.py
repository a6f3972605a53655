"""A prompt and its completion, each a text or a list of messages, as TRL has them."""

from paceline.data.formats.row_format import Messages, Row, RowFormat, list_of_turns, message, required


def _messages(row: Row) -> Messages:
    return [*_turns(row, "prompt", "user"), *_turns(row, "completion", "assistant")]


def _turns(row: Row, column: str, role: str) -> Messages:
    """A list is turns, all else the text of one."""
    if isinstance(required(row, column), list):
        return [message(turn.get("role"), turn.get("content")) for turn in list_of_turns(row, column)]
    return [message(role, row[column])]


FORMAT = RowFormat("prompt-completion", ("prompt", "completion"), _messages)
