"""Scores from judgments."""

import math
from typing import Any

import numpy as np
import pytest

from paceline.evaluate.mtbench.judges.reward import squash
from paceline.evaluate.mtbench.scoring import scores
from paceline.runs.evaluations import FAILED, Judgment, MTBenchScores


def judgments(rating: Any, questions: Any = 3) -> Any:
    return [
        Judgment(run="r", id=str(q), category="ab"[q % 2], turn=turn, rating=rating(q, turn), reply="")
        for q in range(questions)
        for turn in range(2)
    ]


def test_failed_parses_are_counted_and_left_out_of_means() -> None:
    base = judgments(lambda q, turn: FAILED if q == 0 and turn else 4.0 + turn, 6)
    own = scores(base)
    assert own.failed == 1
    assert own.turns["1"].value == 4.0
    assert own.average.value == pytest.approx((6 * 4 + 5 * 5) / 11)
    better = judgments(lambda q, turn: FAILED if q == 0 and turn else 5.0 + turn, 6)
    assert scores(better, base).change.verdict == "differ"
    assert scores(better, base).change.observations == 11
    assert scores(base, base).change.verdict == "tie"


def test_the_means_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.uniform(1, 10, (40, 2))
    own = scores(judgments(lambda q, turn: drawn[q, turn], 40))
    assert own.average.value == pytest.approx(drawn.mean())
    assert own.average.n == 40, "questions are the units, not their turns"
    assert own.turns["2"].value == pytest.approx(drawn[:, 1].mean())
    assert own.categories["b"].value == pytest.approx(drawn[1::2].mean())
    means = [drawn[rng.integers(0, 40, 40)].mean() for _ in range(4000)]
    assert (own.average.low, own.average.high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.06)


def rewards(raw: Any) -> Any:
    return [
        Judgment(run="r", id=str(q), category="a", turn=0, rating=squash(raw(q)), raw=raw(q), reply="")
        for q in range(8)
    ]


def test_runs_are_compared_by_the_raw_reward() -> None:
    """A reward that rises from -0.57 to 0.03 falls on the squashed scale."""
    base, own = rewards(lambda q: -0.57 + q / 1000), rewards(lambda q: 0.03 + q / 1000)
    figures = scores(own, base, cut=0, base_cut=0)
    assert figures.average.value < scores(base).average.value
    assert figures.change.delta == pytest.approx(0.6)
    assert (figures.change.verdict, figures.cut) == ("differ", 0)
    assert MTBenchScores.model_validate_json(figures.to_json()) == figures
    older = figures.model_dump_json(exclude={"cut"})
    assert MTBenchScores.model_validate_json(older).change is None, "it was of the squashed ratings"
    assert scores(own, judgments(lambda q, turn: 5.0)).change is None, "a reward against a rating"


def test_where_over_a_twentieth_of_either_s_answers_was_cut_nothing_is_said_of_the_change() -> None:
    base, own = judgments(lambda q, turn: 5.0, 20), judgments(lambda q, turn: 6.0 + turn, 20)
    assert scores(own, base, cut=2, base_cut=2).change.verdict == "differ"
    assert scores(own, base, cut=2, base_cut=2).withheld == ""
    for counts, said in (((3, 0), "3 of 40"), ((0, 3), "3 of the base's 40")):
        figures = scores(own, base, *counts)
        assert (figures.change, figures.withheld) == (None, f"no verdict: {said} answers cut")
        assert MTBenchScores.model_validate_json(figures.to_json()) == figures
    assert scores(base, cut=9).withheld == "", "the base itself has no change"


def test_where_every_parse_failed_there_is_no_score() -> None:
    nothing = scores(judgments(lambda q, turn: FAILED), judgments(lambda q, turn: 5.0))
    assert nothing.failed == 6
    assert math.isnan(nothing.average.value)
    assert nothing.change is None
