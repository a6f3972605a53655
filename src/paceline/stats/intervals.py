"""A figure with its 95% interval, and how intervals are made. `ratio_interval` is the only bootstrap."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 9999
# Numbers that one batch of resamples holds in memory at once.
_BATCH_NUMBERS = 2**22


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


def ratio_interval(totals: ArrayLike, counts: ArrayLike, *, seed: int = 0) -> Interval:
    """sum(totals) / sum(counts), with a percentile interval from a bootstrap over units.

    A unit is a cluster of observations that are not independent of one another: the tokens of an example, the
    turns of a question. `totals` are the sums of the observations of each unit, `counts` how many there are;
    both of a unit are drawn together (Efron and Tibshirani 1993, ch. 13; Davison and Hinkley 1997, sec. 3.8;
    what scipy.stats.bootstrap does with paired=True, without half a second of import). Where all units have
    the same mean, both bounds are the value.

    Shapes: (units,) each.
    """
    totals, counts = np.asarray(totals, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    units = len(totals)
    if units == 0:
        return Interval(value=np.nan, low=-np.inf, high=np.inf, n=0)
    value = float(_ratio(totals, counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = np.ptp(totals / counts) == 0
    if alike:
        return Interval(value=value, low=value, high=value, n=units)
    low, high = np.percentile(_resampled_ratios(totals, counts, np.random.default_rng(seed)), (2.5, 97.5))
    return Interval(value=value, low=float(low), high=float(high), n=units)


def cluster_interval(clusters: Sequence[Hashable], values: Sequence[float], *, seed: int = 0) -> Interval:
    """Mean of values that belong to clusters, with an interval from a bootstrap over the clusters."""
    grouped: dict[Hashable, list[float]] = {}
    for cluster, value in zip(clusters, values, strict=True):
        grouped.setdefault(cluster, []).append(value)
    totals, counts = [sum(group) for group in grouped.values()], [len(group) for group in grouped.values()]
    return ratio_interval(totals, counts, seed=seed)


def wilson_interval(hits: int, count: int) -> Interval:
    """A share of independent trials with Wilson's score interval (Wilson 1927, JASA 22:209)."""
    if count == 0:
        return Interval(value=np.nan, low=0.0, high=1.0, n=0)
    from scipy import stats  # half a second of import that a comparison of losses does without

    bounds = stats.binomtest(hits, count).proportion_ci(0.95, "wilson")
    return Interval(value=hits / count, low=float(bounds.low), high=float(bounds.high), n=count)


def _resampled_ratios(
    totals: NDArray[np.float64], counts: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float64]:
    """The ratio of RESAMPLES draws of as many units with replacement; shape (RESAMPLES,)."""
    units = len(totals)
    batch = max(1, _BATCH_NUMBERS // units)
    ratios = []
    for start in range(0, RESAMPLES, batch):
        drawn = random.integers(0, units, (min(batch, RESAMPLES - start), units))
        ratios.append(_ratio(totals[drawn], counts[drawn]))
    return np.concatenate(ratios)


def _ratio(totals: NDArray[np.float64], counts: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    return np.asarray(totals.sum(axis=axis) / counts.sum(axis=axis))
