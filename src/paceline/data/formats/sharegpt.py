"""ShareGPT: a list of {from, value}; a call is a turn of its own (`function_call`, then `observation`)."""

from paceline.data.formats.row_format import RowFormat
from paceline.data.formats.turns import read_conversation

FORMAT = RowFormat("sharegpt", ("conversations",), lambda row: read_conversation(row, "conversations"))
