"""Killed inside --extend, at each change of a file: the run is what it was, or the command extends it."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import MakeRecipe, MakeStudy, adapter_bytes, some_inputs
from paceline.config.recipe import Recipe
from paceline.config.study import recipe_differences
from paceline.runs.directory import RunDirectory
from paceline.training.extend import plan_extension
from paceline.training.prepare import Prepared, Preparer
from paceline.training.study import TrainingOptions, train_study

# What changes a folder; a file that is being written is not there before its rename.
CHANGES = ("rename", "replace", "unlink", "rmdir", "fsync")
STEADY: dict[str, Any] = {
    "batch_size": 2, "grad_accum": 1, "warmup_ratio": 0, "save_steps": 2, "save_limit": 3, "eval_steps": 2,
}  # fmt: skip
# A run that goes on from its end, and one that goes back to before its decay.
SCHEDULES: dict[str, dict[str, Any]] = {
    "from its end": {**STEADY, "lr_scheduler": "constant"},
    "from before": {**STEADY, "lr_scheduler": "warmup_stable_decay", "decay_ratio": 0.4},
}


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], list[int]]]:
    """Arms a kill before the nth change of a file; None: never. The list counts the changes."""
    with monkeypatch.context() as patched:
        state: dict[str, Any] = {"count": [0], "at": None}

        def dying(real: Callable[..., Any]) -> Callable[..., Any]:
            def change(*arguments: Any, **options: Any) -> Any:
                if state["count"][0] == state["at"]:
                    raise Killed
                state["count"][0] += 1
                return real(*arguments, **options)

            return change

        for name in CHANGES:
            patched.setattr(os, name, dying(getattr(os, name)))

        def arm(at: int | None) -> list[int]:
            state.update(count=[0], at=at)
            counted: list[int] = state["count"]
            return counted

        yield arm


@pytest.fixture(params=list(SCHEDULES))
def fields(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SCHEDULES[request.param]


def extend(folder: Path, longer: Prepared) -> None:
    """What the command does before it trains."""
    directory = RunDirectory(folder)
    if recipe_differences(directory.recipe(), longer.recipe):
        plan_extension(directory, longer).apply(longer.recipe, some_inputs())


def files(folder: Path) -> dict[str, bytes]:
    """All that is read of a run; what is hidden is nobody's."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if "/." not in f"/{name}"}


def assert_whole(folder: Path, shorter: Recipe) -> None:
    """It is a finished run, or one that goes on from a whole checkpoint."""
    directory = RunDirectory(folder)
    if directory.status().state == "finished":
        assert directory.recipe() == shorter
        assert (directory.eval / "final.parquet").is_file()
        assert (directory.adapter / "adapter_model.safetensors").is_file()
        return
    checkpoint = directory.latest_checkpoint()
    assert checkpoint is not None
    parts = {"adapter_model.safetensors", "optimizer.safetensors", "progress.json", "inputs.json"}
    assert parts <= {path.name for path in checkpoint.iterdir()}


def test_a_kill_at_any_change_leaves_a_run_that_the_same_command_extends(
    fields: dict[str, Any],
    recipe: MakeRecipe,
    study: MakeStudy,
    kill_at: Callable[[int | None], list[int]],
    tmp_path: Path,
) -> None:
    shorter, longer = recipe(**fields, max_steps=7), recipe(**fields, max_steps=12)
    train_study(study(a=shorter), tmp_path / "finished")
    prepared = Preparer().prepare(longer)

    shutil.copytree(tmp_path / "finished", tmp_path / "extended")
    counted = kill_at(None)
    extend(tmp_path / "extended" / "a", prepared)
    changes, expected = counted[0], files(tmp_path / "extended" / "a")
    assert changes > 8
    for at in range(changes):
        killed = tmp_path / f"killed-{at}"
        shutil.copytree(tmp_path / "finished", killed)
        kill_at(at)
        with pytest.raises(Killed):
            extend(killed / "a", prepared)
        kill_at(None)
        assert_whole(killed / "a", shorter)
        extend(killed / "a", prepared)
        found = files(killed / "a")
        # killed after the new recipe is there it is as if killed while training: a status without digests
        states = {json.loads(of.pop("status.json"))["state"] for of in (found, dict(expected))}
        assert states <= {"stopped", "running"}
        assert not RunDirectory(killed / "a").damaged_files()
        others = {name: content for name, content in expected.items() if name != "status.json"}
        assert found == others, f"killed before change {at} of {changes}"


@pytest.mark.slow
def test_a_run_that_was_killed_and_extended_ends_as_the_longer_run(
    recipe: MakeRecipe, study: MakeStudy, kill_at: Callable[[int | None], list[int]], tmp_path: Path
) -> None:
    fields = SCHEDULES["from its end"]
    shorter, longer = study(a=recipe(**fields, max_steps=4)), study(a=recipe(**fields, max_steps=8))
    train_study(longer, tmp_path / "whole")
    train_study(shorter, tmp_path / "run")
    prepared = Preparer().prepare(longer.runs[0].recipe)
    kill_at(5)
    with pytest.raises(Killed):
        extend(tmp_path / "run" / "a", prepared)
    kill_at(None)
    train_study(longer, tmp_path / "run", TrainingOptions(extend=True))
    assert adapter_bytes(tmp_path / "run" / "a") == adapter_bytes(tmp_path / "whole" / "a")
