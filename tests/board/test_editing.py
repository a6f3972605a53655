"""A study edited in the page: the answers are those of the command line."""

from typing import Any

from board.conftest import EVIL, HOST
from paceline.board.editing import study_text
from paceline.config.load import load_study
from paceline.runs.study import run_directories


def test_the_text_is_the_study_of_the_folder(boarded: Any, tmp_path: Any) -> None:
    directories = run_directories([boarded])
    (tmp_path / "again.yaml").write_text(study_text(boarded, directories))
    again = load_study(tmp_path / "again.yaml")
    assert [run.recipe for run in again.runs] == [directory.recipe() for directory in directories]


def test_check_and_plan_answer_what_is_posted(boarded: Any, ask: Any) -> None:
    text = study_text(boarded, run_directories([boarded])).replace("lr: 0.01", "lr: 0.9")
    checked = ask("POST", "/study", {"text": text, "question": "check"})
    assert checked.status_code == 200, checked.text[-800:]
    assert "lr: 0.9" in checked.text
    assert "what to try" in checked.text
    planned = ask("POST", "/study", {"text": text, "question": "plan"}).text
    assert "time alone" in planned
    assert ">faster<" in planned
    wrong = f"study: x\nruns: [{{name: a}}]\nlrr: '{EVIL}'"
    refused = ask("POST", "/study", {"text": wrong, "question": "check"})
    assert refused.status_code == 422
    assert "unknown field" in refused.text
    assert EVIL not in refused.text
    assert ask("POST", "/study", {"text": text, "question": "check"}, Origin=HOST + "0").status_code == 403
