"""Each conclusion is drawn from numbers that the tables hold."""

import re
from dataclasses import replace
from typing import Any

import pytest

from paceline.report.conclusions import conclusions, conclusions_about
from paceline.runs.evaluations import CodeScores, CodeSummary
from paceline.stats.intervals import Interval
from paceline.stats.paired import Difference


def test_every_number_of_a_conclusion_is_in_the_tables(written: Any) -> None:
    facts, markdown, _ = written
    tables = "\n".join(line for line in markdown.read_text().splitlines() if line.startswith("|"))
    sentences = conclusions(facts)
    assert any("beats" in sentence or "cannot be told apart" in sentence for sentence in sentences)
    for row in facts.comparison.rows:
        assert f"{row.eval_loss:.4f}" in tables
    base = facts.comparison.base_loss
    assert f"from {base:.4f} to" in sentences[0]
    assert f"{base:.4f}" in tables


def test_a_tie_says_how_many_examples_would_tell(facts: Any) -> None:
    for name, pair in facts.pairs.items():
        sentence = next(s for s in conclusions(facts) if name in s and ("beats" in s or "told apart" in s))
        if pair.verdict == "tie":
            needed = int(re.search(r"about ([\d,]+) would", sentence)[1].replace(",", ""))
            assert needed >= pair.n * (pair.half_width / abs(pair.delta)) ** 2 * 0.999
        else:
            assert f"{pair.delta:.3f} ±" in sentence


def share(value: Any, n: Any = 50) -> Any:
    return Interval(value=value, low=value - 0.1, high=value + 0.1, n=n)


def with_code(facts: Any, name: Any, change: Any) -> Any:
    """The study with one run's 41% against the base's 38% of 50 tasks."""
    rates = {"base": (0.38, None), name: (0.41, change)}
    scores = {
        run: CodeScores(pass_at_1=share(rate), cut=0, compile_rate=None, kinds={}, change=difference)
        for run, (rate, difference) in rates.items()
    }
    summary = CodeSummary(
        suite="rust", tasks=50, left_out={}, samples=1, run_a_minute_a_core=9.0, runs=scores
    )
    runs = [replace(run, code={"rust": summary} if run.name == name else {}) for run in facts.runs]
    return replace(facts, runs=runs)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.05, 0.11, "the two cannot be told apart (+3.0 points, 95% from -5.0 to +11.0)."),
        (0.01, 0.05, "measurably more (+3.0 points, 95% from +1.0 to +5.0)."),
    ],
)
def test_passed_tasks_have_an_interval_and_a_verdict(facts: Any, low: Any, high: Any, words: Any) -> None:
    change = Difference(delta=0.03, low=low, high=high, n=50, observations=50, better="higher")
    sentence = f"faster passes 41.0% of 50 rust tasks, the base 38.0%: {words}"
    assert sentence in conclusions(with_code(facts, "faster", change))


def test_a_run_better_than_the_baseline_on_tasks_is_named(facts: Any) -> None:
    change = Difference(delta=0.1, low=0.02, high=0.2, n=50, observations=50, better="higher")
    code = with_code(facts, "faster", change)
    study = replace(code, from_baseline=replace(facts.from_baseline, code={"rust": {"faster": change}}))
    expected = "faster passes more rust tasks than plain (+10.0 points, 95% from +2.0 to +20.0)."
    assert expected in conclusions(study)
    assert expected in conclusions_about(study, "faster")


def test_conclusions_about_a_run_are_not_those_of_one_with_a_longer_name(facts: Any) -> None:
    renamed = replace(facts, runs=[replace(facts.runs[0], name="twin-2"), *facts.runs[1:]])
    own = conclusions_about(renamed, "twin")
    assert own
    assert not any(sentence.startswith("twin-2") for sentence in own)


def test_nothing_finished_nothing_concluded(facts: Any) -> None:
    nothing = replace(facts, comparison=None, runs=[])
    assert conclusions(nothing) == ["No run has finished: there is nothing to conclude."]
