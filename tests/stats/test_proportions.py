"""Shares of tasks that are passed."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.stats.proportions import mean_pass_at_k, pass_at_k


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_all_draws_of_k_answers_with_a_hit(samples: Any, data: Any) -> None:
    passed, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    answers = [number < passed for number in range(samples)]
    draws = [any(draw) for draw in combinations(answers, k)]
    assert pass_at_k(samples, passed, k) == pytest.approx(np.mean(draws), abs=1e-12)


@given(st.integers(1, 8), st.data())
def test_more_answers_or_more_passes_never_lower_it(samples: Any, data: Any) -> None:
    passed, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    assert pass_at_k(samples, min(passed + 1, samples), k) >= pass_at_k(samples, passed, k) - 1e-12
    assert pass_at_k(samples, passed, min(k + 1, samples)) >= pass_at_k(samples, passed, k) - 1e-12


def test_the_mean_over_tasks_and_its_interval_over_them() -> None:
    rng = np.random.default_rng(0)
    tasks = [(rng.random(5) < chance).tolist() for chance in rng.random(40)]
    interval = mean_pass_at_k(tasks, 3)
    estimates = [pass_at_k(5, sum(task), 3) for task in tasks]
    draws = np.random.default_rng(1)
    means = [np.mean(draws.choice(estimates, 40)) for _ in range(4000)]
    assert interval.value == pytest.approx(np.mean(estimates), abs=1e-12)
    assert (interval.low, interval.high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.02)
    assert interval.n == 40
