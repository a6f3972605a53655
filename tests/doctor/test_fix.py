"""The changes that findings propose, written into a copy of the file."""

from pathlib import Path
from typing import Any

import yaml

from paceline.config.load import load_study
from paceline.doctor.finding import Finding
from paceline.doctor.fix import write_fixed


def finding(run: Any = "", **fix: Any) -> Any:
    return Finding(
        severity="warning", message="", fix={k.replace("__", "."): v for k, v in fix.items()}, run=run
    )


def fixed(path: Any, content: Any, *findings: Any) -> Any:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    target, difference = write_fixed(path, findings)
    assert target.name == f"{path.stem}.fixed.yaml"
    return yaml.safe_load(target.read_text()), difference


def test_the_worst_finding_wins(tmp_path: Path) -> None:
    content, difference = fixed(
        tmp_path / "r.yaml", {"lr": 1.0}, finding(lr=1e-4), finding(lr=2e-4, epochs=2)
    )
    assert content == {"lr": 1e-4, "epochs": 2}
    assert "-lr: 1.0\n+lr: 0.0001" in difference


def test_dotted_fields_go_into_the_data_also_where_it_is_only_a_source(tmp_path: Path) -> None:
    change = finding(data__clean__duplicates="near")
    content, _ = fixed(tmp_path / "r.yaml", {"data": "rows.jsonl"}, change)
    assert content == {"data": {"source": "rows.jsonl", "clean": {"duplicates": "near"}}}


def test_each_run_of_a_study_gets_its_own_and_others_go_into_the_shared_recipe(tmp_path: Path) -> None:
    study = {"recipe": {"lr": 1.0}, "runs": [{"name": "a"}, {"name": "b"}]}
    changes = (finding("a, b", epochs=2), finding("b", lr=2e-4), finding("made-elsewhere", save_limit=1))
    content, _ = fixed(tmp_path / "s.yaml", study, *changes)
    assert content["runs"] == [{"name": "a", "epochs": 2}, {"name": "b", "lr": 2e-4, "epochs": 2}]
    assert content["recipe"] == {"lr": 1.0, "save_limit": 1}


def test_nothing_to_change_is_no_difference(tmp_path: Path) -> None:
    assert fixed(tmp_path / "r.yaml", {"lr": 1.0})[1] == ""


def test_a_run_that_takes_the_baseline_s_value_over_keeps_it(tmp_path: Path) -> None:
    """What was found of the baseline alone changes the baseline alone."""
    study = {
        "recipe": {"base": "embedded", "data": "embedded:rust"},
        "runs": [
            {"name": "big", "batch_size": 8, "grad_accum": 16},
            {"name": "small", "batch_size": 2},
            {"name": "own", "grad_accum": 3},
        ],
    }
    content, _ = fixed(tmp_path / "s.yaml", study, finding("big", grad_accum=2))
    was, now = (load_study(tmp_path / name).runs for name in ("s.yaml", "s.fixed.yaml"))
    assert [run.recipe.effective_batch for run in was[1:]] == [run.recipe.effective_batch for run in now[1:]]
    assert now[0].recipe.effective_batch == 16
    assert content["runs"][2] == {"name": "own", "grad_accum": 3}


def test_a_replicate_s_finding_changes_its_recipe(tmp_path: Path) -> None:
    study = {
        "recipe": {"base": "embedded", "data": "embedded:rust", "lr": 1.0},
        "runs": [{"name": "a", "lr": 0.5, "seeds": 2}, {"name": "b"}],
    }
    content, _ = fixed(tmp_path / "s.yaml", study, finding("a-seed43", lr=1e-4))
    assert content["runs"][0]["lr"] == 1e-4
    assert content["recipe"]["lr"] == 1.0
