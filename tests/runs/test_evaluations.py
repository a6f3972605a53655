"""Results of evaluations on disk: what is written is read back."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from paceline.runs.evaluations import (
    CodeScores,
    CodeSummary,
    FailedEvaluation,
    JudgeUsage,
    MTBenchScores,
    MTBenchSummary,
    RunForgetting,
    read_code,
    read_mtbench,
)
from paceline.runs.losses import LossSummary
from paceline.runs.records import read_record, write_record
from paceline.stats.intervals import Interval
from paceline.stats.paired import Difference

MEAN = Interval(value=5.0, low=4.0, high=6.0, n=12)
UNKNOWN = Difference(
    delta=1.0, low=-math.inf, high=math.inf, n=1, observations=2, better="higher", left_out=3
)
SCORES = MTBenchScores(average=MEAN, failed=1, turns={"1": MEAN}, categories={"math": MEAN}, change=UNKNOWN)
LOSSES = LossSummary(examples=2, tokens=9, loss=math.nan, perplexity=math.nan, token_accuracy=0.5, kl=0.1)
RECORDS = [
    MTBenchSummary(
        judge="simple",
        comparable_with_published=False,
        questions=12,
        runs={"a": SCORES},
        judge_spent=JudgeUsage(calls=1, prompt_tokens=2, completion_tokens=3),
    ),
    CodeSummary(
        suite="rust",
        tasks=3,
        left_out={"a wrong answer passes": 1},
        samples=4,
        run_a_minute_a_core=50.0,
        runs={
            "a": CodeScores(
                pass_at_1=MEAN,
                cut=0,
                compile_rate=None,
                kinds={"x": MEAN},
                k=4,
                pass_at_k=MEAN,
                change=UNKNOWN,
            )
        },
    ),
    RunForgetting(
        rows=2, source="s", base=LOSSES, run=LOSSES.model_copy(update={"loss": 2.0}), change=UNKNOWN
    ),
    FailedEvaluation(evaluation="code", runs=("a", "b"), reason="no sandbox"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_is_read_as_it_was_written(record: Any, tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", record)
    text = (tmp_path / "r.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert repr(read_record(tmp_path / "r.json", type(record))) == repr(record)


def test_the_names_on_disk_are_those_that_scripts_know() -> None:
    summary = json.loads(RECORDS[0].to_json())
    change = summary["runs"]["a"]["change"]
    assert {"value", "low", "high", "verdict", "graded"} <= set(change)
    assert (change["value"], change["low"], change["verdict"], change["graded"]) == (1.0, None, "tie", 2)
    code = json.loads(RECORDS[1].to_json())["runs"]["a"]
    assert {"pass@1", "pass@4", "compile_rate", "kinds", "cut"} <= set(code)


def test_what_was_not_evaluated_is_none(tmp_path: Path) -> None:
    assert read_mtbench(tmp_path) is None
    assert read_code(tmp_path) == {}


def test_any_suite_is_found_by_its_verdicts(tmp_path: Path) -> None:
    (tmp_path / "echo-verdicts.jsonl").touch()
    write_record(tmp_path / "echo.json", RECORDS[1])
    assert read_code(tmp_path) == {"echo": RECORDS[1]}
