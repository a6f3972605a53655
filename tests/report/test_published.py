"""Measured figures beside published ones, and never where they are not the same figures."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from helpers import MakeRecipe
from paceline.cli.tables import print_published
from paceline.config.load import load_study
from paceline.config.rehearse import rehearsal
from paceline.config.study import Study
from paceline.report.published import Figure, measured, read_published, reasons
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.events import EvalEvent, EventLog, StartEvent, TrainEvent
from paceline.runs.study import write_study_record

STUDY = """
study: s
recipe: {base: Qwen/Qwen3-0.6B, data: {source: rows.jsonl, n: 400}, max_steps: 4}
runs: [{name: a}, {name: b, lr: 1e-3}]
published:
  hardware: A100
  a: {eval_loss: 1.25, steps: 4, mtbench: 4.5}
  b: {minutes: 3}
"""


def trained(study: Study, folder: Path, **status: Any) -> list[Figure]:
    """The figures of a study as if all its runs had been trained, held-out loss 1.5."""
    folder.mkdir()
    write_study_record(study, folder)
    directories = [RunDirectory(folder / run.name) for run in study.runs]
    for run, directory in zip(study.runs, directories, strict=True):
        directory.claim(run.recipe)
        fields = {"state": "finished", "step": 4, "total_steps": 4, "seconds": 90.0, **status}
        directory.set_status(RunStatus(**fields))
        log = EventLog(directory.events)
        figures = {"examples": 2, "tokens": 9, "loss": 1.5, "perplexity": 4.5, "token_accuracy": 0.5}
        log.write(EvalEvent(step=4, epoch=1.0, name="final", seconds=1.0, **figures))
        log.close()
    return read_published(directories)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(STUDY)
    return path


def test_published_figures_stand_beside_the_measured_ones(written: Any) -> None:
    facts, markdown, _ = written
    figures = {(figure.run, figure.name): figure for figure in facts.published}
    assert figures["plain", "eval_loss"].published == 1.25
    assert figures["plain", "eval_loss"].measured == pytest.approx(facts.comparison.rows[0].eval_loss)
    assert figures["gone", "minutes"].measured is None
    text = markdown.read_text()
    lines = text.split("## Against the published figures")[1].splitlines()
    heads, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:2] == "| ")
    assert r"eval\_loss, nats a token" in heads
    table = {row[0]: dict(zip(heads, row, strict=True)) for row in rows}
    here = figures["plain", "eval_loss"].measured
    assert table["plain"][r"eval\_loss, nats a token"] == f"1.25 → {here:.4f}".rstrip("0")
    assert table["gone"]["minutes, of training"] == "12 → ?"


def test_a_judge_with_its_own_scale_measures_no_published_score(written: Any) -> None:
    figures = {(figure.run, figure.name): figure for figure in written[0].published}
    assert figures["plain", "mtbench"].measured is None
    assert figures["plain", "mtbench"].not_comparable == "judge simple has a scale of its own"
    assert "plain: not comparable, since judge simple has a scale of its own." in written[1].read_text()


def test_the_studys_own_recipes_are_comparable_and_have_units(file: Path, tmp_path: Path) -> None:
    figures = trained(load_study(file), tmp_path / "runs")
    assert [(f.run, f.name, f.measured, f.unit) for f in figures] == [
        ("", "hardware", None, ""),
        ("a", "eval_loss", 1.5, "nats a token"),
        ("a", "steps", 4.0, "optimizer steps"),
        ("a", "mtbench", None, "of 10"),
        ("b", "minutes", 1.5, "of training"),
    ]
    assert reasons(figures) == {}


def test_a_rehearsal_reproduces_nothing(file: Path, tmp_path: Path) -> None:
    figures = trained(rehearsal(load_study(file)), tmp_path / "runs")
    assert [figure.measured for figure in figures] == [None] * 5
    ((why, runs),) = reasons(figures).items()
    assert runs == ["a", "b"]
    assert why.startswith("base embedded instead of Qwen/Qwen3-0.6B, data.eval_ratio 0.25 instead of 0.1, ")
    assert why.endswith("more fields of the recipe")
    console = Console(width=160, record=True)
    print_published(figures, console)
    text = console.export_text()
    assert text.count("not comparable") == 5, "four figures, and the reason once"
    assert "base embedded instead of Qwen/Qwen3-0.6B" in text


def test_a_training_logs_token_accuracy_is_not_the_held_out_one(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    wanted = ["token_accuracy_start", "token_accuracy", "train_token_accuracy_start", "train_token_accuracy"]
    logged = {"loss": 1.5, "lr": 1e-3, "grad_norm": 1.0, "tokens": 9, "supervised_tokens": 5, "seconds": 1.0}
    events = [
        TrainEvent(step=step, epoch=step / 2, token_accuracy=accuracy, **logged)
        for step, accuracy in ((1, 0.5), (2, 0.75))
    ]
    held_out = {"examples": 2, "tokens": 9, "loss": 1.5, "perplexity": 4.5, "seconds": 1.0}
    evals = [
        EvalEvent(step=step, epoch=step / 2, name=name, token_accuracy=accuracy, **held_out)
        for step, name, accuracy in ((0, "base", 0.125), (2, "final", 0.25))
    ]
    status = RunStatus(state="finished", step=2, total_steps=2)
    file.write_text(STUDY)
    recipe = load_study(file).runs[0].recipe
    start = StartEvent(
        examples=2,
        dropped_no_assistant=0,
        truncated=0,
        answers_lost=0,
        train=2,
        eval=2,
        total_steps=2,
        steps_per_epoch=2,
        trainable_parameters=640,
    )
    run = SimpleNamespace(
        name="a", recipe=recipe, start=start, train=events, evals=evals, status=status, mtbench=None
    )
    assert [measured(run, name) for name in wanted] == [0.125, 0.25, 0.5, 0.75]
    assert measured(run, "trainable_parameters") == 640


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"base": "other"}, "base other instead of Qwen/Qwen3-0.6B"),
        ({"data": {"n": 40}}, "data.n 40 instead of 400"),
        ({"max_steps": 3}, "max_steps 3 instead of 4"),
        ({"seed": 1, "logging_steps": 3, "compute_dtype": "float32"}, ""),
    ],
)
def test_what_flags_change_is_said(flags: Any, why: str, file: Path, tmp_path: Path) -> None:
    figures = trained(load_study(file, flags), tmp_path / "runs")
    assert list(reasons(figures)) == ([why] if why else [])


def test_a_file_whose_base_was_exchanged_is_caught_by_the_published_base(file: Path, tmp_path: Path) -> None:
    named = STUDY.replace("hardware: A100", "base: Qwen/Qwen3-0.6B")
    file.write_text(named.replace("base: Qwen/Qwen3-0.6B, data", "base: tiny, data"))
    figures = trained(load_study(file), tmp_path / "runs")
    assert list(reasons(figures)) == ["base tiny instead of Qwen/Qwen3-0.6B"]


def test_a_run_that_stopped_early_reproduces_nothing(file: Path, tmp_path: Path) -> None:
    status = {"step": 2, "stopped_early": True, "reason": "no better"}
    figures = trained(load_study(file), tmp_path / "runs", **status)
    assert list(reasons(figures)) == ["stopped early at step 2 of 4: no better"]


def test_runs_of_which_nothing_was_published_have_no_figures(recipe: MakeRecipe, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "alone")
    directory.claim(recipe())
    assert read_published([directory]) == []
