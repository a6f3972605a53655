"""Text without turns: every token is learned, and the end of the text after it."""

from paceline.data.formats.row_format import Conversation, Row, RowFormat, text_of


def _text(row: Row) -> Conversation:
    return Conversation([], (), text=text_of(row, "text"))


FORMAT = RowFormat("text", ("text",), _text)
