"""A figure with its 95% interval, and how intervals are made."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.95
# Degrees of freedom that are as good as no end of them.
_ENDLESS = 1e9
SHARE = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure, the bounds of its 95% interval, and of how many units (examples, questions, tasks) it is.

    Of no unit at all, `value` is NaN and the bounds are infinite.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half of the distance between the bounds."""
        return (self.high - self.low) / 2


def student_quantile(freedom: float, level: float = LEVEL) -> float:
    """The factor of a standard error for one figure by itself: two-sided, Student's t."""
    from scipy.special import stdtrit  # not needed where all pairs are judged together

    return float(stdtrit(min(freedom, _ENDLESS), (1 + level) / 2))


def ratio_interval(
    totals: ArrayLike, counts: ArrayLike, within: tuple[float, float] = (-np.inf, np.inf)
) -> Interval:
    """sum(totals) / sum(counts), with Student's interval over units.

    A unit is a cluster of observations that are not independent of one another: the tokens of an example, the
    turns of a question. `totals` are the sums of the observations of each unit, `counts` how many there are.
    The standard error is the linearised ratio's (Cochran 1977, Sampling Techniques, sec. 6.4). Where all
    units have the same mean, both bounds are the value; a single unit says nothing of how much units differ.

    Shapes: (units,) each.

    Args:
        within: the least and the largest value that there can be.
    """
    totals, counts = np.asarray(totals, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    units = len(totals)
    if units == 0:
        return Interval(value=np.nan, low=-np.inf, high=np.inf, n=0)
    value = float(totals.sum() / counts.sum())
    if units == 1:
        return Interval(value=value, low=within[0], high=within[1], n=1)
    if are_alike(totals, counts):
        return Interval(value=value, low=value, high=value, n=units)
    squares = float(((totals - value * counts) ** 2).sum())
    reach = student_quantile(units - 1) * np.sqrt(squares * units / (units - 1)) / float(counts.sum())
    low, high = max(within[0], value - reach), min(within[1], value + reach)
    return Interval(value=value, low=float(low), high=float(high), n=units)


def are_alike(totals: ArrayLike, counts: ArrayLike) -> bool:
    """Whether all units have the same mean. Shapes: (units,) each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.asarray(totals) / np.asarray(counts)
    return bool(np.ptp(means) <= 1e-12 * np.abs(means).max())


def reach_of_alike(difference: float, units: int) -> float:
    """Half of the interval of a difference that all units show alike: their spread is not to be seen.

    With 97.5% confidence at most the share 1 - 0.025^(1 / units) of all units is not like these (Clopper and
    Pearson 1934, Biometrika 26:404); such are taken for as far on the other side. It is the sign test: five
    units say nothing, six do.
    """
    return float(2 * (1 - ((1 - LEVEL) / 2) ** (1 / units)) * abs(difference))


def cluster_interval(
    clusters: Sequence[Hashable],
    values: Sequence[float],
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """Mean of values that belong to clusters, with its interval over the clusters."""
    grouped: dict[Hashable, list[float]] = {}
    for cluster, value in zip(clusters, values, strict=True):
        grouped.setdefault(cluster, []).append(value)
    totals, counts = [sum(group) for group in grouped.values()], [len(group) for group in grouped.values()]
    return ratio_interval(totals, counts, within)


def share_interval(clusters: Sequence[Hashable], values: Sequence[float]) -> Interval:
    """The same of values from 0 to 1; where there is one a cluster, or they are all won or lost, Wilson's."""
    found = cluster_interval(clusters, values, SHARE)
    alone = found.n == len(values) and set(values) <= {0.0, 1.0}
    if found.n and (alone or found.value in SHARE):
        return wilson_interval(round(found.n * found.value), found.n)
    return found


def wilson_interval(hits: int, count: int) -> Interval:
    """A share of independent trials with Wilson's score interval (Wilson 1927, JASA 22:209)."""
    if count == 0:
        return Interval(value=np.nan, low=0.0, high=1.0, n=0)
    from scipy import stats  # half a second of import that a comparison of losses does without

    bounds = stats.binomtest(hits, count).proportion_ci(0.95, "wilson")
    return Interval(value=hits / count, low=float(bounds.low), high=float(bounds.high), n=count)
