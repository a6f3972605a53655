"""How much a figure moves when nothing but the training seed changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paceline.stats.simultaneous import PairVariances

Floats = NDArray[np.float64]

# Blocks cost degrees of freedom: with two seeds a difference from the base has one left, and its intervals
# hold too seldom.
MIN_BLOCK_SEEDS = 3
# Bartlett's test has to be this sure before recipes' noise is kept apart.
UNLIKE = 0.01
# The standard deviation of a recipe without replicates is taken for so many times what its distance from the
# base says: over five rates (8 seeds each), distances from 0.009 to 0.9 nats, it was from 2.3% to 6.4% of it.
MARGIN = 2.0
LEAST = 0.01


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """The variance of one run's figure over training seeds, as it was estimated on `units` units.

    Args:
        variance: of the figure on those units.
        rest: variance of what a seed does to a single unit beyond what it does to all, so that rest / units
            is its share in `variance`.
        units: how many the variance was measured on.
        freedom: degrees of freedom of the estimate.
        moved: how far the recipes that it was measured on had moved from the base, as `moved_from` says it
            (NaN: no base was measured).
    """

    variance: float
    rest: float
    units: int
    freedom: float
    moved: float = math.nan

    @property
    def can_be_taken_over(self) -> bool:
        """Whether there is any, and a distance that it belongs to: a dead run says nothing of others."""
        return self.variance > 0 and self.moved > 0

    def taken_over(self, moved: float) -> SeedNoise:
        """The noise of a recipe without replicates, which has moved so far from the base, to be safe.

        In proportion to the distance, not less than it was nor than LEAST of the distance, and MARGIN times
        that.
        """
        deviation = max(math.sqrt(self.variance) * max(1.0, moved / self.moved), LEAST * moved)
        return self.scaled(MARGIN**2 * deviation**2 / self.variance)

    def scaled(self, factor: float) -> SeedNoise:
        """A noise of so many times the variance."""
        return replace(self, variance=self.variance * factor, rest=self.rest * factor)

    def on(self, units: int) -> SeedNoise:
        """The same noise for a figure over another number of units."""
        if units == self.units:
            return self
        variance = self.variance + self.rest * (1 / units - 1 / self.units)
        return replace(self, variance=max(variance, self.rest / units), units=units)


@dataclass(frozen=True, kw_only=True)
class PooledSeeds:
    """Seeds' variance where recipes have seeds of their own: one estimate for all, or (Welch) one for each.

    `shares` (recipes,) is 1 / replicates, 0 for the base, which no seed changes.
    """

    noise: Sequence[SeedNoise]
    shares: Floats
    welch: bool = False

    def scaled(self, factor: float) -> PooledSeeds:
        return replace(self, noise=[noise.scaled(factor) for noise in self.noise])

    def of_pair(self, i: int, j: int) -> float:
        return float(self.noise[i].variance * self.shares[i] + self.noise[j].variance * self.shares[j])

    def freedom(self, i: int, j: int) -> float:
        if not self.welch:
            return self.noise[i].freedom
        parts = [(self.noise[k].variance * self.shares[k]) ** 2 / self.noise[k].freedom for k in (i, j)]
        return float(self.of_pair(i, j) ** 2 / sum(parts))

    def draw(self, random: np.random.Generator, draws: int) -> tuple[Floats, PairVariances]:
        variances = np.asarray([noise.variance for noise in self.noise]) * self.shares
        errors = random.standard_normal((draws, len(variances))) * np.sqrt(variances)
        freedoms = np.asarray([noise.freedom for noise in self.noise])
        scales = random.chisquare(freedoms, (draws, len(variances))) / freedoms
        if not self.welch:
            scales = np.broadcast_to(scales[:, :1], scales.shape)
        return errors, lambda i, j: scales[:, i] * variances[i] + scales[:, j] * variances[j]


@dataclass(frozen=True, kw_only=True)
class BlockedSeeds:
    """Seeds' variance where all recipes have the same seeds: what a seed does to all of them drops out.

    A pair's own spread over seeds counts where it is larger than the pooled one, since a far-away recipe may
    answer a seed differently than a near one; `draw` has the same rule, so the critical values know of it.
    With `welch` nothing is pooled: each pair has its own spread alone, which is right whatever noise others
    have (a paired t test).

    Shapes: `means` (trained recipes, seeds). `noise` is what is left of them without the effects of recipes
    and of seeds. `base` is the place of the base among all recipes, whose difference from a recipe keeps what
    a seed does to all.
    """

    means: Floats
    noise: SeedNoise
    base: int | None
    welch: bool = False

    def scaled(self, factor: float) -> BlockedSeeds:
        return replace(self, means=self.means * np.sqrt(factor), noise=self.noise.scaled(factor))

    def of_pair(self, i: int, j: int) -> float:
        return float(self._observed(i, j)[0])

    def freedom(self, i: int, j: int) -> float:
        recipes, seeds = self.means.shape
        own = self.welch or self.base in (i, j)
        return float(seeds - 1 if own else (recipes - 1) * (seeds - 1))

    def draw(self, random: np.random.Generator, draws: int) -> tuple[Floats, PairVariances]:
        recipes, seeds = self.means.shape
        own = self.noise.variance
        common = max(0.0, float(self.means.var(axis=1, ddof=1).mean()) - own)
        drawn = random.standard_normal((draws, recipes, seeds)) * np.sqrt(own)
        drawn += random.standard_normal((draws, 1, seeds)) * np.sqrt(common)
        errors = drawn.mean(axis=2)
        if self.base is not None:
            errors = np.insert(errors, self.base, 0.0, axis=1)
        return errors, self._estimates(drawn)

    @cached_property
    def _observed(self) -> PairVariances:
        return self._estimates(self.means[None])

    def _estimates(self, means: Floats) -> PairVariances:
        """Variances of pairs from figures of shape (draws, trained recipes, seeds)."""
        seeds = means.shape[2]
        pooled = np.zeros(len(means)) if self.welch else 2 * _residual_variance(means)
        within = means.var(axis=2, ddof=1)
        if not self.welch:
            within = np.broadcast_to(within.mean(axis=1, keepdims=True), within.shape)
        by_recipe = np.ascontiguousarray(np.moveaxis(means, 0, -1))  # draws last: 210 pairs in a second

        def of_pair(i: int, j: int) -> Floats:
            places = [k - (self.base is not None and k > self.base) for k in (i, j) if k != self.base]
            if len(places) == 1:
                return np.asarray(within[:, places[0]] / seeds)
            first, second = (by_recipe[place] for place in places)
            return np.asarray(np.maximum(pooled, (first - second).var(axis=0, ddof=1)) / seeds)

        return of_pair


def pooled_noise(influences: Sequence[Floats], means: Sequence[Floats]) -> SeedNoise | None:
    """Noise from the spread of replicates inside each recipe; None where no recipe has two.

    Shapes, by recipe: `influences` (replicates, units), `means` (replicates,).
    """
    freedom = sum(len(own) - 1 for own in means)
    if not freedom:
        return None
    units = influences[0].shape[1]
    spread = sum(float(((own - own.mean()) ** 2).sum()) for own in means)
    rest = sum(float(((own - own.mean(axis=0)) ** 2).sum()) for own in influences)
    return SeedNoise(
        variance=spread / freedom, rest=_per_unit(rest / freedom, units), units=units, freedom=freedom
    )


def blocked_noise(influences: Sequence[Floats], means: Sequence[Floats]) -> SeedNoise:
    """Noise that is a recipe's own: what a seed does to it, and to single units, beyond what it does to all.

    Shapes, by recipe: `influences` (replicates, units), `means` (replicates,); the replicates of all recipes
    are in the same order of seeds.
    """
    stacked = np.stack(influences)
    recipes, replicates, units = stacked.shape
    residual = stacked - stacked.mean(axis=1, keepdims=True) - stacked.mean(axis=0, keepdims=True)
    residual += stacked.mean(axis=(0, 1), keepdims=True)
    freedom = (recipes - 1) * (replicates - 1)
    return SeedNoise(
        variance=float(_residual_variance(np.stack(means)[None])[0]),
        rest=_per_unit(float((residual**2).sum()) / freedom, units),
        units=units,
        freedom=freedom,
    )


def are_blocks(recipes: int, seeds: int) -> bool:
    """Whether so many seeds, shared by so many recipes, are worth to be taken as blocks."""
    return recipes > 1 and seeds >= MIN_BLOCK_SEEDS


def unlike(means: Sequence[Floats]) -> bool:
    """Whether one recipe's noise is clearly another's (Bartlett 1937, Proc. R. Soc. A 160:268).

    Recipes with only two seeds, whose figures may be alike by chance, are not asked.
    """
    still = [np.ptp(own) == 0 for own in means if len(own) > 1]
    if any(still):  # a run that learned nothing has no noise, and no test is needed to see it
        return not all(still)
    replicated = [own for own in means if len(own) > 2]
    freedoms = np.asarray([len(own) - 1 for own in replicated], dtype=np.float64)
    variances = np.asarray([own.var(ddof=1) for own in replicated])
    if len(replicated) < 2:
        return False
    from scipy.special import chdtrc  # not needed where no recipe is replicated

    total = freedoms.sum()
    pooled = float(freedoms @ variances / total)
    statistic = total * np.log(pooled) - freedoms @ np.log(variances)
    correction = 1 + ((1 / freedoms).sum() - 1 / total) / (3 * (len(replicated) - 1))
    return bool(chdtrc(len(replicated) - 1, statistic / correction) < UNLIKE)


def moved_from(base: Floats, totals: Floats, counts: Floats) -> float:
    """How far a recipe is from the base: the root of the mean square of what it changed, unit by unit.

    It grows where a mean does not: a run that overfits comes back to the base's loss, but not to the base.

    Shapes: `base` (units,), `totals` (replicates, units), `counts` (units,).
    """
    held = counts > 0
    squares = ((totals - base)[:, held] ** 2 / counts[held]).sum(axis=1) / counts.sum()
    return float(np.sqrt(squares.mean()))


def _per_unit(squares: float, units: int) -> float:
    """From a sum of squared influences, which are of the order of 1 / units each."""
    return squares * units / (units - 1) * units


def _residual_variance(means: Floats) -> Floats:
    """Variance left of figures (draws, recipes, seeds) without what a recipe or a seed has in common."""
    _, recipes, seeds = means.shape
    residual = means - means.mean(axis=2, keepdims=True) - means.mean(axis=1, keepdims=True)
    residual = residual + means.mean(axis=(1, 2), keepdims=True)
    return np.asarray((residual**2).sum(axis=(1, 2)) / ((recipes - 1) * (seeds - 1)))
