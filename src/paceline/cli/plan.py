"""What a study will need, before it is started."""

from paceline.cli.options import Budget, Json, StudyFile
from paceline.config.fields import Fields


def plan(file: StudyFile, token_budget: Budget = None, as_json: Json = False) -> None:
    """Estimate memory, steps, tokens, coverage and time of a study, from its data and a measurement."""
    import json
    from dataclasses import asdict

    from paceline.api import planning
    from paceline.api.loading import load_study
    from paceline.cli.progress import TerminalProgress
    from paceline.cli.tables import output, print_estimates

    cohorts = planning.plan(load_study(file), token_budget, [TerminalProgress()])
    if as_json:
        estimates: list[Fields] = [{**asdict(cohort), "total": cohort.total} for cohort in cohorts]
        print(json.dumps(estimates, indent=1))
    else:
        print_estimates(cohorts, output())
