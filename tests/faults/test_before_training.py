"""What is refused, or told, before anything is trained or overwritten; and what is left of other errors."""

import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import MakeBase, MakeRecipe, MakeStudy
from paceline.cli import main as cli
from paceline.config.study import Run, Study
from paceline.errors import DataError, RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.files import told_when_full
from paceline.runs.study import read_study_record, refuse_other_study, write_study_record
from paceline.training.study import TrainingOptions, train_study

SMALL: dict[str, Any] = {"max_steps": 2, "batch_size": 2, "grad_accum": 1, "lora_r": 2}


def test_a_file_that_a_later_cohort_lacks_is_told_before_the_first_one_trains(
    recipe: MakeRecipe, study: MakeStudy, tiny_base: MakeBase, tmp_path: Path
) -> None:
    later = recipe(**SMALL, base=tiny_base("llama"), data=str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        train_study(study(a=recipe(**SMALL), b=later), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_later_cohort_is_checked_before_the_first_one_trains(
    recipe: MakeRecipe, study: MakeStudy, tiny_base: MakeBase, tmp_path: Path
) -> None:
    seen = []

    def refuse_llama(base: Any, preparer: Any, runs: Any) -> None:
        seen.append(sorted(runs))
        if "b" in runs:
            raise RunError("no")

    both = study(a=recipe(**SMALL), b=recipe(**SMALL, base=tiny_base("llama")))
    with pytest.raises(RunError, match="no"):
        train_study(both, tmp_path / "s", TrainingOptions(preflight=refuse_llama))
    assert not (tmp_path / "s" / "a" / "recipe.yaml").exists()
    train_study(both, tmp_path / "s")
    assert [RunDirectory(tmp_path / "s" / name).status().state for name in "ab"] == ["finished"] * 2


def test_the_folder_of_another_study_is_refused_and_not_overwritten(
    recipe: MakeRecipe, tmp_path: Path
) -> None:
    def study_of(name: str, *runs: str) -> Study:
        return Study(name=name, runs=[Run(name=run, recipe=recipe()) for run in runs])

    folder = tmp_path / "rates"
    folder.mkdir()
    rates = study_of("rates", "low", "high")
    write_study_record(rates, folder)
    RunDirectory(folder / "low").claim(recipe())
    refuse_other_study(rates, folder)
    refuse_other_study(study_of("rates", "low", "high", "third"), folder)
    for other, place in (("ranks", folder), ("ranks", folder / "ranks")):
        with pytest.raises(RunError, match="rates is the folder of the study 'rates'; choose another place"):
            refuse_other_study(study_of(other, "a", "b"), place)
    with pytest.raises(RunError, match="is the folder of the study 'rates'"):
        refuse_other_study(study_of("high", "high"), folder)
    (folder / "study.yaml").write_text("stu")  # damaged: it is written again
    refuse_other_study(rates, folder)
    assert read_study_record(tmp_path).runs == []


def test_single_runs_stand_side_by_side(recipe: MakeRecipe, tmp_path: Path) -> None:
    for name in ("a", "b"):
        single = Study(name=name, runs=[Run(name=name, recipe=recipe())])
        refuse_other_study(single, tmp_path)
        write_study_record(single, tmp_path)
        RunDirectory(tmp_path / name).claim(recipe())
    replicates = Study(name="c", runs=[Run(name=name, recipe=recipe()) for name in ("c", "c-seed2")])
    refuse_other_study(replicates, tmp_path / "c")


def test_save_minutes_saves_where_steps_would_not(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    for name, minutes in (("often", 1e-6), ("seldom", 1e6)):
        timed = recipe(**{**SMALL, "max_steps": 3}, save_minutes=minutes, save_limit=9)
        train_study(study(a=timed), tmp_path / name)
    saved = {
        name: sorted(RunDirectory(tmp_path / name / "a").all_checkpoints()) for name in ("often", "seldom")
    }
    assert saved == {"often": [1, 2], "seldom": []}


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors words it
    ],
)
def test_a_full_disk_is_one_line(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no room left on the disk, or no inodes"), told_when_full(tmp_path):
        raise error


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), told_when_full(tmp_path):
        raise PermissionError(13, "Permission denied")


def test_any_error_that_is_left_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: Any) -> None:
        raise KeyError("lost\nkey")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["paceline", "presets"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    errors = capsys.readouterr().err
    assert caught.value.code == 70
    assert len(errors.splitlines()) == 1
    assert "KeyError" in errors
    assert "--debug" in errors
    monkeypatch.setattr(sys, "argv", ["paceline", "presets", "--debug"])
    with pytest.raises(KeyError):
        cli.main()
