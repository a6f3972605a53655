"""What is read from run directories."""

from pathlib import Path
from typing import Any

import pytest

from paceline.errors import PacelineError
from paceline.report.collect import collect_study
from paceline.report.export import write_report
from paceline.report.families import too_cut
from paceline.runs.losses import ExampleLosses


def test_facts_hold_every_run_and_what_was_evaluated(facts: Any) -> None:
    assert [run.name for run in facts.runs] == ["plain", "faster", "twin"]
    for run in facts.runs:
        assert run.state == "finished"
        assert set(run.mtbench.runs) == {"base", run.name}
        assert run.forgetting.rows == 6
        code = run.code["problems"].runs[run.name]
        assert code.change is None
        assert code.withheld.startswith("no verdict: ")
    assert facts.families.mtbench is None, "all of its answers are cut"
    assert {name for name, _ in facts.families.withheld} == {"plain", "faster", "twin", "base"}
    assert facts.families.forgetting.units == 6
    assert not facts.families.forgetting.between("twin", "base").covers_seeds
    assert facts.runs[0].differences == {}
    assert facts.runs[1].differences == {"lr": (3e-3, 1e-2)}


def test_samples_are_the_answers_of_all_recipes_beside_the_base_s(facts: Any) -> None:
    assert [sample.suite for sample in facts.samples[:8]] == ["mtbench"] * 8, "four questions of two turns"
    assert {sample.suite for sample in facts.samples[8:]} == {"problems"}
    losses = {row.name: row.eval_loss for row in facts.comparison.rows}
    for sample in facts.samples:
        assert list(sample.after) == sorted(losses, key=losses.__getitem__), "the lowest loss first"
        assert sample.question
        assert sample.before


def test_each_file_of_losses_is_read_once(
    studied: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read, files = ExampleLosses.read, []

    def counting(path: Any) -> Any:
        files.append(path)
        return read(path)

    monkeypatch.setattr(ExampleLosses, "read", counting)
    write_report(collect_study(studied), tmp_path)
    held_out = [file for file in files if not file.name.startswith("forgetting")]
    assert len(held_out) == len(set(files) & set(held_out)) == 4, "three runs, and the base once"


def test_a_single_run_has_a_report_too(studied: Any, tmp_path: Path) -> None:
    write_report(collect_study(studied / "plain"), tmp_path)
    assert "plain" in (tmp_path / "report.md").read_text()
    with pytest.raises(PacelineError, match="neither a run directory"):
        collect_study(tmp_path)


def test_a_recipe_with_over_a_twentieth_of_its_answers_cut_is_not_compared_by_them() -> None:
    found = too_cut(
        {"fine": [(1, 20), (1, 20)], "cut": [(1, 20), (2, 20)], "base": [], "none": [(0, 0)]}, "X"
    )
    assert list(found) == ["cut"]
    assert found["cut"].startswith("No verdict on X of cut: 8% of its answers were cut")
