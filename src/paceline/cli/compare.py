"""Compare finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.options import Json


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Run directories, or a study's folder; the first run is the baseline."),
    ],
    as_json: Json = False,
) -> None:
    """Compare runs: each difference from the baseline with a paired 95% interval and a verdict."""
    import json

    from paceline.api.comparison import compare as compare_paths
    from paceline.cli.tables import output, print_comparison

    comparison = compare_paths(paths)
    if as_json:
        print(json.dumps(comparison.to_dict(), indent=1))
    else:
        print_comparison(comparison, output())
