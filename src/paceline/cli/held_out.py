"""Evaluate: held-out loss and accuracy of runs or adapters, and the evaluations that recipes ask for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli.flags import options_from
from paceline.cli.options import Json
from paceline.config.data import Data
from paceline.config.fields import Fields
from paceline.config.load import make

if TYPE_CHECKING:
    from paceline.api.evaluating import Evaluated


@options_from(
    Data,
    "fields",
    only=("config", "split", "format", "columns", "chat_template", "subset", "n", "sample_ratio", "seed"),
    names={"n": ("n", "num_examples")},
)
def evaluate(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, a study's folder, or adapters in PEFT's format.")
    ],
    fields: Fields,
    data: Annotated[
        str | None,
        typer.Option(help="Rows to evaluate on: hub id, file or folder; default: each run's held-out rows."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=8, help="With --data: cut examples here; default: as the runs did.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Held-out loss and token accuracy of runs or adapters, beside the bare base.

    Without --data, also the evaluations that the runs' recipes ask for and that were not done before.
    `paceline eval code`, `paceline eval forgetting` and `paceline mtbench` do one evaluation by itself.
    """
    from paceline.api import evaluating
    from paceline.cli.progress import showing
    from paceline.errors import ConfigError
    from paceline.runs.files import json_text

    if data is None and (fields or max_length):
        raise ConfigError("evaluate: what says which rows goes with --data; runs have held theirs out")
    rows = None if data is None else make(Data, {**fields, "source": data}, "evaluate")
    with showing("adapters measured") as progress:
        found = evaluating.evaluate(runs, rows, progress, max_length=max_length)
    if as_json:
        print(json_text(found.to_dict(), indent=1))
    else:
        _print(found)
    if found.failed:
        raise typer.Exit(1)


def _print(found: "Evaluated") -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from paceline.cli.evaluation_tables import change, print_evaluation
    from paceline.cli.tables import output

    table = Table("adapter", box=box.SIMPLE_HEAD)
    has_first = any(losses.from_first for losses in found.losses.values())
    headings = ["rows", "base loss", "loss", "perplexity", "token acc.", "Δ from the base, 95% interval"]
    for heading in (*headings, *["Δ from the first"] * has_first):
        table.add_column(heading, justify="right")
    for name, losses in found.losses.items():
        own, base = losses.own.summary(), losses.base.summary()
        table.add_row(
            escape(name),
            f"{own.examples:,}",
            f"{base.loss:.4f}",
            f"{own.loss:.4f}",
            f"{own.perplexity:.3f}",
            f"{base.token_accuracy:.1%} to {own.token_accuracy:.1%}",
            change(losses.change, "+.4f"),
            *[change(losses.from_first, "+.4f")] * has_first,
        )
    output().print(table)
    sources = ", ".join(dict.fromkeys(losses.source for losses in found.losses.values()))
    output().print(f"rows of {sources}; intervals cover examples, not seeds", style="dim", markup=False)
    for result in found.evaluations:
        print_evaluation(result, output())
