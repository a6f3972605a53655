"""How many units would tell two runs apart."""

import math
from typing import Any

import numpy as np
import pytest

from paceline.stats.paired import Difference, paired_difference
from paceline.stats.power import units_needed


def test_with_the_units_needed_the_interval_just_leaves_zero_out() -> None:
    rng = np.random.default_rng(1)
    gaps = rng.normal(0.05, 1.0, 400)
    tie = paired_difference(gaps, np.zeros(400), np.ones(400), better="lower")
    assert tie.verdict == "tie"
    needed = units_needed(tie)
    times = math.ceil(needed / 400)
    larger = paired_difference(
        np.tile(gaps, times), np.zeros(400 * times), np.ones(400 * times), better="lower"
    )
    assert larger.half_width == pytest.approx(abs(larger.delta) * math.sqrt(needed / (400 * times)), rel=0.1)


@pytest.mark.parametrize(("delta", "bound"), [(0.0, 1.0), (1.0, math.inf)])
def test_no_number_where_nothing_differs_or_nothing_is_known(delta: Any, bound: Any) -> None:
    difference = Difference(delta=delta, low=-bound, high=bound, n=1, observations=1, better="lower")
    assert units_needed(difference) == math.inf
