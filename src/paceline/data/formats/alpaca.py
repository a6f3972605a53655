"""Alpaca: an instruction, an input to it if there is one, and the output."""

from paceline.data.formats.row_format import Messages, Row, RowFormat, message, required
from paceline.data.text import text_of


def _messages(row: Row) -> Messages:
    asked = [text_of(required(row, "instruction"), "column 'instruction'")]
    asked += [text_of(row["input"], "column 'input'")] if row.get("input") not in (None, "") else []
    question = "\n\n".join(part for part in asked if part)
    system = [message("system", row["system"])] if row.get("system") else []
    return [*system, message("user", question), message("assistant", required(row, "output"))]


FORMAT = RowFormat("alpaca", ("instruction", "output"), _messages)
