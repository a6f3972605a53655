"""Training from the command line: what `train`, `study run` and `rehearse` share."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from paceline.cli.evaluation_tables import print_evaluation
from paceline.cli.progress import InterruptStop, TerminalProgress
from paceline.cli.tables import output, print_comparison, print_published
from paceline.config.study import Study
from paceline.runs.evaluation_status import not_evaluated
from paceline.runs.files import json_text

if TYPE_CHECKING:
    from paceline.api.results import StudyResult


def train_and_compare(
    study: Study,
    folder: Path,
    as_json: bool,
    token_budget: int | None,
    check: bool = True,
    shard_base: bool = False,
    extend: bool = False,
) -> None:
    """Runs a study and prints its tables.

    Exit 128 + the signal that stopped it (130: Ctrl-C, 143: SIGTERM, 129: SIGHUP); 1 if a run failed, an
    evaluation was not done, or the check found an error.
    """
    from paceline.api.findings import CheckFailed
    from paceline.api.progress import is_first_process
    from paceline.api.study import run_study

    progress = TerminalProgress()
    stop = InterruptStop(progress.on_message)
    try:
        result = run_study(
            study,
            folder,
            [progress, stop],
            check=check,
            token_budget=token_budget,
            shard_base=shard_base,
            extend=extend,
        )
    except CheckFailed as error:
        print("not started; change the recipe, or go on with --no-check", file=sys.stderr)
        raise typer.Exit(1) from error
    if is_first_process():
        _print_result(result, as_json, stop.signum)


def _print_result(result: StudyResult, as_json: bool, signum: int | None = None) -> None:
    if result.state == "stopped":
        print(
            "stopped; every run is saved at its last step and the same command goes on from there",
            file=sys.stderr,
        )
        raise typer.Exit(128 + (signum or signal.SIGINT))
    failed = [run for run in result if run.status.state == "failed"]
    for run in failed:
        print(f"{run.name} failed: {run.status.reason}", file=sys.stderr)
    if len(failed) < len(result):
        _print_tables(result, as_json)
    missing = not_evaluated(result.evaluation_statuses)
    for sentence in missing:
        print(sentence, file=sys.stderr)
    if failed or missing or result.failed_evaluations:
        raise typer.Exit(1)


def _print_tables(result: StudyResult, as_json: bool) -> None:
    if as_json:
        print(json_text(result.comparison.to_dict(), indent=1))
        return
    print_comparison(result.comparison, output())
    print_published(result.comparison.published, output())
    for evaluation in result.evaluations:
        print_evaluation(evaluation, output())
    print(f"runs are in {result.folder}", file=sys.stderr)
