"""`init` and `try`: what they write for a data set, and what they refuse."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from paceline.api.findings import Findings
from paceline.cli import start
from paceline.cli.main import app
from paceline.config.load import load_study
from paceline.config.starter import GOALS
from paceline.doctor.finding import Finding
from paceline.errors import ConfigError, DataError, ModelError


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """40 rows in columns that no format has, in the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    lines = [
        {"Question": f"What is {i} and {i}?", "my_answer": f"It is {2 * i}.", "id": i} for i in range(40)
    ]
    Path("sums.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return "sums.jsonl"


def paceline(*arguments: str) -> Any:
    """What a command prints; its error is raised."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def written(*arguments: str) -> Any:
    paceline("init", "--base", "embedded", "--no-check", "--no-rehearse", *arguments)
    return load_study(Path("study.yaml"))


@pytest.mark.parametrize("goal", GOALS)
def test_init_writes_three_recipes_of_three_seeds_for_a_goal(rows: str, goal: str) -> None:
    study = written("--data", rows, "--goal", goal)
    assert [len(replicates) for replicates in study.recipes.values()] == [3, 3, 3]
    baseline, *challengers = (replicates[0] for replicates in study.recipes.values())
    assert baseline.recipe.data.columns == {"prompt": "Question", "completion": "my_answer"}
    assert all(study.differences(run) and run.hypothesis and run.expects for run in challengers)
    assert bool(baseline.recipe.eval.forgetting) == (goal == "keep")
    assert not study.notes


def test_init_says_in_the_file_what_it_saw(rows: str) -> None:
    study = written("--data", rows, "--seeds", "2")
    text = Path("study.yaml").read_text()
    assert "(40 rows, read as prompt-completion)" in text
    assert "about 10 of 40 rows" in text
    assert study.name == "sums"
    assert len(study.runs) == 6


def test_init_writes_over_nothing_that_it_is_not_told_to(rows: str) -> None:
    Path("study.yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"study.yaml is there already; .* --force"):
        written("--data", rows)
    assert Path("study.yaml").read_text() == "mine"
    assert written("--data", rows, "--force").name == "sums"


def test_init_without_a_terminal_asks_nothing(rows: str) -> None:
    with pytest.raises(ConfigError, match=r"no data is named; give .* as --data"):
        paceline("init")
    with pytest.raises(ConfigError, match="--goal qualty: no such goal, did you mean 'quality'"):
        paceline("init", "--data", rows, "--goal", "qualty")
    assert not Path("study.yaml").exists()


def test_init_asks_on_a_terminal_for_what_no_flag_says(rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_on_terminal", lambda: True)
    command = ["init", "--no-check", "--no-rehearse"]
    done = CliRunner().invoke(app, command, input=f"{rows}\nembedded\nfast\n", catch_exceptions=False)
    assert "quality: Find the recipe" in done.stdout
    study = load_study(Path("study.yaml"))
    assert study.objective == GOALS["fast"].objective
    assert study.runs[0].recipe.base == "embedded"


def test_init_asks_again_after_an_answer_that_cannot_be(rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotes, as a shell would want them, and spaces around are no part of an answer."""
    monkeypatch.setattr(start, "_on_terminal", lambda: True)
    answers = ["nowhere.jsonl", "   ", f" '{rows}' ", "./no-base", "embedded ", "qualty", "keep"]
    command = ["init", "--no-check", "--no-rehearse"]
    done = CliRunner().invoke(app, command, input="\n".join(answers) + "\n", catch_exceptions=False)
    said = done.output
    assert f"data 'nowhere.jsonl': no such file or folder in {Path.cwd()}" in said
    assert "base './no-base': no such folder" in said
    assert "no such goal, did you mean 'quality'" in said
    there = load_study(Path("study.yaml")).runs[0].recipe
    assert (there.base, there.data.source, bool(there.eval.forgetting)) == ("embedded", rows, True)


@pytest.mark.parametrize("answered", ["", "sums.jsonl\n", "sums.jsonl\nembedded\n"])
def test_init_writes_nothing_where_the_answers_end(
    rows: str, answered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_on_terminal", lambda: True)
    with pytest.raises(ConfigError, match="not all is answered, so nothing is written"):
        CliRunner().invoke(app, ["init"], input=answered, catch_exceptions=False)
    assert not Path("study.yaml").exists()


def test_init_refuses_what_would_make_no_study(rows: str) -> None:
    with pytest.raises(ModelError, match=r"base './nowhere': no such folder"):
        paceline("init", "--data", rows, "--base", "./nowhere")
    done = CliRunner().invoke(app, ["init", "--data", rows, "--base", "embedded", "--seeds", "1001"])
    assert done.exit_code == 2
    assert not Path("study.yaml").exists()


def test_the_command_to_go_on_with_can_be_pasted(rows: str) -> None:
    out = "моё исследование.yaml"
    done = paceline("init", "--data", rows, "--base", "embedded", "--no-check", "--no-rehearse", "-o", out)
    assert shlex.split(done.stdout.splitlines()[-1])[-1] == out
    assert len(load_study(Path(out)).runs) == 9


def test_init_ends_with_1_for_what_the_check_finds_and_says_where_it_could_not_look(
    rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = Finding(severity="error", rule="no-answers", message="nothing would be learned")
    monkeypatch.setattr("paceline.api.planning.check", lambda study, folder: Findings([error]))
    command = ["init", "--base", "embedded", "--data", rows, "--no-rehearse"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "no-answers  nothing would be learned" in done.stdout

    def unreachable(study: Any, folder: Any) -> Any:
        raise ModelError("no such base here")

    monkeypatch.setattr("paceline.api.planning.check", unreachable)
    done = paceline(*command, "--force")
    assert "not checked: no such base here; `paceline check study.yaml` does it" in done.stderr


def test_rows_of_which_too_many_are_bad_are_refused_before_anything_is_written(rows: str) -> None:
    with Path(rows).open("a") as file:
        file.write('{"Question": "What is"\n' * 5)
    with pytest.raises(DataError, match=r"sums.jsonl line 41: .*5 of 45 rows cannot be used"):
        written("--data", rows)
    assert not Path("study.yaml").exists()


def test_try_goes_on_with_its_own_file_and_refuses_another_data_set_under_its_name(
    rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paceline.api import inspection
    from paceline.cli import run

    trained: list[Any] = []
    monkeypatch.setattr(run, "train_and_compare", lambda study, folder, *rest: trained.append(study))
    page = type("Report", (), {"html": Path("report.html")})
    monkeypatch.setattr(inspection, "write_report", lambda folder: page)
    opened: list[Any] = []
    monkeypatch.setattr(start, "_open", opened.append)
    for seeds in ("3", "2"):
        paceline("try", rows, "--seeds", seeds)
    assert [len(study.runs) for study in trained] == [9, 6]
    assert trained[0].runs[0].recipe.data.n == 40
    assert opened == [Path("report.html")] * 2
    Path("other").mkdir()
    Path("other/sums.jsonl").write_text(Path(rows).read_text())
    with pytest.raises(ConfigError, match=r"runs/try-sums.yaml is a study of 40 rows of sums.jsonl"):
        paceline("try", "other/sums.jsonl")


def test_a_page_is_opened_only_for_somebody_with_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    start._open(Path("report.html"))
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    start._open(Path("report.html"))
    assert opened == [Path("report.html").resolve().as_uri()]
