"""Training from the command line: what `train`, `study run` and `rehearse` share."""

import json
import sys
from pathlib import Path

import typer
from rich.console import Console

from paceline.cli.progress import watching
from paceline.cli.tables import comparison_json, output, print_comparison
from paceline.config.study import Study


def train_and_compare(study: Study, folder: Path, as_json: bool, budget: int | None) -> None:
    """Trains what is not finished, then prints the table. Exit 130 after Ctrl-C, 1 if a run failed."""
    from paceline.compare.table import compare
    from paceline.train.study import train_study

    with watching() as watch:
        outcome = train_study(study, folder, watch, watch.say, budget)
    states = outcome.states()
    if outcome.skipped:
        watch.say(f"finished before, skipped: {', '.join(outcome.skipped)}")
    if watch.interrupted and any(state not in ("finished", "failed") for state in states.values()):
        print("stopped; every run is saved at its last step and the same command goes on from there", file=sys.stderr)
        raise typer.Exit(130)
    for directory in outcome.directories:
        if states[directory.name] == "failed":
            print(f"{directory.name} failed: {directory.status()['reason']}", file=sys.stderr)
    if any(state == "finished" for state in states.values()):
        comparison = compare(outcome.directories)
        if as_json:
            print(json.dumps(comparison_json(comparison), indent=1))
        else:
            print_comparison(comparison, output())
            Console(stderr=True).print(f"runs are in {folder}", style="dim")
    if "failed" in states.values():
        raise typer.Exit(1)
