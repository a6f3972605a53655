"""The row formats by name: those that come with Paceline, and those of other packages."""

import inspect
import sys
from collections.abc import Collection
from importlib.metadata import entry_points, files, packages_distributions
from pathlib import Path

from paceline.config.yaml_text import in_line
from paceline.data.formats import (
    alpaca,
    codeforces,
    conversation,
    messages,
    prompt_completion,
    question_answer,
    sharegpt,
    strandset,
    text,
    twix,
)
from paceline.data.formats.row_format import RowFormat
from paceline.data.formats.suggest import suggest_columns
from paceline.errors import DataError, nearest

# Entry points of other packages, each a RowFormat. They are loaded when they are named, and after all of
# ours when a format is to be recognised: installing a package never changes how data is read.
GROUP = "paceline.formats"

# In the order in which they are recognised: the special before the general.
BUILT_IN: tuple[RowFormat, ...] = (
    strandset.FORMAT,
    codeforces.FORMAT,
    twix.FORMAT,
    messages.FORMAT,
    sharegpt.FORMAT,
    conversation.FORMAT,
    prompt_completion.FORMAT,
    alpaca.FORMAT,
    question_answer.FORMAT,
    text.FORMAT,
)
_BY_NAME = {row_format.name: row_format for row_format in BUILT_IN}


def format_names() -> list[str]:
    """The names that `data.format` may have beside auto."""
    return [*_BY_NAME, *sorted(entry_points(group=GROUP).names - set(_BY_NAME))]


def find_format(name: str) -> RowFormat:
    """The format of a name.

    Raises:
        DataError: no such format; one of another package that cannot be loaded.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    check_format(name)
    try:
        row_format = entry_points(group=GROUP)[name].load()
    except Exception as error:  # loading runs another package's code, which may raise anything
        raise DataError(f"format {name}: cannot be loaded ({type(error).__name__}: {error})") from error
    if not isinstance(row_format, RowFormat):
        raise DataError(f"format {name}: its package gives a {type(row_format).__name__}, not a RowFormat")
    return row_format


def code_of(row_format: RowFormat) -> list[Path]:
    """The files that a format of another package depends on: its own and all of that package."""
    module = row_format.conversation.__module__
    top = module.partition(".")[0]
    if top == "paceline":
        return []
    found = {Path(inspect.getfile(row_format.conversation))}
    for folder in getattr(sys.modules.get(top), "__path__", ()):
        found.update(Path(folder).rglob("*.py"))
    for name in packages_distributions().get(top, ()):
        own = (Path(str(file.locate())) for file in files(name) or ())
        found.update(file for file in own if file.suffix == ".py" and file.is_file())
    return sorted(found)


def check_format(name: str) -> None:
    """Refuses a name that is neither auto nor a format's; loads nothing."""
    known = ["auto", *format_names()]
    if name not in known:
        raise DataError(f"no format {name!r}{nearest(name, known)} (known: {', '.join(known)})")


def recognise(columns: Collection[str], name: str, source: str) -> RowFormat:
    """The format of a name, or with `auto` the first one whose columns are all there.

    Raises:
        DataError: no format fits, or the named one is unknown or lacks a column.
    """
    if not columns:
        raise DataError(f"data {source!r}: the rows have no columns")
    if name != "auto":
        row_format = find_format(name)
        if missing := [column for column in row_format.columns if column not in columns]:
            raise DataError(
                f"data {source!r}: format {name} needs column {missing[0]!r}; "
                f"the rows have {', '.join(columns)}"
            )
        return row_format
    for known in format_names():
        row_format = find_format(known)
        if all(column in columns for column in row_format.columns):
            return row_format
    if {"chosen", "rejected"} <= set(columns):
        raise DataError(
            f"data {source!r}: these are preference pairs, and answers are what is learned here; to learn "
            "the chosen ones as text, say so: columns: {completion: chosen}"
        )
    if suggested := suggest_columns(columns):
        raise DataError(
            f"data {source!r}: no format has the columns {', '.join(columns)}; if they are what their names "
            f"say, give columns: {in_line(suggested)} (--columns '{in_line(suggested)}')"
        )
    shapes = "; ".join(f"{known}: {', '.join(find_format(known).columns)}" for known in format_names())
    raise DataError(f"data {source!r}: no format has the columns {', '.join(columns)} (known: {shapes})")
