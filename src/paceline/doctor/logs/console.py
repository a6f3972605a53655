"""A trainer's console output: lines that hold a dict of figures, as transformers and TRL print them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from paceline.doctor.logs.log import Log, LogBuilder
from paceline.doctor.logs.trainer_state import Entry, add_entry
from paceline.errors import RunError

# Progress bars write lines of any length; characters read of one at a time.
_CHUNK = 100_000
_DICT = re.compile(r"\{[^{}]*\}")
_BARE_NUMBER = re.compile(r"(?<=[:\s])(-?(?:nan|inf))\b", re.IGNORECASE)


def read_console(path: Path) -> Log:
    """The figures printed into a console log, line by line; everything else is passed over.

    Raises:
        RunError: there are none.
    """
    builder = LogBuilder()
    with path.open(errors="replace") as file:
        for entry in _dicts(file):
            add_entry(builder, entry)
    if builder.empty:
        raise RunError(
            f"{path}: no line with a dict of figures ({{'loss': …}}); "
            "expected a trainer's console log or a trainer_state.json"
        )
    return builder.build()


def _dicts(file: TextIO) -> Iterator[Entry]:
    while line := file.readline(_CHUNK):
        for match in _DICT.finditer(line):
            if "loss" not in match[0]:
                continue
            try:
                entry = ast.literal_eval(_BARE_NUMBER.sub(r"'\1'", match[0]))
            except (ValueError, SyntaxError):
                continue
            if isinstance(entry, dict):
                yield entry
