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
    assert verdict(low, high, "lower", covers_seeds=True) == lower_is_better
    assert verdict(low, high, "higher", covers_seeds=True) == higher_is_better
    of_adapters = "tie" if lower_is_better == "tie" else "differ"
    assert verdict(low, high, "lower", covers_seeds=False) == of_adapters


@given(BOUND, BOUND)
def test_the_other_direction_and_the_other_sign_each_swap_the_verdict(one: Any, two: Any) -> None:
    low, high = sorted((one, two))
    swapped = {"better": "worse", "worse": "better", "tie": "tie"}
    plain = verdict(low, high, "lower", covers_seeds=True)
    assert verdict(low, high, "higher", covers_seeds=True) == swapped[plain]
    assert verdict(-high, -low, "lower", covers_seeds=True) == swapped[plain]
