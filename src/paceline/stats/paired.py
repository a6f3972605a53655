"""The difference between two runs that were measured on the same units."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from paceline.stats.intervals import ratio_interval, reach_of_alike
from paceline.stats.verdict import Better, Verdict, verdict


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much higher a run's mean is than another's, with the bounds of its 95% interval.

    `better` says which values of the measure are the better ones. `n` units (examples, questions, tasks) that
    hold `observations` (tokens, turns) were compared; `left_out` units were measured in only one of the runs.
    """

    delta: float
    low: float
    high: float
    n: int
    observations: int
    better: Better
    left_out: int = 0

    @property
    def verdict(self) -> Verdict:
        """Whether these two runs differ. The interval covers no seeds, so neither recipe is better."""
        return verdict(self.low, self.high, self.better, covers_seeds=False)

    @property
    def half_width(self) -> float:
        """Half of the distance between the bounds."""
        return (self.high - self.low) / 2


def paired_difference(
    run: ArrayLike, other: ArrayLike, counts: ArrayLike, *, better: Better, left_out: int = 0
) -> Difference:
    """Difference of two weighted means over the same units, with its interval over them (`ratio_interval`).

    It is of each unit's own difference, so what makes a unit hard for both cancels out. The interval covers
    the choice of units, not of the training seed. A single unit says nothing of how much units differ, nor do
    a few that are all alike (`reach_of_alike`).

    Args:
        run: sums of a run's observations over each unit.
        other: the other run's, unit by unit.
        counts: how many observations each unit has in both runs.

    Raises:
        ValueError: no unit.
    """
    run, other, counts = (np.asarray(values, dtype=np.float64) for values in (run, other, counts))
    if len(run) == 0:
        raise ValueError("a difference needs at least one unit that both runs were measured on")
    interval = ratio_interval(run - other, counts)
    if interval.low == interval.high:
        reach = reach_of_alike(interval.value, interval.n)
        interval = replace(interval, low=interval.value - reach, high=interval.value + reach)
    return Difference(
        delta=interval.value,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        observations=round(float(counts.sum())),
        better=better,
        left_out=left_out,
    )
