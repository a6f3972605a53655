"""T-Wix: ready conversations with a column `subset`, general or reasoning, which is also the task."""

from paceline.data.formats.messages import ready_messages
from paceline.data.formats.row_format import Row, RowFormat


def _subset(row: Row) -> str:
    return str(row.get("subset") or "all")


FORMAT = RowFormat("twix", ("messages", "subset"), ready_messages, _subset)
