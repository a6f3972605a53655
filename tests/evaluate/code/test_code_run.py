"""Pass rates from verdicts."""

from typing import Any

import pytest

from paceline.evaluate.code.run import summarise
from paceline.runs.evaluations import CodeScores, CodeVerdict


def verdicts(passes: Any, run: Any = "a", cut: tuple[int, ...] = (0,)) -> Any:
    return [
        CodeVerdict(
            run=run,
            id=f"t{i}",
            sample=s,
            finish="length" if i in cut else "stop",
            kind="ab"[i % 2],
            compiled=i != 1,
            passed=passes(i, s),
            output="",
        )
        for i in range(6)
        for s in range(2)
    ]


def test_rates_and_kinds() -> None:
    scores = summarise(verdicts(lambda i, s: (i + s) % 3 == 0), 2)
    assert scores.pass_at_1.value == pytest.approx(4 / 12)
    assert scores.pass_at_k.value == pytest.approx(4 / 6)
    assert scores.compile_rate.value == pytest.approx(10 / 12)
    assert scores.cut == 2
    assert set(scores.kinds) == {"a", "b"}
    assert scores.change is None


def test_the_change_from_the_base_is_paired_over_tasks() -> None:
    base = verdicts(lambda i, s: False, "base", cut=())
    own = summarise(verdicts(lambda i, s: True, cut=()), 2, base)
    assert (own.change.delta, own.change.n, own.change.verdict) == (1.0, 6, "differ")
    assert summarise(base, 2, base).change.verdict == "tie"


def test_nothing_is_said_of_a_change_where_many_answers_were_cut() -> None:
    whole, cut = verdicts(lambda i, s: True, cut=()), verdicts(lambda i, s: True)
    assert summarise(whole, 2, whole).withheld == ""
    own, by_base = summarise(cut, 2, whole), summarise(whole, 2, cut)
    assert (own.change, own.withheld) == (None, "no verdict: 2 of 12 answers cut")
    assert (by_base.change, by_base.withheld) == (None, "no verdict: 2 of the base's 12 answers cut")
    assert summarise(cut, 2).withheld == "", "without a base there is no change to speak of"


def test_on_disk_the_rates_have_the_names_of_the_field() -> None:
    scores = summarise(verdicts(lambda i, s: (i + s) % 3 == 0), 2)
    assert {"pass@1", "pass@2"} <= set(scores.model_dump())
    assert CodeScores.model_validate_json(scores.to_json()) == scores
    single = summarise([v for v in verdicts(lambda i, s: i > 2) if v.sample == 0], 1)
    assert "pass@2" not in single.model_dump()
    assert CodeScores.model_validate_json(single.to_json()) == single
