"""Paired differences of two runs over the same units."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from paceline.stats.paired import paired_difference
from paceline.stats.recipes import RecipeScores, compare_recipes

TRIPLES = st.lists(
    st.tuples(st.floats(0.01, 50), st.floats(0.01, 50), st.integers(1, 30)), min_size=2, max_size=40
)


def noisy(rng: Any, count: Any, shift: Any, spread: Any) -> Any:
    """Two runs whose units differ much in difficulty, and little between the runs."""
    difficulty = rng.gamma(2.0, 5.0, count)
    return difficulty + rng.normal(shift, spread, count), difficulty, np.full(count, 10)


def test_a_small_but_steady_gain_differs_and_the_same_gain_in_noise_is_a_tie() -> None:
    rng = np.random.default_rng(0)
    assert paired_difference(*noisy(rng, 1000, -0.5, 0.5), better="lower").verdict == "differ"
    assert paired_difference(*noisy(rng, 1000, 0.5, 0.5), better="lower").verdict == "differ"
    assert paired_difference(*noisy(rng, 1000, 0.5, 0.5), better="higher").verdict == "differ"
    assert paired_difference(*noisy(rng, 100, -0.05, 5.0), better="lower").verdict == "tie"


def test_it_is_about_scipy_s_paired_bootstrap_of_the_weighted_means() -> None:
    rng = np.random.default_rng(7)
    counts = rng.integers(1, 50, 80).astype(float)
    run, other = rng.gamma(2, 5, (2, 80)) * counts

    def statistic(a: Any, b: Any, weights: Any, axis: Any = -1) -> Any:
        return a.sum(axis=axis) / weights.sum(axis=axis) - b.sum(axis=axis) / weights.sum(axis=axis)

    direct = stats.bootstrap(
        (run, other, counts), statistic, paired=True, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    ours = paired_difference(run, other, counts, better="lower", left_out=3)
    assert (ours.low, ours.high) == pytest.approx(tuple(direct), abs=0.1 * (direct.high - direct.low))
    assert ours.delta == pytest.approx(np.average(run / counts - other / counts, weights=counts), abs=1e-12)
    assert (ours.n, ours.observations, ours.left_out) == (80, counts.sum(), 3)


@settings(max_examples=30, deadline=None)
@given(TRIPLES)
def test_swapping_the_runs_mirrors_the_difference_and_its_verdict(triples: Any) -> None:
    run, other, counts = zip(*triples, strict=True)
    one = paired_difference(run, other, counts, better="lower")
    two = paired_difference(other, run, counts, better="lower")
    assert one.delta == pytest.approx((sum(run) - sum(other)) / sum(counts), abs=1e-9)
    assert one.delta == pytest.approx(-two.delta, abs=1e-12)
    assert one.low - 1e-9 <= one.delta <= one.high + 1e-9
    assert (one.low, one.high) == pytest.approx((-two.high, -two.low), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(TRIPLES, st.floats(-20, 20))
def test_what_makes_a_unit_hard_for_both_cancels_out(triples: Any, shift: Any) -> None:
    run, other, counts = (np.asarray(column, dtype=float) for column in zip(*triples, strict=True))
    plain = paired_difference(run, other, counts, better="lower")
    harder = paired_difference(run + shift * counts, other + shift * counts, counts, better="lower")
    for name in ("delta", "low", "high"):
        assert getattr(harder, name) == pytest.approx(getattr(plain, name), abs=1e-8)


def test_a_single_unit_says_nothing_and_none_is_refused() -> None:
    one = paired_difference([5.0], [1.0], [2], better="higher")
    assert (one.delta, one.low, one.high, one.verdict) == (2.0, -math.inf, math.inf, "tie")
    with pytest.raises(ValueError, match="at least one unit"):
        paired_difference([], [], [], better="lower")


def test_a_run_against_itself_is_a_tie() -> None:
    assert paired_difference([3.0, 4.0], [3.0, 4.0], [1, 1], better="lower").verdict == "tie"


@pytest.mark.parametrize(("units", "verdict"), [(3, "tie"), (6, "differ")])
def test_units_that_all_show_one_difference(units: int, verdict: str) -> None:
    ones = np.ones(units)
    assert paired_difference(ones, np.zeros(units), ones, better="higher").verdict == verdict
    base = RecipeScores(name="base", seeds=(), totals=np.zeros((1, units)))
    run = RecipeScores(name="run", seeds=(1,), totals=ones[None])
    assert compare_recipes([run, base], ones, better="higher").between("run", "base").verdict == verdict
