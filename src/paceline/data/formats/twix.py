"""T-Wix: ready conversations with a column `subset`, general or reasoning, which is also the task."""

from paceline.data.formats.messages import ready_messages
from paceline.data.formats.row_format import RowFormat

FORMAT = RowFormat("twix", ("messages", "subset"), ready_messages, lambda row: str(row["subset"]))
