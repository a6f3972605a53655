"""Compare finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.options import Json, Noise


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Run directories, or a study's folder; the first run is the baseline."),
    ],
    noise: Noise = None,
    by_seed: Annotated[bool, typer.Option("--by-seed", help="Show every replicate.")] = False,
    as_json: Json = False,
) -> None:
    """Compare recipes: each difference from the baseline with a 95% interval and, over seeds, a verdict."""
    from paceline.api.comparison import compare as compare_paths
    from paceline.cli.tables import output, print_comparison, print_published
    from paceline.runs.files import json_text

    comparison = compare_paths(paths, noise)
    if as_json:
        print(json_text(comparison.to_dict(), indent=1))
    else:
        print_comparison(comparison, output(), by_seed)
        print_published(comparison.published, output())
