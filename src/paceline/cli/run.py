"""Training from the command line: what `train`, `study run` and `rehearse` share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from paceline.cli.progress import showing, terminal_progress
from paceline.cli.tables import comparison_json, output, print_comparison, print_evaluation, print_findings
from paceline.config.study import Study

if TYPE_CHECKING:
    from paceline.runs.directory import RunDirectory


def train_and_compare(
    study: Study,
    folder: Path,
    as_json: bool,
    budget: int | None,
    check: bool = True,
    shard_base: bool = False,
) -> None:
    """Checks and trains what is not finished, then prints the table. Exit 130 after Ctrl-C, 1 if a run failed or the check found an error."""
    from paceline.doctor.check import examine_cohort
    from paceline.doctor.live import LiveDoctor
    from paceline.evaluate.mtbench.in_training import in_training_score
    from paceline.evaluate.study import check_evaluations
    from paceline.report.trackers import Trackers
    from paceline.runs.directory import RunDirectory
    from paceline.train.distributed import init_distributed, rank_local_folder
    from paceline.train.study import TrainingOptions, train_study

    def preflight(base: Any, preparer: Any, runs: Any) -> None:
        progress.on_message("checking what can be known before training")
        findings = examine_cohort(base, preparer, runs, folder)
        findings = [finding for finding in findings if finding.severity != "note"]
        print_findings(findings, progress.console)
        if any(finding.severity == "error" for finding in findings):
            print("not started; change the recipe, or go on with --no-check", file=sys.stderr)
            raise typer.Exit(1)

    todo = [run.recipe for run in study.runs if RunDirectory(folder / run.name).status().state != "finished"]
    check_evaluations(todo)
    with (
        init_distributed(shard_base) as distributed,
        rank_local_folder(distributed, folder) as own,
        terminal_progress(quiet=distributed.rank > 0) as progress,
        Trackers(progress.on_message) as trackers,
    ):
        first = distributed.rank == 0
        options = TrainingOptions(
            callbacks=[progress, *([trackers] if first else []), LiveDoctor()],
            make_scorer=in_training_score,
            token_budget=budget,
            distributed=distributed,
            **({"preflight": preflight} if check else {}),
        )
        outcome = train_study(study, own, options)
        if not first:
            return
    states = outcome.states()
    if outcome.skipped:
        progress.on_message(f"finished before, skipped: {', '.join(outcome.skipped)}")
    if progress.interrupted and any(state not in ("finished", "failed") for state in states.values()):
        print(
            "stopped; every run is saved at its last step and the same command goes on from there",
            file=sys.stderr,
        )
        raise typer.Exit(130)
    for directory in outcome.directories:
        if states[directory.name] == "failed":
            print(f"{directory.name} failed: {directory.status().reason}", file=sys.stderr)
    if "finished" in states.values():
        _tell(outcome.directories, folder, as_json)
    if "failed" in states.values():
        raise typer.Exit(1)


def _tell(directories: list[RunDirectory], folder: Path, as_json: bool) -> None:
    """Evaluates what the recipes ask for, then prints the comparison and the evaluations."""
    from paceline.compare.table import compare
    from paceline.evaluate.study import evaluate_study

    with showing("checked") as show:
        evaluations = evaluate_study(directories, folder, show)
    comparison = compare(directories)
    if as_json:
        print(json.dumps(comparison_json(comparison), indent=1))
        return
    print_comparison(comparison, output())
    for kind, summary in evaluations:
        print_evaluation(kind, summary, output())
    Console(stderr=True).print(f"runs are in {folder}", style="dim")
