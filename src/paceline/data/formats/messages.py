"""Ready conversations: a list of {role, content}."""

from paceline.data.formats.row_format import Messages, Row, RowFormat, list_of_turns, message


def ready_messages(row: Row) -> Messages:
    """The column `messages`, checked."""
    return [message(turn.get("role"), turn.get("content")) for turn in list_of_turns(row, "messages")]


FORMAT = RowFormat("messages", ("messages",), ready_messages)
