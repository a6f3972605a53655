"""Which replicate is pushed: the median by held-out loss, or the one that is named."""

from pathlib import Path

import numpy as np
import pytest

from helpers import MakeRecipe
from paceline.config.replicates import Seeds, replicates
from paceline.config.study import Run, Study
from paceline.errors import RunError
from paceline.export.replicate import choose_replicate
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import write_study_record


def _finish(directory: RunDirectory, loss: float) -> None:
    directory.set_status(RunStatus(state="finished"))
    one = np.ones(1, dtype=np.int64)
    losses = ExampleLosses(["s"], one, ["t"], one, np.asarray([loss]), one, np.asarray([np.nan]), one)
    losses.save(directory.eval / "final.parquet")


@pytest.fixture
def folder(recipe: MakeRecipe, tmp_path: Path) -> Path:
    """A study of `low` with seeds 1 to 4 and losses 3, 1, 4, 2, and of `alone`, seed 9."""
    runs = [
        *replicates(Run(name="low", recipe=recipe()), Seeds(listed=(1, 2, 3, 4))),
        Run(name="alone", recipe=recipe(seed=9)),
    ]
    write_study_record(Study(name="s", runs=runs), tmp_path)
    for run, loss in zip(runs, (3.0, 1.0, 4.0, 2.0, 1.0), strict=True):
        RunDirectory(tmp_path / run.name).claim(run.recipe)
        _finish(RunDirectory(tmp_path / run.name), loss)
    return tmp_path


def test_the_median_by_held_out_loss_stands_for_a_recipe(folder: Path) -> None:
    said: list[str] = []
    assert choose_replicate(folder / "low", log=said.append).name == "low", "of 1 2 3 4, the higher middle"
    assert said == [
        "low has 4 replicates: this is low (seed 1), the median by held-out loss; "
        "another one: --replicate SEED"
    ]
    _finish(RunDirectory(folder / "low-seed2"), 5.0)
    assert choose_replicate(folder / "low").name == "low-seed3", "of 2 3 4 5"


def test_a_seed_or_a_later_replicates_own_name_means_that_one(folder: Path) -> None:
    assert choose_replicate(folder / "low", "2").name == "low-seed2"
    assert choose_replicate(folder / "low", "1").name == "low"
    assert choose_replicate(folder / "low-seed3").name == "low-seed3"
    assert choose_replicate(folder / "alone").name == "alone"
    assert choose_replicate(folder / "alone", "9").name == "alone"


@pytest.mark.parametrize(
    ("run", "replicate", "said"),
    [
        ("low", "7", "no replicate with seed 7; there are 1, 2, 3, 4, and median"),
        ("low", "best", "expected median or a seed"),
        ("alone", "7", "one run with seed 9, not 7"),
        ("low-seed3", "2", "one run with seed 3, not 2"),
    ],
)
def test_no_such_replicate(folder: Path, run: str, replicate: str, said: str) -> None:
    with pytest.raises(RunError, match=said):
        choose_replicate(folder / run, replicate)


def test_there_is_no_median_before_all_have_finished(folder: Path) -> None:
    RunDirectory(folder / "low-seed3").set_status(RunStatus(state="running"))
    with pytest.raises(RunError, match="low-seed3 not finished, so no replicate is the median yet"):
        choose_replicate(folder / "low")
    assert choose_replicate(folder / "low", "2").name == "low-seed2"
