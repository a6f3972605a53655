"""A study's folder: its record comes back, and its runs are found in its order."""

from pathlib import Path

import pytest

from helpers import MakeRecipe
from paceline.config.study import Run, Study
from paceline.errors import PacelineError, RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.study import (
    RunEntry,
    StudyRecord,
    read_study_record,
    recipe_groups,
    run_directories,
    write_study_record,
)


@pytest.fixture
def written(recipe: MakeRecipe, tmp_path: Path) -> Path:
    runs = [
        Run(name="z-first", hypothesis="the baseline: é", recipe=recipe()),
        Run(name="a-second", recipe=recipe(lr=1e-2)),
    ]
    study = Study(name="rates", objective="which\nrate", runs=runs, published={"z-first": {"loss": 0.766}})
    write_study_record(study, tmp_path)
    for run in runs:
        RunDirectory(tmp_path / run.name).claim(run.recipe)
    return tmp_path


def test_a_studys_record_comes_back(written: Path) -> None:
    record = read_study_record(written)
    assert record == StudyRecord(
        study="rates",
        objective="which\nrate",
        runs=[
            RunEntry(name="z-first", hypothesis="the baseline: é", recipe="z-first", seed=42),
            RunEntry(name="a-second", recipe="a-second", seed=42),
        ],
        published={"z-first": {"loss": 0.766}},
    )
    assert record.hypotheses == {"z-first": "the baseline: é", "a-second": ""}


def test_a_folder_without_a_record_is_named_after_itself(tmp_path: Path) -> None:
    assert read_study_record(tmp_path) == StudyRecord(study=tmp_path.name)


def test_runs_come_in_the_studys_order(written: Path) -> None:
    assert [directory.name for directory in run_directories([written])] == ["z-first", "a-second"]


def test_runs_and_studies_can_be_named_together(written: Path) -> None:
    found = run_directories([written / "a-second", written])
    assert [directory.path for directory in found] == [
        written / "a-second",
        written / "z-first",
        written / "a-second",
    ]


def test_a_path_that_is_neither_is_refused(written: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"neither a run directory \(recipe\.yaml\) nor a study's"):
        run_directories([written, tmp_path / "z-first" / "eval"])


def test_a_record_of_another_shape_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("study: rates\nruns: 5\n")
    with pytest.raises(PacelineError, match=r"study\.yaml: .*runs"):
        read_study_record(tmp_path)


@pytest.fixture
def replicated(recipe: MakeRecipe, tmp_path: Path) -> Path:
    runs = [
        Run(name="low", recipe=recipe(seed=1)),
        Run(name="high", recipe=recipe(seed=1, lr=1e-2)),
        Run(name="low-seed2", recipe=recipe(seed=2), replicate_of="low"),
    ]
    folder = tmp_path / "rates"
    folder.mkdir()
    write_study_record(Study(name="rates", runs=runs), folder)
    for run in runs:
        RunDirectory(folder / run.name).claim(run.recipe)
    return folder


def _shape(paths: list[Path]) -> list[tuple[str, list[str], tuple[int, ...]]]:
    groups = recipe_groups(run_directories(paths))
    return [(group.name, [d.name for d in group.directories], group.seeds) for group in groups]


def test_replicates_are_one_recipe(replicated: Path) -> None:
    expected = [("low", ["low", "low-seed2"], (1, 2)), ("high", ["high"], (1,))]
    assert _shape([replicated]) == expected
    assert _shape([replicated / "low", replicated / "high", replicated / "low-seed2"]) == expected


def test_a_run_given_twice_counts_once(replicated: Path) -> None:
    assert _shape([replicated / "high", replicated])[0] == ("high", ["high"], (1,))


def test_runs_without_a_record_are_recipes_of_their_own(replicated: Path) -> None:
    (replicated / "study.yaml").unlink()
    assert _shape([replicated / "low", replicated / "low-seed2"]) == [
        ("low", ["low"], (1,)),
        ("low-seed2", ["low-seed2"], (2,)),
    ]


def test_a_record_of_an_older_study_says_neither_recipe_nor_seed(replicated: Path) -> None:
    (replicated / "study.yaml").write_text("study: rates\nruns:\n- name: low\n- name: not-begun\n")
    assert _shape([replicated]) == [("low", ["low"], (1,)), ("not-begun", ["not-begun"], (0,))]


def test_recipes_of_two_studies_with_one_name_are_told_apart(replicated: Path, recipe: MakeRecipe) -> None:
    other = replicated.parent / "other"
    other.mkdir()
    write_study_record(Study(name="other", runs=[Run(name="low", recipe=recipe(seed=7))]), other)
    RunDirectory(other / "low").claim(recipe(seed=7))
    assert _shape([replicated / "low", other]) == [
        ("rates/low", ["low"], (1,)),
        ("other/low", ["low"], (7,)),
    ]
