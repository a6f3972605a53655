"""The live view: what it shows is what the files say."""

import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from helpers import MakeRecipe, MakeStudy, StopWhen
from paceline.config.replicates import Seeds, replicates
from paceline.config.study import Run, Study
from paceline.report.watch import SILENT_SECONDS, render, sparkline
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.events import EventLog, FindingEvent, TrainEvent
from paceline.runs.study import write_study_record
from paceline.training.study import TrainingOptions, train_study


def text_of(path: Any) -> Any:
    """(the view as text, whether all is over)."""
    view, over = render(path)
    console = Console(width=200, record=True)
    console.print(view)
    return console.export_text(), over


@pytest.fixture
def written(recipe: MakeRecipe, tmp_path: Path) -> Any:
    """Writes a run's directory with a state and findings of (step, severity)."""

    def write(state: Any, *findings: Any) -> Any:
        directory = RunDirectory(tmp_path / "run")
        directory.claim(recipe())
        directory.set_status(RunStatus(state=state))
        log = EventLog(directory.events)
        counts = {"tokens": 10, "supervised_tokens": 5, "seconds": 1.0, "token_accuracy": 0.5}
        log.write(TrainEvent(step=1, epoch=0.1, loss=2.0, lr=1e-4, **counts))
        for step, severity in findings:
            log.write(FindingEvent(step=step, rule="a-rule", severity=severity, message=f"odd at {step}"))
        log.close()
        return directory

    return write


def test_it_shows_what_the_files_of_a_stopped_study_say(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    options = TrainingOptions(callbacks=[StopWhen(lambda cohort: cohort.runs[0].step >= 3)])
    train_study(study(a=recipe(max_steps=6), b=recipe(max_steps=6, seed=3)), tmp_path, options)
    text, over = text_of(tmp_path)
    assert over
    assert "a: stopped at step 3 of 6: StopWhen asked for it" in text
    assert "/6" in text
    (tmp_path / "a" / "status.json").write_text('{"state": "running"}')
    assert not text_of(tmp_path)[1]


def test_findings_are_counted_by_severity_and_the_worst_are_shown(written: Any) -> None:
    findings = [(step, "warning") for step in range(1, 7)] + [(7, "error"), (8, "note")]
    text, _ = text_of(written("finished", *findings).path)
    assert "1 error, 6 warnings, 1 note" in text
    shown = [line for line in text.splitlines() if "odd at" in line]
    assert shown[0].split() == ["error", "run,", "step", "7:", "odd", "at", "7", "(a-rule)"]
    assert [line.split()[3] for line in shown[1:]] == ["6:", "5:", "4:", "3:"]
    assert "and 3 more" in text


def test_a_run_that_has_long_written_nothing_is_silent(written: Any) -> None:
    directory = written("running")
    assert "running" in text_of(directory.path)[0]
    long_ago = os.stat(directory.events).st_mtime - SILENT_SECONDS - 1
    os.utime(directory.events, (long_ago, long_ago))
    assert "silent" in text_of(directory.path)[0]


def test_sparklines() -> None:
    assert sparkline([1.0, 2.0, 3.0])[::2] == "▁█"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([]) == ""
    assert len(sparkline([float(i) for i in range(1000)])) <= 24


def test_replicates_are_one_row(recipe: MakeRecipe, tmp_path: Path) -> None:
    runs = replicates(Run(name="low", recipe=recipe(seed=1)), Seeds(count=3))
    runs.append(Run(name="alone", recipe=recipe()))
    write_study_record(Study(name="s", runs=runs), tmp_path)
    counts = {"tokens": 10, "supervised_tokens": 5, "seconds": 1.0, "token_accuracy": 0.5}
    for run, state, loss in zip(
        runs, ("finished", "finished", "failed", "running"), (1, 2, 6, 7), strict=True
    ):
        directory = RunDirectory(tmp_path / run.name)
        directory.claim(run.recipe)
        directory.set_status(RunStatus(state=state))
        log = EventLog(directory.events)
        log.write(TrainEvent(step=1, epoch=0.1, loss=loss, lr=1e-4, **counts))
        log.close()
    text, over = text_of(tmp_path)
    assert not over
    (row,) = [line for line in text.splitlines() if line.startswith("  low")]
    assert "low × 3" in row
    assert "2 finished, 1 failed" in row
    assert "3.0000 ± 2.6458" in row
    assert "low-seed3: failed before its first step: no reason is logged" in text
    assert "alone" in text
