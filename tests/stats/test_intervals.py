"""Intervals, each a second way."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from paceline.stats.intervals import RESAMPLES, cluster_interval, ratio_interval, wilson_interval

UNITS = st.lists(st.tuples(st.floats(-50, 50), st.integers(1, 30)), min_size=2, max_size=30)


def test_the_bootstrap_is_numpy_s_own_draws_in_a_loop() -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 40, 57).astype(float)
    totals = rng.gamma(2.0, 3.0, 57) * counts
    interval = ratio_interval(totals, counts, seed=5)
    draws = np.random.default_rng(5)
    means = []
    for _ in range(RESAMPLES):
        drawn = draws.integers(0, 57, 57)
        means.append(totals[drawn].sum() / counts[drawn].sum())
    assert interval.value == pytest.approx(totals.sum() / counts.sum(), abs=1e-12)
    assert interval.low == pytest.approx(np.percentile(means, 2.5), abs=1e-9)
    assert interval.high == pytest.approx(np.percentile(means, 97.5), abs=1e-9)
    assert interval.n == 57


def test_a_mean_of_plain_values_is_scipy_s() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 40)
    direct = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    interval = ratio_interval(values, np.ones(40))
    assert (interval.low, interval.high) == pytest.approx((direct.low, direct.high), abs=1e-12)


def test_many_units_are_drawn_in_batches_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, counts = np.random.default_rng(1).normal(0, 1, (2, 300))
    counts = np.abs(counts) + 1
    whole = ratio_interval(values, counts)
    monkeypatch.setattr("paceline.stats.intervals._BATCH_NUMBERS", 3000)
    assert ratio_interval(values, counts) == whole


@settings(max_examples=25, deadline=None)
@given(UNITS, st.floats(-10, 10))
def test_a_shift_of_every_observation_shifts_the_interval(units: Any, shift: Any) -> None:
    totals, counts = (np.asarray(column, dtype=float) for column in zip(*units, strict=True))
    plain, moved = ratio_interval(totals, counts), ratio_interval(totals + shift * counts, counts)
    for name in ("value", "low", "high"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name) + shift, abs=1e-7)


@settings(max_examples=25, deadline=None)
@given(UNITS)
def test_the_bounds_lie_around_the_value_and_within_the_units(units: Any) -> None:
    totals, counts = (np.asarray(column, dtype=float) for column in zip(*units, strict=True))
    interval = ratio_interval(totals, counts)
    means = totals / counts
    assert means.min() - 1e-9 <= interval.low <= interval.high <= means.max() + 1e-9


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
