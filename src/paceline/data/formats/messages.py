"""Ready conversations: a list of {role, content}, as OpenAI has them."""

from paceline.data.formats.row_format import Conversation, Row, RowFormat
from paceline.data.formats.turns import read_conversation


def ready_messages(row: Row) -> Conversation:
    """The column `messages`, checked."""
    return read_conversation(row, "messages")


FORMAT = RowFormat("messages", ("messages",), ready_messages)
