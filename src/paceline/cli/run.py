"""Training from the command line: what `train`, `study run` and `rehearse` share."""

import json
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from paceline.cli.progress import watching
from paceline.cli.tables import comparison_json, output, print_comparison, print_findings
from paceline.config.study import Study


def train_and_compare(study: Study, folder: Path, as_json: bool, budget: int | None, check: bool = True) -> None:
    """Checks and trains what is not finished, then prints the table. Exit 130 after Ctrl-C, 1 if a run failed or the check found an error."""
    from paceline.compare.table import compare
    from paceline.doctor.check import examine_cohort
    from paceline.doctor.live import Judge
    from paceline.train.study import Hooks, train_study

    def inspect(base: Any, preparer: Any, runs: Any) -> None:
        watch.say("checking what can be known before training")
        found = [finding for finding in examine_cohort(base, preparer, runs, folder) if finding.severity != "note"]
        print_findings(found, watch.console)
        if any(finding.severity == "error" for finding in found):
            print("not started; change the recipe, or go on with --no-check", file=sys.stderr)
            raise typer.Exit(1)

    with watching() as watch:
        hooks = Hooks(watch, watch.say, inspect, Judge) if check else Hooks(watch, watch.say, judge=Judge)
        outcome = train_study(study, folder, hooks, budget)
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
