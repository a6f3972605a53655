"""Fetch-metrics: the logged figures of runs as a table, JSON or CSV."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli.options import Json

if TYPE_CHECKING:
    from paceline.report.trackers.fetched import Point


def fetch_metrics(
    source: Annotated[
        str,
        typer.Argument(
            help="Run directory, study's folder or trainer_state.json; with --from a Trackio project, a "
            "folder of W&B's own files, or an MLflow experiment."
        ),
    ],
    tracker: Annotated[
        str, typer.Option("--from", help="Where they are.", metavar="[runs|trackio|wandb|mlflow]")
    ] = "runs",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File to write: .json or .csv, all points.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch what runs have logged, from their directories or from their tracker.

    The table has each run's last figures; --json and --out have every point.
    """
    from dataclasses import asdict

    from paceline.errors import ConfigError
    from paceline.report.metrics import fetch
    from paceline.runs.files import json_text

    if out is not None and out.suffix not in (".json", ".csv"):
        raise ConfigError(f"--out {out}: the ending must be .json or .csv")
    points = fetch(source, tracker)
    whole = json_text([asdict(point) for point in points], indent=1)
    if out is not None:
        try:
            out.write_text(_csv(points) if out.suffix == ".csv" else whole + "\n")
        except OSError as error:
            raise ConfigError(f"--out {out}: cannot be written ({error.strerror})") from error
    if as_json:
        print(whole)
    elif out is not None:
        print(f"{len(points):,} points of {len({point.run for point in points})} runs in {out}")
    else:
        _print(points)


def _csv(points: "list[Point]") -> str:
    """A line for each point: its run, step and figures by column."""
    import csv
    import io

    names = list(dict.fromkeys(name for point in points for name in point.figures))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["run", "step", *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"run": point.run, "step": point.step, **point.figures} for point in points)
    return text.getvalue()


def _print(points: "list[Point]") -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from paceline.cli.tables import output

    last: dict[str, dict[str, float]] = {}
    for point in points:
        row = last.setdefault(point.run, {})
        row |= {**({} if point.step is None else {"step": point.step}), **point.figures}
    names = [name for name in _SHOWN if any(name in row for row in last.values())]
    names = names or list(dict.fromkeys(name for row in last.values() for name in row))[:8]
    table = Table("run", box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(name, justify="right")
    for run, row in last.items():
        table.add_row(escape(run), *(f"{row[name]:.6g}" if name in row else "" for name in names))
    output().print(table)
    output().print(f"{len(points):,} points; the last figure of each run", style="dim")


# What is read first, under our names and transformers'.
_SHOWN = (
    "step",
    "train/loss",
    "loss",
    "train/lr",
    "train/grad_norm",
    "grad_norm",
    "eval/loss",
    "eval_loss",
    "eval/token_accuracy",
    "train/tokens",
    "train/seconds",
)
