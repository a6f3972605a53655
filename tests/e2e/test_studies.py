"""The study files: each is complete, and its rehearsal walks every feature that it uses."""

from pathlib import Path

import pytest

from paceline.compare.table import compare
from paceline.config.load import load_study
from paceline.config.rehearse import rehearsal
from paceline.config.study import Run
from paceline.train.study import train_study

FILES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))


def test_there_is_one_for_every_write_up():
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
def test_published_figures_belong_to_runs(path):
    study = load_study(path)
    names = {run.name for run in study.runs}
    assert all(run.hypothesis for run in study.runs)
    assert {name for name, figures in study.published.items() if isinstance(figures, dict)} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_two_steps_of_its_rehearsal(path, tmp_path):
    """All runs on the embedded base and samples, cut to two steps and few rows."""
    study = rehearsal(load_study(path))
    runs = [Run(name=run.name, hypothesis=run.hypothesis, recipe=_short(run.recipe)) for run in study.runs]
    outcome = train_study(study.model_copy(update={"runs": runs}), tmp_path)
    assert set(outcome.states().values()) == {"finished"}
    assert [row.name for row in compare(outcome.directories).rows] == [run.name for run in runs]


def _short(recipe):
    data = recipe.data.model_copy(update={"n": 28, "sample_ratio": None})
    return recipe.model_copy(
        update={
            "max_steps": 3,
            "warmup_ratio": 0.0,
            "data": data,
            "batch_size": 2,
            "grad_accum": 1,
            "max_length": 384,
            "num_cycles": 1,
            "warmup_steps": None,
        }
    )
