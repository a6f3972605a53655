"""Figures as people read them."""

import pytest

from paceline.report.format import seen

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        (0.0888, "8.9% once"),
        (0.42, "42% once"),
        (0.994, "99% once"),
        (0.999, "once"),
        (1.0, "once"),
        (1.04, "once"),
        (1.42, "1.4 times"),
        (2.0, "2 times"),
        (7.11, "7.1 times"),
    ],
)
def test_passes_are_said_so_that_nobody_asks_what_200_percent_are(coverage: float, said: str) -> None:
    assert seen(coverage) == said
