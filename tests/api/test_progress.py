"""The progress of a study: lines where there is no terminal, bars on one, HTML in a notebook."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from paceline.api import progress
from paceline.api.console import SafeConsole
from paceline.api.findings import Findings
from paceline.api.progress import ProgressBar
from paceline.doctor.finding import Finding
from paceline.runs.directory import RunDirectory, RunStatus


def cohort(step: Any = 2, state: Any = "running") -> Any:
    """Two runs under way."""
    runs = [
        SimpleNamespace(
            name=name,
            step=step,
            total_steps=4,
            done=step / 4,
            tokens=100 * step,
            state=state,
            last_logged=SimpleNamespace(loss=1.5),
            last_evaluation=SimpleNamespace(loss=1.25),
            recipe=SimpleNamespace(effective_batch=4),
        )
        for name in ("low", "<high>")
    ]
    return SimpleNamespace(runs=runs, active=[run for run in runs if run.state == "running"])


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> Any:
    """(a progress bar, what it has written) for a console of some kind."""

    def make(**kind: Any) -> Any:
        text = io.StringIO()
        monkeypatch.setattr(progress, "SafeConsole", lambda **_: SafeConsole(file=text, width=100, **kind))
        return ProgressBar(), text

    return make


def test_lines_come_now_and_then(bar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, text = bar()
    shown.on_micro_step(cohort())
    assert text.getvalue() == ""
    monkeypatch.setattr(progress, "PLAIN_SECONDS", -1.0)
    shown.on_micro_step(cohort())
    assert "low:     2/4 loss 1.5000" in text.getvalue()


def test_bars_are_drawn_until_nothing_is_active(bar: Any) -> None:
    shown, text = bar(force_terminal=True)
    with shown:
        shown.on_micro_step(cohort())
        assert shown._display._bars is not None
        shown.on_micro_step(cohort(4, "finished"))
        assert shown._display._bars is None
        shown.on_answers(1, 2, 30)
    assert shown._display._bars is None
    assert "finished eval loss 1.2500" in text.getvalue()
    assert "1/2" in text.getvalue()


def test_a_notebook_shows_html_in_its_place(bar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    class Handle:
        def update(self, content: Any) -> None:
            drawn.append(content._repr_html_())

    def display(content: Any, display_id: Any) -> Any:
        drawn.append(content._repr_html_())
        return Handle()

    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    monkeypatch.setattr(progress, "NOTEBOOK_SECONDS", -1.0)
    shown, _ = bar(force_jupyter=True)
    shown.on_micro_step(cohort())
    shown.on_micro_step(cohort(4, "finished"))
    assert len(drawn) == 3
    assert "&lt;high&gt;" in drawn[0]
    assert 'value="0.500"' in drawn[0]
    assert drawn[1] == drawn[2]


def test_findings_are_told_with_what_to_try(bar: Any) -> None:
    shown, text = bar()
    shown.on_check(
        Findings([Finding(severity="error", message="too high", fix={"lr": 1e-4}, rule="rate", run="low")])
    )
    assert text.getvalue() == "low: error: too high (rate)\n    try lr: 0.0001\n"


def replicates(recipes: int, seeds: int) -> Any:
    """Runs of some recipes, the first recipe's finished."""
    runs = [
        SimpleNamespace(
            name=f"recipe{number}" + (f"-seed{seed}" if seed else ""),
            step=4 if number == 0 else 2,
            total_steps=4,
            done=0.5,
            tokens=100,
            state="finished" if number == 0 else "running",
            last_logged=SimpleNamespace(loss=1.0 + seed),
            last_evaluation=SimpleNamespace(loss=1.25),
            recipe=SimpleNamespace(effective_batch=4, seed=seed),
        )
        for number in range(recipes)
        for seed in range(seeds)
    ]
    return SimpleNamespace(runs=runs, active=[run for run in runs if run.state == "running"])


def test_many_replicates_are_one_bar_a_recipe_and_all_is_always_in_sight(bar: Any) -> None:
    """A terminal of 24 rows and 36 runs: rich draws no row below the last one."""
    shown, _ = bar(force_terminal=True, height=24)
    with shown:
        shown.on_micro_step(replicates(4, 9))
        drawn = shown._display._bars.get_renderable()
    console = Console(width=100, record=True)
    console.print(drawn)
    lines = [line.split() for line in console.export_text().splitlines()]
    assert [line[0] for line in lines] == ["recipe0", "recipe1", "recipe2", "recipe3", "all"]
    assert " ".join(lines[0]).endswith("36/36 9 finished, mean loss 5.0000")
    assert " ".join(lines[1]).endswith("18/36 9 running, mean loss 5.0000")


def test_of_too_many_recipes_those_under_way_are_drawn() -> None:
    lines = progress._lines(replicates(30, 1).runs, 5)
    assert [line.name for line in lines] == ["recipe1", "recipe2", "recipe3", "recipe4", "26 more"]
    assert (lines[-1].completed, lines[-1].total) == (25 * 2 + 4, 26 * 4)
    assert len(progress._lines(replicates(4, 1).runs, 5)) == 4


def test_a_log_without_a_terminal_has_few_lines(bar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, text = bar()
    monkeypatch.setattr(progress, "PLAIN_SECONDS", -1.0)
    shown.on_micro_step(replicates(4, 9))
    assert [line.split(":")[0] for line in text.getvalue().splitlines()] == [
        "recipe1 × 9",
        "recipe2 × 9",
        "recipe3 × 9",
        "starting",
    ]


def test_a_run_that_ends_before_its_last_step_says_why(bar: Any, tmp_path: Any) -> None:
    shown, text = bar()
    directory = RunDirectory(tmp_path)
    directory.set_status(RunStatus(state="finished", step=40, total_steps=112))
    shown.on_end(SimpleNamespace(name="a", directory=directory))
    status = RunStatus(state="finished", step=40, total_steps=112, stopped_early=True, reason="no better")
    directory.set_status(status)
    shown.on_end(SimpleNamespace(name="a", directory=directory))
    assert text.getvalue() == "a: stopped early at step 40 of 112: no better\n"


def test_only_the_first_process_shows_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    ProgressBar().on_message("loading")
    assert capsys.readouterr().err == ""
