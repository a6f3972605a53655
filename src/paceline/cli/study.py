"""Studies: run them, show them, rehearse them."""

from pathlib import Path

import typer

from paceline.cli.flags import print_notes
from paceline.cli.options import Budget, Check, Extend, Json, Runs, Seeds, StudyFile

app = typer.Typer(help="Run or show a whole study.", no_args_is_help=True)


@app.command("run")
def run(
    file: StudyFile,
    runs: Runs = Path("runs"),
    seeds: Seeds = None,
    token_budget: Budget = None,
    check: Check = True,
    extend: Extend = False,
    as_json: Json = False,
) -> None:
    """Train all runs of a study; those that share a base train together.

    Finished runs are skipped, stopped ones go on.
    """
    from paceline.cli.run import train_and_compare
    from paceline.config.load import load_study
    from paceline.config.replicates import parse_seeds

    study = load_study(file, seeds=parse_seeds(seeds))
    train_and_compare(study, runs / study.name, as_json, token_budget, check, extend=extend)


@app.command("show")
def show(file: StudyFile, runs: Runs = Path("runs"), seeds: Seeds = None, as_json: Json = False) -> None:
    """Print each recipe as its difference from the baseline, before anything is spent.

    With its effective batch, steps, how often it sees its examples, and what ended runs early that have been
    trained.
    """
    from dataclasses import asdict

    from paceline.cli.study_tables import print_study
    from paceline.cli.tables import output
    from paceline.config.load import load_study
    from paceline.config.replicates import parse_seeds
    from paceline.runs.directory import RunDirectory
    from paceline.runs.files import json_text
    from paceline.training.run_length import run_length

    study = load_study(file, seeds=parse_seeds(seeds))
    print_notes(study.notes)
    out_of_reach: set[str] = set()
    lengths = {run.name: run_length(run.recipe, out_of_reach) for run in study.runs}
    statuses = {run.name: RunDirectory(runs / study.name / run.name).status() for run in study.runs}
    endings = {name: status.ending for name, status in statuses.items() if status.ending}
    if not as_json:
        print_study(study, lengths, endings, output())
        return
    said = [
        {
            "name": name,
            "seeds": [run.recipe.seed for run in replicates],
            "hypothesis": replicates[0].hypothesis,
            "differences": study.differences(replicates[0]),
            "effective_batch": replicates[0].recipe.effective_batch,
            **asdict(lengths[replicates[0].name]),
            "ended_early": {run.name: endings[run.name] for run in replicates if run.name in endings},
        }
        for name, replicates in study.recipes.items()
    ]
    print(json_text({"study": study.name, "runs": said}, indent=1))


def rehearse(
    file: StudyFile,
    runs: Runs = Path("runs"),
    seeds: Seeds = None,
    token_budget: Budget = None,
    check: Check = True,
    as_json: Json = False,
) -> None:
    """Walk a study's every step in minutes: the embedded base and sample in place of its own, fewer steps."""
    from paceline.api.loading import as_study
    from paceline.api.loading import rehearse as rehearsal_of
    from paceline.cli.run import train_and_compare
    from paceline.config.replicates import parse_seeds

    study = rehearsal_of(as_study(file, parse_seeds(seeds)))
    train_and_compare(study, runs / study.name, as_json, token_budget, check)
