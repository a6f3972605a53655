"""What a run was trained with: told apart by name, and refused where it is not what it was."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import MakeRecipe, some_inputs
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.inputs import (
    Inputs,
    changes_of_finished,
    read_inputs,
    refuse_other_inputs,
    write_inputs,
)

WORDS = {
    "base_weights": "the base's weights",
    "base_config": "the base's config.json",
    "tokenizer": "the tokenizer",
    "template": "the chat template",
    "init_from": "the adapter that it starts from",
    "teacher": "the teacher",
    "schedule": "the rates of its lr_scheduler",
    "train_rows": "the training rows",
    "held_out_rows": "the held-out rows",
}


@given(st.sets(st.sampled_from(sorted(WORDS))))
def test_exactly_what_changed_is_named(changed: set[str]) -> None:
    now = some_inputs(**dict.fromkeys(changed, "another"))
    words = [word.removesuffix(" (as tokens, which may follow)") for word in some_inputs().changes(now)]
    assert sorted(words) == sorted(WORDS[name] for name in changed)


def test_every_digest_is_compared() -> None:
    assert set(Inputs.model_fields) == {*WORDS, "version", "checkpoint_format"}


@pytest.fixture
def begun(tmp_path: Path, recipe: MakeRecipe) -> RunDirectory:
    """A run with a checkpoint."""
    directory = RunDirectory(tmp_path / "a")
    directory.claim(recipe())
    write_inputs(directory.path, some_inputs())
    write_inputs(directory.checkpoints / "step-2", some_inputs())
    return directory


def test_the_same_inputs_pass_and_a_new_run_has_none(begun: RunDirectory, tmp_path: Path) -> None:
    assert read_inputs(begun.path) == some_inputs()
    assert refuse_other_inputs(begun, some_inputs()) is None
    assert refuse_other_inputs(RunDirectory(tmp_path / "new"), some_inputs()) is None
    assert changes_of_finished(begun, some_inputs()) is None


def test_others_are_refused_with_what_to_do(begun: RunDirectory) -> None:
    said = "the base's weights and the training rows changed since the run began.*restore what was there"
    now = some_inputs(base_weights="x", train_rows="y")
    with pytest.raises(RunError, match=f"a: {said}.*or train under another name"):
        refuse_other_inputs(begun, now)
    assert "has finished with other inputs than there are now" in str(changes_of_finished(begun, now))


def test_a_checkpoint_of_another_run_is_refused(begun: RunDirectory) -> None:
    write_inputs(begun.checkpoints / "step-4", some_inputs(held_out_rows="another"))
    with pytest.raises(RunError, match="the held-out rows changed"):
        refuse_other_inputs(begun, some_inputs())


def test_a_run_without_a_record_is_refused(begun: RunDirectory) -> None:
    (begun.path / "inputs.json").unlink()
    with pytest.raises(RunError, match=r"no inputs\.json, so nobody can tell"):
        refuse_other_inputs(begun, some_inputs())
    assert "is not recorded" in str(changes_of_finished(begun, some_inputs()))


def test_another_version_is_said_and_another_format_refused(begun: RunDirectory) -> None:
    line = refuse_other_inputs(begun, some_inputs(version="0.2.0"))
    assert line == "a: so far with Paceline 0.1.0, goes on with 0.2.0"
    with pytest.raises(RunError, match=r"written by Paceline 0\.1\.0 in format 2.*reads format 3"):
        refuse_other_inputs(begun, some_inputs(version="0.2.0", checkpoint_format=3))
