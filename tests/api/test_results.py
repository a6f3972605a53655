"""Results show themselves, and become frames and mappings."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from tiny_studies import tiny_study

import paceline
from paceline.api.html import table
from paceline.api.svg import Line, interval_bar, line_chart


def test_a_study_is_checked_trained_and_compared_in_one_call(trained: Any) -> None:
    study, result = trained
    assert result.state == "finished"
    assert [run.name for run in result] == ["low", "high"]
    assert [finding.rule for finding in result["high"].preflight] == ["little-coverage", "eval-too-small"]
    assert result.comparison.examples == 15
    assert result["low"].recipe == study.runs[0].recipe
    assert result["high"].hypothesis == "<b>more</b>"


def test_a_run_has_its_log_its_losses_and_its_adapter(trained: Any) -> None:
    run = trained[1]["low"]
    assert [event.event for event in run.events] == ["start", "eval", "train", "train", "finding", "eval"]
    assert isinstance(run.events[2], paceline.TrainEvent)
    assert (run.adapter / "adapter_model.safetensors").is_file()
    assert run.losses.loss.shape == run.base_losses.loss.shape == (15,)
    assert [finding.rule for finding in run.findings] == ["low-coverage"]
    assert run.status.step == 4


def test_everything_becomes_a_frame(trained: Any) -> None:
    _, result = trained
    runs = result.to_pandas()
    assert list(runs.index) == ["low", "high"]
    assert runs.loc["high", "verdict"] in ("differ", "tie")
    assert runs.loc["high", "eval_loss"] == result.comparison.rows[1].eval_loss
    assert list(result.comparison.to_pandas().index) == ["low", "high"]
    curves = result.curves.to_pandas()
    assert set(curves["run"]) == {"low", "high"}
    assert list(curves[curves["run"] == "low"]["event"]) == ["eval", "train", "train", "eval"]
    losses = result["low"].losses.to_pandas()
    assert list(losses.columns) == ["source", "row", "task", "tokens", "loss", "correct", "kl", "answer"]
    assert set(result.findings.to_pandas()["rule"]) == {"low-coverage"}


def test_everything_becomes_json(trained: Any) -> None:
    _, result = trained
    content = json.loads(json.dumps(result.to_dict()))
    assert content["state"] == "finished"
    assert content["comparison"]["recipes"][1]["difference"]["verdict"] in ("differ", "tie")
    assert [run["status"]["step"] for run in content["runs"]] == [4, 4]


def test_everything_shows_itself_and_what_others_wrote_is_escaped(trained: Any) -> None:
    _, result = trained
    for shown in (result, result.comparison, result["high"], result.curves, result.findings):
        html = shown._repr_html_()
        assert "<b>" not in html
        assert "http" not in html
    assert "&lt;b&gt;more&lt;/b&gt;" in result["high"]._repr_html_()
    assert result.comparison._repr_html_().count("<svg") == 1
    assert "low-coverage" in result._repr_html_()


def test_a_finished_folder_opens_again(trained: Any) -> None:
    _, result = trained
    again = paceline.open_study(result.folder)
    assert again.to_dict() == result.to_dict()
    assert again["high"].hypothesis == "<b>more</b>"
    assert paceline.open_study(result.folder / "low").comparison.rows[0].name == "low"
    assert paceline.compare(result.folder) == result.comparison
    assert set(map(str, paceline.diagnose(result.folder))) == set(map(str, result.findings))


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(paceline.RunError, match="neither a run directory"):
        paceline.open_study(tmp_path)


def test_a_run_that_has_not_finished_says_so(tmp_path: Path) -> None:
    result = paceline.StudyResult(
        folder=tmp_path,
        name="rates",
        runs=tuple(paceline.RunResult(paceline_directory(tmp_path, run)) for run in tiny_study().runs),
    )
    assert result.state == "stopped"
    assert "low" in result._repr_html_()
    assert result.to_dict()["comparison"] is None
    assert list(result.to_pandas()["state"]) == ["new", "new"]
    for name in ("losses", "adapter"):
        with pytest.raises(paceline.RunError, match="low: new, no"):
            getattr(result["low"], name)
    with pytest.raises(paceline.RunError, match="no finished run"):
        result.comparison  # noqa: B018
    with pytest.raises(KeyError, match="did you mean 'high'"):
        result["hihg"]


def paceline_directory(folder: Any, run: Any) -> Any:
    from paceline.runs.directory import RunDirectory

    directory = RunDirectory(folder / run.name)
    directory.claim(run.recipe)
    return directory


def test_a_report_is_written(trained: Any, tmp_path: Path) -> None:
    report = paceline.write_report(trained[1].folder, tmp_path)
    assert (report.markdown, report.html) == (tmp_path / "report.md", tmp_path / "report.html")
    assert report.html.is_file()
    assert report.conclusions
    assert report.conclusions[0].split()[0] in report._repr_html_()


def test_the_same_finding_of_several_runs_is_shown_once(trained: Any) -> None:
    findings = trained[1].findings
    assert [finding.run for finding in findings] == ["low", "high"]
    assert [(f.rule, f.run) for f in findings.grouped()] == [("low-coverage", "low, high")]
    assert findings.of_run("high")[0] in findings
    assert findings._repr_html_().count("<tr>") == 2


def test_a_table_escapes_its_cells_and_sets_numbers_right() -> None:
    html = table(("a",), [("<i>",), (1234,)])
    assert "&lt;i&gt;" in html
    assert 'right">1,234<' in html


def test_a_chart_leaves_out_what_is_not_finite() -> None:
    line = Line(name="<run>", x=[0, 1, 2], y=[1.0, math.nan, 2.0], colour="red")
    html = line_chart([line], "step", "loss")
    (points,) = re.findall('points="([^"]*)"', html)
    assert len(points.split()) == 2
    assert "&lt;run&gt;" in html
    assert "nothing is logged" in line_chart([], "step", "loss")


def test_an_interval_is_drawn_on_its_scale() -> None:
    assert 'cx="160.0"' in interval_bar(1.0, 0.5, 2.0, largest=1.0)
    assert interval_bar(0.1, -math.inf, math.inf, largest=1.0) == ""
