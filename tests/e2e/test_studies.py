"""The study files: each is complete, and its rehearsal walks every feature that it uses."""

from pathlib import Path
from typing import Any

import pytest

from paceline.comparison.table import compare
from paceline.config.load import load_study
from paceline.config.rehearse import rehearsal
from paceline.config.study import Run
from paceline.doctor.check import check_cohort
from paceline.evaluate.mtbench.in_training import in_training_score
from paceline.evaluate.study import evaluate_study
from paceline.report.collect import collect_study
from paceline.report.export import _cell, write_report
from paceline.report.format import number
from paceline.training.study import TrainingOptions, train_study

pytestmark = pytest.mark.slow

FILES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))


def test_there_is_one_for_every_write_up() -> None:
    expected = {
        "qwen3-0.6b-rust": 3,
        "qwen3-0.6b-rust-next": 8,
        "rust-five-recipes": 6,
        "codeforces-guide": 2,
        "qwen3-1.7b-twix": 11,
        "qlora-rescue": 4,
    }
    assert {path.stem: len(load_study(path).runs) for path in FILES} == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_published_figures_belong_to_runs(path: Any) -> None:
    study = load_study(path)
    names = {run.name for run in study.runs}
    assert all(run.hypothesis for run in study.runs)
    assert {name for name, figures in study.published.items() if isinstance(figures, dict)} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_two_steps_of_its_rehearsal(path: Any, tmp_path: Path) -> None:
    """All runs on the embedded base and samples, cut to two steps and few rows."""
    study = rehearsal(load_study(path))
    runs = [Run(name=run.name, hypothesis=run.hypothesis, recipe=_short(run.recipe)) for run in study.runs]
    found = []
    options = TrainingOptions(
        preflight=lambda base, preparer, runs: found.extend(check_cohort(base, preparer, runs, tmp_path)),
        make_scorer=in_training_score,
    )
    outcome = train_study(study.model_copy(update={"runs": runs}), tmp_path, options)
    assert not [finding.message for finding in found if finding.severity == "error"]
    assert set(outcome.states().values()) == {"finished"}
    assert [row.name for row in compare(outcome.directories).rows] == [run.name for run in runs]
    kinds = {result.kind for result in evaluate_study(outcome.directories, tmp_path)}
    assert kinds == {kind for run in runs for kind, wish in run.recipe.eval if wish}
    facts = collect_study(tmp_path)
    report = write_report(facts, tmp_path)[0].read_text().replace("\\_", "_")
    shown = report.split("## Against the published figures")[-1]
    lines = {line.split(" |")[0].removeprefix("| "): line for line in shown.splitlines() if line[:1] == "|"}
    for run, figures in study.published.items():
        for name, value in figures.items() if isinstance(figures, dict) else []:
            assert name in lines["run"]
            assert f"| {_cell(number(value))} → " in lines[run]


def _short(recipe: Any) -> Any:
    code = recipe.eval.code and recipe.eval.code.model_copy(update={"n": 1, "max_new_tokens": 8})
    data = recipe.data.model_copy(update={"n": 28, "sample_ratio": None})
    return recipe.model_copy(
        update={
            "max_steps": 3,
            "warmup_ratio": 0.0,
            "data": data,
            "eval": recipe.eval.model_copy(update={"code": code}),
            "batch_size": 2,
            "grad_accum": 1,
            "max_length": 384,
            "num_cycles": 1,
            "warmup_steps": None,
        }
    )
