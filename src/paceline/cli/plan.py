"""What a study will need, before it is started."""

from typing import Any

from paceline.cli.study import File
from paceline.cli.train import Budget, Json


def plan(file: File, token_budget: Budget = None, as_json: Json = False) -> None:
    """Estimate memory by part, steps, tokens, coverage and time of a study, from its data and a short measured probe."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from paceline.cli.tables import output, print_estimates
    from paceline.config.load import load_study
    from paceline.train.estimate import estimate_study

    console = Console(stderr=True)
    found = estimate_study(load_study(file), token_budget, lambda line: console.print(line, style="dim"))
    if as_json:
        said: list[dict[str, Any]] = [{**asdict(cohort), "total": cohort.total} for cohort in found]
        print(json.dumps(said, indent=1))
    else:
        print_estimates(found, output())
