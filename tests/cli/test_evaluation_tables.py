"""Results of evaluations on a terminal, and the exit code of one that failed."""

from pathlib import Path
from typing import ClassVar

import pytest
import typer
from rich.console import Console

from paceline.api.results import StudyResult
from paceline.cli.evaluation_tables import print_evaluation
from paceline.cli.run import _print_result
from paceline.runs.evaluations import (
    CodeScores,
    CodeSummary,
    EvaluationResult,
    FailedEvaluation,
    MTBenchScores,
    MTBenchSummary,
    PairwiseScores,
)
from paceline.stats.intervals import Interval
from paceline.stats.paired import Difference

FAILED = FailedEvaluation(evaluation="code", runs=("a", "b"), reason="no sandbox [here]")


def printed(result: EvaluationResult) -> str:
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as capture:
        print_evaluation(result, console)
    return capture.get()


def mean(value: float) -> Interval:
    return Interval(value=value, low=value - 0.1, high=value + 0.1, n=20)


def test_passed_tasks_show_the_paired_change_and_its_verdict() -> None:
    change = Difference(delta=0.3, low=0.1, high=0.5, n=20, observations=20, better="higher")
    base = CodeScores(pass_at_1=mean(0.2), cut=0, compile_rate=None, kinds={})
    own = CodeScores(pass_at_1=mean(0.5), cut=0, compile_rate=mean(0.7), kinds={}, change=change)
    summary = CodeSummary(
        suite="rust",
        tasks=20,
        left_out={},
        samples=1,
        run_a_minute_a_core=60.0,
        runs={"base": base, "a": own},
    )
    text = printed(summary)
    assert "50.0% [40.0%, 60.0%]" in text
    assert "+30.0 [+10.0, +50.0] differ" in text
    assert "paired, task by task" in text


def test_mtbench_shows_the_change_from_the_base() -> None:
    change = Difference(delta=-0.4, low=-0.6, high=0.1, n=20, observations=40, better="higher")
    scores = MTBenchScores(average=mean(5.0), failed=1, turns={"1": mean(5.2)}, categories={}, change=change)
    summary = MTBenchSummary(
        judge="simple", comparable_with_published=False, questions=20, runs={"a": scores}
    )
    text = printed(summary)
    assert "5.00 [4.90, 5.10]" in text
    assert "-0.40 [-0.60, +0.10] tie" in text
    assert "not comparable with published ones" in text


def test_a_failed_evaluation_is_told_with_its_reason() -> None:
    assert "code failed for a, b: no sandbox [here]" in printed(FAILED)


class Length(EvaluationResult):
    kind: ClassVar[str] = "length"

    words: int


def test_another_package_s_result_is_printed_whole() -> None:
    assert '"words": 3' in printed(Length(words=3))


def test_a_study_with_a_failed_evaluation_exits_with_1(tmp_path: Path) -> None:
    fine = StudyResult(folder=tmp_path, name="s", runs=())
    failed = StudyResult(folder=tmp_path, name="s", runs=(), evaluations=[FAILED])
    assert (fine.failed_evaluations, failed.failed_evaluations) == ([], [FAILED])
    _print_result(fine, as_json=True)
    with pytest.raises(typer.Exit) as caught:
        _print_result(failed, as_json=True)
    assert caught.value.exit_code == 1


def test_mtbench_shows_wins_against_the_base_and_what_is_withheld() -> None:
    pairs = PairwiseScores(win_rate=mean(0.7), wins=12, ties=4, losses=4, swayed=3, failed=1)
    own = MTBenchScores(average=mean(5.0), failed=0, turns={}, categories={}, pairwise=pairs)
    cut = own.model_copy(update={"withheld": "no verdict: 9 of 40 answers cut"})
    runs = {"fine": own, "cut": cut}
    text = printed(MTBenchSummary(judge="openai:m", comparable_with_published=True, questions=20, runs=runs))
    assert "70.0% [60.0%, 80.0%] differ" in text
    assert "70.0% [60.0%, 80.0%] no verdict: 9 of 40 answers cut" in text
    assert text.count("no verdict: 9 of 40 answers cut") == 2, "of the rating's change too"
