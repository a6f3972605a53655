"""Row formats, a file for each: from a row's columns to a conversation and a task name."""

from paceline.data.formats.prompts import read_prompt
from paceline.data.formats.registry import (
    BUILT_IN,
    check_format,
    code_of,
    find_format,
    format_names,
    recognise,
)
from paceline.data.formats.row_format import Conversation, Messages, Row, RowFormat, says_anything
from paceline.data.formats.rows import WEIGHT, WEIGHTS, read_row, renamed
from paceline.data.formats.turns import list_of_turns, read_turns

__all__ = [
    "BUILT_IN",
    "WEIGHT",
    "WEIGHTS",
    "Conversation",
    "Messages",
    "Row",
    "RowFormat",
    "check_format",
    "code_of",
    "find_format",
    "format_names",
    "list_of_turns",
    "read_prompt",
    "read_row",
    "read_turns",
    "recognise",
    "renamed",
    "says_anything",
]
