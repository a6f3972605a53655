"""Alpaca: an instruction, an input to it if there is one, and the output."""

from paceline.data.formats.row_format import Messages, Row, RowFormat, message, required


def _messages(row: Row) -> Messages:
    question = "\n\n".join(part for part in (required(row, "instruction"), row.get("input")) if part)
    system = [message("system", row["system"])] if row.get("system") else []
    return [*system, message("user", question), message("assistant", required(row, "output"))]


FORMAT = RowFormat("alpaca", ("instruction", "output"), _messages)
