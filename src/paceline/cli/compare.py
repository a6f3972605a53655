"""Compare finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.train import Json


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Run directories, or a study's folder; the first run is the baseline."),
    ],
    as_json: Json = False,
) -> None:
    """Compare runs: each difference from the baseline with a paired 95% interval and a verdict."""
    import json

    from paceline.cli.tables import comparison_json, output, print_comparison
    from paceline.compare.table import compare as compare_runs
    from paceline.runs.study import run_directories

    comparison = compare_runs(run_directories(paths))
    if as_json:
        print(json.dumps(comparison_json(comparison), indent=1))
    else:
        print_comparison(comparison, output())
