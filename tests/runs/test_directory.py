"""The run directory: whose it is, how far it is, and which checkpoint is the newest."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from helpers import MakeRecipe
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory, RunStatus, check_room, run_bytes


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "a")


def test_a_directory_that_is_not_there_is_a_new_runs(directory: RunDirectory) -> None:
    assert directory.name == "a"
    assert directory.status() == RunStatus(state="new")
    assert not directory.status().over
    assert directory.latest_checkpoint() is None
    with pytest.raises(RunError, match=r"not a run directory \(no recipe\.yaml\)"):
        directory.recipe()


def test_a_claimed_directory_has_the_recipe(directory: RunDirectory, recipe: MakeRecipe) -> None:
    made = recipe(lr=2e-5, target_modules="x.*", kl={"coef": 0.1})
    directory.check(made)
    directory.claim(made)
    assert directory.recipe() == made
    assert directory.eval.is_dir()
    assert directory.checkpoints.is_dir()
    directory.check(made)
    before = directory.recipe_file.stat().st_mtime_ns
    directory.claim(made)
    assert directory.recipe_file.stat().st_mtime_ns == before, "a second claim writes nothing"


def test_another_recipes_directory_is_refused_with_what_differs(
    directory: RunDirectory, recipe: MakeRecipe
) -> None:
    directory.claim(recipe(lr=1e-3))
    with pytest.raises(RunError, match=r"belongs to another recipe \(lr: 0\.001 there, 0\.002 now\)"):
        directory.check(recipe(lr=2e-3))


def test_a_folder_that_is_something_else_is_refused(directory: RunDirectory, recipe: MakeRecipe) -> None:
    directory.path.mkdir(parents=True)
    directory.check(recipe())
    (directory.path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="exists and is no run directory"):
        directory.check(recipe())


def test_a_file_in_its_place_is_refused(directory: RunDirectory, recipe: MakeRecipe) -> None:
    directory.path.parent.mkdir()
    directory.path.write_text("")
    with pytest.raises(RunError, match="exists and is no run directory"):
        directory.check(recipe())


def test_what_a_kill_leaves_before_the_recipe_is_written_is_no_obstacle(
    directory: RunDirectory, recipe: MakeRecipe
) -> None:
    directory.eval.mkdir(parents=True)
    (directory.path / ".recipe.yaml.partial").write_text("bas")
    directory.check(recipe())


@pytest.mark.parametrize(
    "status",
    [
        RunStatus(state="running"),
        RunStatus(state="failed", step=3, reason="loss nan at step 4"),
        RunStatus(state="finished", step=9, tokens=100, supervised_tokens=40, seconds=1.5, best_step=6),
    ],
)
def test_a_status_comes_back(status: RunStatus, directory: RunDirectory, recipe: MakeRecipe) -> None:
    directory.claim(recipe())
    directory.set_status(status)
    assert directory.status() == status
    assert status.over == (status.state in ("failed", "finished"))


@pytest.fixture
def checkpointed(directory: RunDirectory) -> RunDirectory:
    for name in ("step-2", "step-10", "step-9", ".step-11.partial", ".step-10.old", "step-12.bak"):
        (directory.checkpoints / name).mkdir(parents=True)
    return directory


def test_the_newest_checkpoint_has_the_highest_number(checkpointed: RunDirectory) -> None:
    assert checkpointed.latest_checkpoint() == checkpointed.checkpoints / "step-10"


def test_the_oldest_checkpoints_are_deleted(directory: RunDirectory) -> None:
    for step in (2, 9, 10, 100):
        (directory.checkpoints / f"step-{step}").mkdir(parents=True)
    directory.prune_checkpoints(5)
    directory.prune_checkpoints(2)
    assert sorted(path.name for path in directory.checkpoints.iterdir()) == ["step-10", "step-100"]
    directory.prune_checkpoints(2)
    assert len(list(directory.checkpoints.iterdir())) == 2


def test_a_full_disk_is_told_in_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10**6, 10**6))
    check_room(tmp_path / "new", 10**6)
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(RunError, match="1 MB free on this disk, 3 MB needed"):
        check_room(tmp_path / "new", 3 * 10**6)


def test_a_run_is_two_adapters_and_checkpoints_of_three_buffers(recipe: MakeRecipe) -> None:
    assert run_bytes(1000, recipe(save_limit=2)) == 4 * (2 * 1000 + 3 * 3 * 1000)
