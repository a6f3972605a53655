"""How much a figure moves when nothing but the training seed changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from paceline.stats.simultaneous import PairVariances

Floats = NDArray[np.float64]

# Blocks cost degrees of freedom: with two seeds a difference from the base has one left, and its intervals
# hold too seldom.
MIN_BLOCK_SEEDS = 3
# Bartlett's test has to be this sure before recipes' noise is kept apart.
UNLIKE = 0.01
# Replicates that say of a recipe's own noise whether it is another's: two may be alike by chance.
ENOUGH = 3
# How much farther than the others a recipe with fewer may have moved before its noise is scaled by that.
_AS_FAR = 1.25
# Less than this share of a figure is rounding.
_ROUNDING = 1e-12
# The standard deviation of a recipe without replicates is taken for so many times what its distance from the
# base says: over five rates (8 seeds each), distances from 0.009 to 0.9 nats, it was from 2.3% to 6.4% of it.
MARGIN = 2.0
LEAST = 0.01


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """The variance of one run's figure over training seeds, as it was estimated on `units` units.

    Args:
        variance: of the figure on those units; at least rest / units.
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

    def at_distance(self, moved: float, others: Sequence[tuple[SeedNoise, float]]) -> SeedNoise:
        """The noise of a recipe with few replicates, pooled with `others` (noise of their own, distance).

        Where it has moved clearly farther from the base than they have, it is what theirs is in proportion to
        their distances, the MARGIN growing with how much farther, and not less than the pooled one.
        """
        known = [(noise, far) for noise, far in others if far > 0]
        if not known or not self.variance or not math.isfinite(moved):
            return self
        freedoms = [noise.freedom for noise, _ in known]
        farther = moved / math.sqrt(np.average([far**2 for _, far in known], weights=freedoms))
        if farther <= _AS_FAR:
            return self
        share = np.average([noise.variance / far**2 for noise, far in known], weights=freedoms)
        variance = float(share) * (moved * min(MARGIN, farther)) ** 2
        return self.scaled(max(1.0, variance / self.variance))

    def is_larger(self, moved: float, others: Sequence[tuple[SeedNoise, float]]) -> bool:
        """Whether few replicates are clearly noisier than `others` (noise, distance), by an F test."""
        freedoms = [noise.freedom for noise, _ in others]
        if not others or not (
            pooled := np.average([noise.variance for noise, _ in others], weights=freedoms)
        ):
            return False
        by_distance = [noise.variance * (moved / far) ** 2 if far > 0 else 0.0 for noise, far in others]
        expected = max(float(pooled), float(np.nan_to_num(np.average(by_distance, weights=freedoms))))
        from scipy.special import fdtrc  # not needed where no recipe is replicated

        return bool(fdtrc(self.freedom, sum(freedoms), self.variance / expected) < UNLIKE)

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
        least = np.asarray([noise.rest / noise.units for noise in self.noise]) * self.shares
        estimated = np.maximum(scales * variances, least)
        return errors, lambda i, j: estimated[:, i] + estimated[:, j]


@dataclass(frozen=True, kw_only=True)
class BlockedSeeds:
    """Seeds' variance where all recipes have the same seeds: what a seed does to all of them drops out.

    A pair's own spread over seeds counts where it is larger than the pooled one, since a far-away recipe may
    answer a seed differently than a near one; `draw` has the same rule, so the critical values know of it.
    With `welch` nothing is pooled: each pair has its own spread alone, which is right whatever noise others
    have (a paired t test).

    Shapes: `means` (trained recipes, seeds). `noise` is what is left of them without the effects of recipes
    and of seeds. `base` is the place of the base among all recipes, whose difference from a recipe keeps what
    a seed does to all. `least` (recipes, recipes) is what seeds do to single units alone, of each pair: no
    pair's variance is less, though a few seeds may coincide.
    """

    means: Floats
    noise: SeedNoise
    base: int | None
    least: Floats
    welch: bool = False

    def scaled(self, factor: float) -> BlockedSeeds:
        return replace(
            self,
            means=self.means * np.sqrt(factor),
            noise=self.noise.scaled(factor),
            least=self.least * factor,
        )

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
                return np.asarray(np.maximum(within[:, places[0]], self.least[i, j]) / seeds)
            first, second = (by_recipe[place] for place in places)
            own = np.maximum((first - second).var(axis=0, ddof=1), self.least[i, j])
            return np.asarray(np.maximum(pooled, own) / seeds)

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
    return _noise(spread / freedom, _per_unit(rest / freedom, units), units, freedom, np.concatenate(means))


def _noise(variance: float, rest: float, units: int, freedom: float, means: Floats) -> SeedNoise:
    """Replicates may coincide in a mean, which varies at least as what a seed does to single units."""
    rounding = (_ROUNDING * float(np.abs(means).max())) ** 2
    variance = max(variance, rest / units)
    if variance <= rounding:
        variance = rest = 0.0
    return SeedNoise(variance=variance, rest=rest, units=units, freedom=freedom)


def least_of_pairs(influences: Sequence[Floats], base: int | None) -> Floats:
    """What seeds do to single units of each pair's difference, as a variance of its mean (recipes, recipes).

    Shapes, by trained recipe: `influences` (seeds, units). `base` is the place of the base among all.
    """
    own = list(influences)
    if base is not None:
        own.insert(base, np.zeros_like(own[0]))
    least = np.zeros((len(own), len(own)))
    for i, j in combinations(range(len(own)), 2):
        difference = own[i] - own[j]
        squares = float(difference.var(axis=0, ddof=1).sum())
        least[i, j] = least[j, i] = _per_unit(squares, difference.shape[1]) / difference.shape[1]
    return least


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
    variance = float(_residual_variance(np.stack(means)[None])[0])
    rest = _per_unit(float((residual**2).sum()) / freedom, units)
    return _noise(variance, rest, units, freedom, np.concatenate(means))


def are_blocks(recipes: int, seeds: int) -> bool:
    """Whether so many seeds, shared by so many recipes, are worth to be taken as blocks."""
    return recipes > 1 and seeds >= MIN_BLOCK_SEEDS


def unlike(noises: Sequence[SeedNoise]) -> bool:
    """Whether one recipe's noise is clearly another's (Bartlett 1937, Proc. R. Soc. A 160:268).

    Recipes with only two seeds, whose figures may be alike by chance, are not asked.
    """
    still = [noise.variance == 0 for noise in noises]
    if any(still):  # a run that learned nothing has no noise, and no test is needed to see it
        return not all(still)
    replicated = [noise for noise in noises if noise.freedom >= ENOUGH - 1]
    freedoms = np.asarray([noise.freedom for noise in replicated], dtype=np.float64)
    variances = np.asarray([noise.variance for noise in replicated])
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
