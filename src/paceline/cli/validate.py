"""Validate: which rows of data can be used, and which cannot, with the reason."""

from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli.flags import options_from
from paceline.cli.options import Json, log
from paceline.config.data import Data
from paceline.config.fields import Fields
from paceline.config.load import make

if TYPE_CHECKING:
    from paceline.api.validation import Validation

# Bad rows that a person reads; --json has all.
_SHOWN = 20


@options_from(
    Data,
    "fields",
    only=("config", "split", "format", "columns", "thinking", "chat_template", "revision"),
)
def validate(
    source: Annotated[
        str, typer.Argument(help="Data set (hub id, file or folder), or a study or recipe file.")
    ],
    fields: Fields,
    base: Annotated[str, typer.Option(help="Base whose chat template renders the rows.")] = "embedded",
    as_json: Json = False,
) -> None:
    """Read every row as training would: how many are good, and each bad one with its line and fault.

    Exit 1 where a row is bad.
    """
    from paceline.api import validation
    from paceline.errors import ConfigError
    from paceline.runs.files import json_text

    is_file = source.endswith((".yaml", ".yml"))
    if is_file and fields:
        raise ConfigError(f"{source} says how its data is read; leave out --{next(iter(fields))}")
    data = source if is_file else make(Data, {**fields, "source": source}, "validate")
    found = validation.validate(data, base)
    if as_json:
        print(json_text(found.to_dict(), indent=1))
    else:
        _print(found)
    if not found.is_valid:
        raise typer.Exit(1)


def _print(found: "Validation") -> None:
    from rich.text import Text

    from paceline.cli.tables import output

    console = output()
    for examined in found.sources:
        read = f", read as {examined.format}" if examined.format else ""
        style = "green" if not examined.bad else "yellow"
        line = f"{examined.source}: {examined.good:,} of {examined.rows:,} rows are good{read}"
        console.print(Text(line, style=style), soft_wrap=True)
        for row in examined.bad[:_SHOWN]:
            console.print(Text(f"  {row.where}: {row.reason}"), soft_wrap=True)
        if len(examined.bad) > _SHOWN:
            console.print(f"  and {len(examined.bad) - _SHOWN:,} more; --json lists all")
        if examined.unused:
            unused = f"  columns that nothing reads: {', '.join(examined.unused)}"
            console.print(Text(unused, style="dim"), soft_wrap=True)
    for note in found.notes:
        log(f"note: {note}")
