"""One question and one answer, with what may stand before them: a system text, earlier turns."""

from typing import Any

from paceline.config.fields import Fields
from paceline.data.formats.row_format import Conversation, Row, text_of
from paceline.data.formats.tools import read_tools
from paceline.data.formats.turns import json_value, list_of_turns, read_turns, with_system
from paceline.errors import DataError


def from_pair(row: Row, question: str, answer: str) -> Conversation:
    """A question and its answer after the row's columns `system` and `history`."""
    asked = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return read_turns(after_what_was_said(row, asked), read_tools(row.get("tools")))


def after_what_was_said(row: Row, turns: list[Fields]) -> list[Fields]:
    """Turns behind those of the columns `system` and `history`.

    Raises:
        DataError: two system texts; a history that is neither turns nor pairs of a question and its answer.
    """
    whole = [*_history(row), *turns]
    return with_system(whole, text_of(row, "system")) if row.get("system") else whole


def _history(row: Row) -> list[Fields]:
    history: Any = row.get("history") or []
    if isinstance(history, str):  # as CSV has it
        history = json_value(history, "column 'history'")
    if isinstance(history, list) and all(isinstance(pair, list | tuple) for pair in history):
        return [turn for pair in history for turn in _pair(pair)]
    return list_of_turns(history, "column 'history'")


def _pair(pair: Any) -> list[Fields]:
    if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise DataError("column 'history' is not a list of pairs of texts, a question and its answer each")
    return [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
