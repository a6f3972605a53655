"""Early stops, failures, missing seeds and unequal lengths, wherever recipes are compared."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from losses import example_losses
from paceline.api.comparison import compare
from paceline.cli.tables import print_comparison
from paceline.comparison.caveats import caveats
from paceline.config.load import dump_recipe, make_recipe
from paceline.report.card import model_card
from paceline.report.collect import collect_study
from paceline.report.conclusions import conclusions
from paceline.report.export import write_report
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.events import EventLog, StartEvent, TokenLengths

EARLY = "eval loss had not fallen for 3 evaluations (lowest 1.2000 at step 25)"
START = StartEvent(
    length=TokenLengths(p50=5, p95=9, p99=9, max=9),
    examples=40,
    dropped_no_assistant=0,
    truncated=0,
    answers_lost=0,
    train=30,
    eval=10,
    total_steps=112,
    steps_per_epoch=112,
)
Statuses = dict[str, RunStatus]
MakeStudy = Callable[..., Path]


def finished(step: int = 112, **fields: Any) -> RunStatus:
    return RunStatus(state="finished", step=step, total_steps=112, seconds=1.0, **fields)


@pytest.fixture
def folder(tmp_path: Path) -> MakeStudy:
    """Writes a study of runs with some statuses; `a-seed1` is a replicate of `a`."""

    def make(statuses: Statuses, settings: dict[str, dict[str, str]] = {}) -> Path:  # noqa: B006 - only read
        entries = [{"name": name, "recipe": name.split("-")[0]} for name in statuses]
        (tmp_path / "study.yaml").write_text(yaml.safe_dump({"study": "s", "runs": entries}))
        for number, (name, status) in enumerate(statuses.items()):
            directory = RunDirectory(tmp_path / name)
            directory.eval.mkdir(parents=True)
            own = {"base": "embedded", **settings.get(name, {})}
            recipe = make_recipe({**own, "data": "rows.jsonl", "seed": number}, "test")
            directory.recipe_file.write_text(dump_recipe(recipe))
            directory.set_status(status)
            log = EventLog(directory.events)
            log.write(START)
            log.close()
            if status.state == "finished":
                values = np.arange(40.0) + number
                example_losses(values).save(directory.eval / "final.parquet")
                example_losses(np.full(40, 50.0)).save(directory.eval / "base.parquet")
        return tmp_path

    return make


def texts(path: Path) -> list[str]:
    return [caveat.text for caveat in compare(path).caveats]


def test_runs_that_took_all_their_steps_need_no_caveat(folder: MakeStudy) -> None:
    assert texts(folder({"a": finished(), "b": finished()})) == []


def test_every_kind_of_caveat(folder: MakeStudy) -> None:
    path = folder(
        {
            "a": finished(40, stopped_early=True, reason=EARLY),
            "a-seed1": finished(),
            "a-seed2": RunStatus(state="failed", step=3, total_steps=112, reason="loss nan"),
            "b": finished(),
            "c": RunStatus(state="stopped", step=4, total_steps=112, reason="Ctrl-C"),
            "d": RunStatus(state="running", total_steps=112),
        }
    )
    assert texts(path) == [
        f"a: stopped early at step 40 of 112: {EARLY}.",
        "a-seed2: failed after step 3 of 112: loss nan.",
        "c: stopped at step 4 of 112: Ctrl-C.",
        "d: running, no result.",
        "a: 2 of 3 seeds have a result; its figures are of these, and so is every comparison with it (b).",
        "Not all were trained for as many steps (a 40 to 112, b 112): "
        "what differs between recipes may be due to that.",
    ]


def test_of_two_bases_one_is_shown_and_nothing_is_measured_from_the_other(folder: MakeStudy) -> None:
    bases = {"b": {"base": "Qwen/Qwen3-4B"}, "c": {"quantize": "nf4"}}
    path = folder({"a": finished(), "b": finished(), "c": finished()}, bases)
    assert texts(path) == [
        "Not all train the base of a (b Qwen/Qwen3-4B, c embedded in nf4): a difference between bases is "
        "that of base and recipe together, and the bare base shown is a's."
    ]
    assert [row.from_base is None for row in compare(path).rows] == [False, True, True]
    facts = collect_study(path)
    assert facts.other_bases.keys() == {"b", "c"}
    for run, start in (("b", 50.0), ("c", 60.0)):
        example_losses(np.full(40, start)).save(path / run / "eval" / "base.parquet")
    study = yaml.safe_load((path / "study.yaml").read_text())
    for entry in study["runs"]:
        entry["success"] = [{"figure": "eval_loss_drop", "sign": ">", "bound": 1.0}]
    (path / "study.yaml").write_text(yaml.safe_dump(study))
    drops = [float(one.number.split(",")[0]) for one in collect_study(path).success]
    assert drops == pytest.approx([(50 - 19.5) / 10, (50 - 20.5) / 10, (60 - 21.5) / 10], rel=1e-3)


def test_a_leader_over_another_base_is_told_without_a_change_from_the_baseline_s(folder: MakeStudy) -> None:
    path = folder({"a": finished(), "b": finished()}, {"b": {"base": "Qwen/Qwen3-4B"}})
    example_losses(np.zeros(40)).save(path / "b" / "eval" / "final.parquet")
    first = conclusions(collect_study(path))[0]
    assert first == (
        "b: held-out loss 0.0000; its base is Qwen/Qwen3-4B, not the baseline's, and no change from that one "
        "is given."
    )


def test_a_study_of_which_nothing_finished_says_why(folder: MakeStudy) -> None:
    path = folder({"a": RunStatus(state="failed", step=3, total_steps=112, reason="loss nan")})
    facts = collect_study(path)
    assert facts.comparison is None
    assert "a: failed after step 3 of 112: loss nan." in conclusions(facts)
    assert caveats([RunDirectory(path / "a")], ()) == facts.caveats


def test_they_stand_wherever_recipes_are_compared(folder: MakeStudy, tmp_path: Path) -> None:
    """The terminal, JSON, a notebook, report.md, report.html and the model card."""
    path = folder(
        {
            "a": finished(40, stopped_early=True, reason=EARLY),
            "b": finished(),
            "b-seed1": RunStatus(state="failed", step=3, total_steps=112, reason="loss nan"),
        }
    )
    comparison, facts = compare(path), collect_study(path)
    console = Console(width=200, record=True)
    print_comparison(comparison, console)
    markdown, page = write_report(facts, tmp_path)
    shown = {
        "terminal": console.export_text(),
        "json": json.dumps(comparison.to_dict(), ensure_ascii=False),
        "notebook": str(comparison._repr_html_()),
        "markdown": markdown.read_text(),
        "html": page.read_text(),
    }
    for where, text in shown.items():
        assert f"a: stopped early at step 40 of 112: {EARLY}" in text, where
        assert "b: 1 of 2 seeds have a result" in text, where
        assert "failed after step 3 of 112: loss nan" in text.replace("\\", ""), where
        assert "Not all were trained for as many steps (a 40, b 112)" in text, where
        if where != "json":
            assert text.count("40 of 112") >= 2, f"{where}: in the table and the caveat"
            assert "× 1 of 2" in text, where
    assert comparison.to_dict()["missing"] == {
        "b-seed1": {"state": "failed", "step": 3, "total_steps": 112, "reason": "loss nan"}
    }
    assert comparison.to_dict()["recipes"][0]["replicates"][0]["reason"] == EARLY
    card = model_card(path / "b", "someone/b", merged=False)
    assert "b: 1 of 2 seeds have a result" in card
    assert "a: stopped early" not in card, "it is no matter of this run"
    assert "| 40 of 112 |" in card


def test_the_names_stay_on_a_narrow_terminal(folder: MakeStudy) -> None:
    path = folder({"first": finished(40, stopped_early=True, reason=EARLY), "second": finished()})
    console = Console(width=100, record=True)
    print_comparison(compare(path), console)
    lines = console.export_text().splitlines()
    named = {line.split()[0] for line in lines if line.startswith("  ") and line.strip()}
    assert {"first", "second"} <= named


def test_lengths_that_differ_by_the_recipe_are_said_too(folder: MakeStudy) -> None:
    (said,) = texts(folder({"a": finished(), "b": finished(56)}))
    assert said.startswith("Not all were trained for as many steps (a 112, b 56)")
