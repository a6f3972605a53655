"""One rule from interval to verdict."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.stats.verdict import verdict

BOUND = st.floats(-100, 100)


@pytest.mark.parametrize(
    ("low", "high", "lower_is_better", "higher_is_better"),
    [
        (0.1, 0.3, "worse", "better"),
        (-0.3, -0.1, "better", "worse"),
        (-0.1, 0.3, "tie", "tie"),
        (0.0, 0.3, "tie", "tie"),
        (-0.3, 0.0, "tie", "tie"),
        (float("-inf"), float("inf"), "tie", "tie"),
    ],
)
def test_better_and_worse_only_where_zero_is_left_out(
    low: Any, high: Any, lower_is_better: Any, higher_is_better: Any
) -> None:
    assert verdict(low, high, "lower") == lower_is_better
    assert verdict(low, high, "higher") == higher_is_better


@given(BOUND, BOUND)
def test_the_other_direction_and_the_other_sign_each_swap_the_verdict(one: Any, two: Any) -> None:
    low, high = sorted((one, two))
    swapped = {"better": "worse", "worse": "better", "tie": "tie"}
    assert verdict(low, high, "higher") == swapped[verdict(low, high, "lower")]
    assert verdict(-high, -low, "lower") == swapped[verdict(low, high, "lower")]
