"""A trainer's console output or line-by-line log, whoever wrote it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np

from paceline.doctor.logs.entries import add_entry
from paceline.doctor.logs.lines import entries, looks_like_figures
from paceline.doctor.logs.log import Log, LogBuilder
from paceline.errors import RunError

# Progress bars write lines of any length; characters read of one at a time.
_CHUNK = 100_000
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_console(path: Path) -> Log:
    """The figures in a log, line by line; other lines are passed over, those with a loss counted.

    Raises:
        RunError: not one line with figures could be read.
    """
    builder = LogBuilder()
    with open_text(path) as file:
        for line in _lines(file):
            read = [add_entry(builder, entry) for entry in entries(line)]
            if not any(read) and looks_like_figures(line):
                builder.add_unread(line)
    return built(builder, path)


def read_csv(path: Path) -> Log:
    """The figures in a table with a column for each, as Lightning's CSV logger writes it.

    Raises:
        RunError: not one line with figures could be read.
    """
    builder = LogBuilder()
    with open_text(path) as file:
        try:
            for row in csv.DictReader(file):
                figures = {name: value for name, value in row.items() if name and value not in (None, "")}
                if not add_entry(builder, figures) and any("loss" in name for name in figures):
                    builder.add_unread(str(row))
        except csv.Error as error:
            raise RunError(f"{path}: cannot be read as CSV ({error})") from error
    return built(builder, path)


def built(builder: LogBuilder, path: Path, batch_size: int | None = None) -> Log:
    """The log, where there is anything in it: no line is no all-clear.

    Raises:
        RunError: nothing could be read.
    """
    if not builder.empty:
        log = builder.build(batch_size)
        return replace(log, closed=log.closed or _reaches_its_end(log))
    if builder.unread:
        raise RunError(
            f"{path}: {builder.unread:,} lines seem to hold a loss, and none of them can be read; "
            f"the first: {builder.first_unread}"
        )
    raise RunError(
        f"{path}: no logged step and no evaluation in it; expected a trainer's console log, "
        "its log file or a trainer_state.json"
    )


def _reaches_its_end(log: Log) -> bool:
    """Whether no line was due after the last one: trainers log every so many steps, and not the last."""
    if log.total_steps is None or len(log) < 2:
        return False
    return bool(log.step[-1] + np.median(np.diff(log.step)) > log.total_steps)


def open_text(path: Path) -> TextIO:
    """A text file in whatever encoding it has; what is no text in it becomes a replacement character.

    Raises:
        RunError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
        return path.open(encoding=_MARKS.get(start, "utf-8-sig"), errors="replace", newline=None)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_CHUNK):
        yield line
