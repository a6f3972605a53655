"""Row formats, a file for each: from a row's columns to messages and a task name."""

from paceline.data.formats.registry import (
    BUILT_IN,
    check_format,
    find_format,
    format_names,
    recognise,
)
from paceline.data.formats.row_format import ROLES, Messages, Row, RowFormat

__all__ = [
    "BUILT_IN",
    "ROLES",
    "Messages",
    "Row",
    "RowFormat",
    "check_format",
    "find_format",
    "format_names",
    "recognise",
]
