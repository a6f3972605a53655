"""Evaluate: losses of runs and adapters on their own held-out rows, or on others."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers import MakeRecipe, MakeStudy
from paceline.api.evaluating import evaluate
from paceline.config.data import Data
from paceline.errors import ConfigError, ModelError
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import write_study_record
from paceline.training.study import TrainingOptions, train_study


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [{"prompt": f"What is {i} and 1?", "completion": f"It is {i + 1}."} for i in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def trained(recipe: MakeRecipe, study: MakeStudy, rows: Path, tmp_path: Path) -> Any:
    """A study's folder with two finished runs."""
    copied = tmp_path / "rows.jsonl"
    shutil.copy(rows, copied)
    made = study(b=recipe(data=str(copied), max_steps=2), a=recipe(data=str(copied), max_steps=4, lr=1e-2))
    train_study(made, tmp_path / "runs", TrainingOptions())
    write_study_record(made, tmp_path / "runs")
    return tmp_path / "runs"


def test_runs_get_the_losses_that_their_training_ended_with(trained: Path) -> None:
    found = evaluate([trained]).losses
    for name in "ab":
        for own, stored in ((found[name].own, "final"), (found[name].base, "base")):
            assert (
                own.loss.tolist()
                == ExampleLosses.read(trained / name / "eval" / f"{stored}.parquet").loss.tolist()
            )
    assert found["b"].from_first is None  # the study's first
    expected = found["a"].own.summary().loss - found["b"].own.summary().loss
    assert found["a"].from_first.delta == pytest.approx(expected)


def test_any_adapter_is_measured_on_a_data_set_and_needs_one(trained: Path, rows: Path) -> None:
    adapter = trained / "b" / "adapter"
    with pytest.raises(ConfigError, match=r"no run of Paceline's and holds no rows out; name some as --data"):
        evaluate([adapter])
    losses = evaluate([adapter], str(rows)).losses["adapter"]
    assert len(losses.own.row) == 40
    held_out = evaluate([trained / "b"]).losses["b"].own
    of_row = dict(zip(losses.own.row.tolist(), losses.own.loss.tolist(), strict=True))
    assert [of_row[row] for row in held_out.row.tolist()] == held_out.loss.tolist()
    assert len(evaluate([adapter], Data(source=str(rows), n=7)).losses["adapter"].own.row) == 7


def test_rows_that_are_not_what_they_were_are_refused(trained: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(rows.read_text().replace("What", "How much"))
    with pytest.raises(ModelError, match=r"the rows of .* that it held out are not what they were"):
        evaluate([trained / "a"])
