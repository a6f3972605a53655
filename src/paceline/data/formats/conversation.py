"""Ready conversations in a column `conversation`."""

from paceline.data.formats.row_format import RowFormat
from paceline.data.formats.turns import read_conversation

FORMAT = RowFormat("conversation", ("conversation",), lambda row: read_conversation(row, "conversation"))
