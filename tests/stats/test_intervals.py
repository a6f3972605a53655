"""Intervals, each a second way."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from paceline.stats.intervals import (
    cluster_interval,
    ratio_interval,
    reach_of_alike,
    share_interval,
    wilson_interval,
)

UNITS = st.lists(st.tuples(st.floats(-50, 50), st.integers(1, 30)), min_size=2, max_size=30)


def test_a_mean_of_plain_values_has_scipy_s_interval() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 40)
    direct = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    interval = ratio_interval(values, np.ones(40))
    assert (interval.low, interval.high) == pytest.approx(direct, abs=1e-12)
    assert interval.n == 40


def test_a_mean_over_tokens_has_about_the_bootstrap_s_interval() -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 40, 400).astype(float)
    totals = rng.gamma(2.0, 3.0, 400) * counts
    interval = ratio_interval(totals, counts)
    drawn = rng.integers(0, 400, (20_000, 400))
    low, high = np.percentile(totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (2.5, 97.5))
    assert interval.value == pytest.approx(totals.sum() / counts.sum(), abs=1e-12)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.1 * (high - low))


@pytest.mark.parametrize("units", [3, 5, 8])
def test_few_units_have_intervals_that_hold(units: int) -> None:
    rng, studies = np.random.default_rng(8), 2000
    held = 0
    for totals in rng.normal(1.0, 1.0, (studies, units)):
        interval = ratio_interval(totals, np.ones(units))
        held += interval.low <= 1.0 <= interval.high
    assert held >= stats.binom.ppf(0.001, studies, 0.95)


def test_samples_of_one_task_narrow_no_share() -> None:
    """Tasks are passed always or never: ten answers to each say no more than one does."""
    tasks = list(range(20)) * 10
    passed = [task % 3 == 0 for task in tasks]
    many, one = share_interval(tasks, passed), share_interval(tasks[:20], passed[:20])
    assert one == wilson_interval(7, 20)
    assert many.half_width == pytest.approx(one.half_width, rel=0.25)
    assert share_interval(tasks, [True] * 200) == wilson_interval(20, 20)


def test_a_difference_that_few_units_show_alike_is_none() -> None:
    for units, is_sure in ((2, False), (5, False), (6, True)):
        assert (reach_of_alike(0.5, units) < 0.5) == is_sure == (stats.binomtest(units, units).pvalue < 0.05)


@settings(max_examples=25, deadline=None)
@given(UNITS, st.floats(-10, 10))
def test_a_shift_of_every_observation_shifts_the_interval(units: Any, shift: Any) -> None:
    totals, counts = (np.asarray(column, dtype=float) for column in zip(*units, strict=True))
    plain, moved = ratio_interval(totals, counts), ratio_interval(totals + shift * counts, counts)
    for name in ("value", "low", "high"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name) + shift, abs=1e-7)


def test_bounds_end_where_values_do() -> None:
    interval = ratio_interval([9.5, 10.0, 6.0], [1, 1, 1], within=(1.0, 10.0))
    assert interval.high == 10.0
    assert ratio_interval([9.5], [1], within=(1.0, 10.0)).low == 1.0


def test_four_times_the_units_halve_the_interval() -> None:
    rng = np.random.default_rng(2)
    totals, counts = rng.normal(0, 1, 200), np.ones(200)
    once, four_times = ratio_interval(totals, counts), ratio_interval(np.tile(totals, 4), np.tile(counts, 4))
    assert four_times.value == pytest.approx(once.value)
    assert four_times.half_width == pytest.approx(once.half_width / 2, rel=0.06)


def test_repeated_observations_of_a_cluster_narrow_nothing() -> None:
    values = np.random.default_rng(4).normal(5, 1, 30).tolist()
    clusters = list(range(30))
    once = cluster_interval(clusters, values)
    repeated = cluster_interval(clusters * 3, values * 3)
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high), abs=1e-12)
    assert repeated.n == 30
    naive = cluster_interval(list(range(90)), values * 3)
    assert naive.half_width < 0.7 * once.half_width


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(200):
        counts = rng.integers(1, 20, 100)
        totals = rng.normal(2.0, 1.0, 100) * counts
        interval = ratio_interval(totals, counts)
        hits += interval.low <= 2.0 <= interval.high
    assert 180 <= hits <= 199, "95% of 200 intervals, give or take"


def test_no_unit_and_units_that_are_alike() -> None:
    nothing = ratio_interval([], [])
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high, nothing.n) == (-math.inf, math.inf, 0)
    alike = ratio_interval([4.0, 8.0], [1, 2])
    assert (alike.value, alike.low, alike.high) == (4.0, 4.0, 4.0)


@given(st.integers(1, 200), st.data())
def test_wilson_s_interval_is_the_textbook_formula(count: Any, data: Any) -> None:
    hits = data.draw(st.integers(0, count))
    interval, share, z = wilson_interval(hits, count), hits / count, stats.norm.ppf(0.975)
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    assert interval.value == share
    assert interval.low == pytest.approx(max(0.0, middle - half), abs=1e-9)
    assert interval.high == pytest.approx(min(1.0, middle + half), abs=1e-9)


def test_a_share_of_nothing_may_be_anything() -> None:
    interval = wilson_interval(0, 0)
    assert (interval.low, interval.high, interval.n) == (0.0, 1.0, 0)
