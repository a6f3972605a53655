"""Grades and passed tasks of two runs."""

from typing import Any

import pytest

from paceline.comparison.scores import pass_difference, rating_difference
from paceline.runs.evaluations import FAILED, CodeVerdict, Judgment


def judgment(question: Any, turn: Any, rating: Any) -> Any:
    return Judgment(run="r", id=question, category="c", turn=turn, rating=rating, reply="")


def verdict(task: Any, sample: Any, passed: Any) -> Any:
    return CodeVerdict(
        run="r", id=task, sample=sample, finish="stop", kind="k", compiled=True, passed=passed, output=""
    )


def test_ratings_are_paired_turn_by_turn_and_questions_are_the_units() -> None:
    base = [judgment(str(q), turn, 4.0 + turn) for q in range(6) for turn in range(2)]
    run = [judgment(str(q), turn, 4.5 + turn + q / 10) for q in range(6) for turn in range(2)]
    difference = rating_difference(run, base)
    assert difference.delta == pytest.approx(0.75)
    assert (difference.n, difference.observations, difference.verdict) == (6, 12, "differ")
    assert rating_difference(base, run).delta == pytest.approx(-0.75)
    assert rating_difference(base, base).verdict == "tie"


def test_turns_without_a_rating_are_left_out_on_both_sides() -> None:
    base = [judgment("a", 0, 4.0), judgment("a", 1, FAILED), judgment("b", 0, 5.0)]
    run = [judgment("a", 0, 5.0), judgment("a", 1, 9.0), judgment("b", 0, FAILED)]
    difference = rating_difference(run, base)
    assert (difference.n, difference.observations, difference.delta) == (1, 1, 1.0)
    assert difference.verdict == "tie", "one question says nothing"
    assert rating_difference([judgment("z", 0, 4.0)], base) is None


def test_tasks_are_paired_and_their_samples_averaged_first() -> None:
    base = [verdict(f"t{i}", s, False) for i in range(8) for s in range(2)]
    run = [verdict(f"t{i}", s, i < 6 and s == 0) for i in range(8) for s in range(2)]
    difference = pass_difference(run, base)
    assert difference.delta == pytest.approx(6 * 0.5 / 8)
    assert (difference.n, difference.verdict, difference.left_out) == (8, "differ", 0)
    assert pass_difference(base, run).delta < 0


def test_equal_rates_on_other_tasks_are_a_tie_and_not_no_difference() -> None:
    base = [verdict(f"t{i}", 0, i % 2 == 0) for i in range(10)]
    run = [verdict(f"t{i}", 0, i % 2 == 1) for i in range(10)]
    difference = pass_difference(run, base)
    assert difference.delta == 0
    assert difference.low < -0.2 < 0.2 < difference.high
    assert pass_difference(run, []) is None
