"""Alpaca: an instruction, an input to it if there is one, and the output; earlier turns in `history`."""

from paceline.data.formats.pairs import from_pair
from paceline.data.formats.row_format import Conversation, Row, RowFormat, text_of


def _conversation(row: Row) -> Conversation:
    given = text_of(row, "input") if row.get("input") not in (None, "") else ""
    question = "\n\n".join(part for part in (text_of(row, "instruction"), given) if part)
    return from_pair(row, question, text_of(row, "output"))


FORMAT = RowFormat("alpaca", ("instruction", "output"), _conversation)
