"""What a study will need, before it is started."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.options import Budget, Json, Runs, Seeds, StudyFile


def plan(
    file: StudyFile,
    detect: Annotated[
        float | None,
        typer.Option(
            "--detect", help="Say which seeds and held-out examples find this difference, in nats a token."
        ),
    ] = None,
    power: Annotated[float, typer.Option("--power", help="Share of studies that would find it.")] = 0.8,
    noise: Annotated[
        Path | None,
        typer.Option(
            "--noise", help="Study folder whose replicates show the noise; default: this study's own runs."
        ),
    ] = None,
    runs: Runs = Path("runs"),
    seeds: Seeds = None,
    token_budget: Budget = None,
    as_json: Json = False,
) -> None:
    """Estimate memory, steps, tokens, passes and time of a study, from its data and a measurement.

    With --detect, also the cheapest seeds and held-out examples that find a difference.
    """
    from dataclasses import asdict

    from paceline.api import planning
    from paceline.api.detection import detection_plan
    from paceline.api.loading import as_study
    from paceline.cli.progress import TerminalProgress
    from paceline.cli.study_tables import print_estimates
    from paceline.cli.tables import output
    from paceline.config.replicates import parse_seeds
    from paceline.runs.files import json_text

    study = as_study(file, parse_seeds(seeds))
    cohorts = planning.plan(study, token_budget, [TerminalProgress()])
    found = None
    if detect is not None:
        found = detection_plan(study, cohorts, noise or runs / study.name, delta=detect, power=power)
    if as_json:
        estimates = [{**asdict(cohort), "total": cohort.total} for cohort in cohorts]
        print(json_text({"cohorts": estimates, "detect": asdict(found)} if found else estimates, indent=1))
        return
    print_estimates(cohorts, {run.name: run.recipe_name for run in study.runs}, output())
    for line in found.sentences() if found else ():
        print(line)
