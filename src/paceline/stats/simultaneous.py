"""Critical values that hold for a whole family of differences at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from paceline.stats.intervals import LEVEL

Floats = NDArray[np.float64]
# A pair's variance as it would be estimated in each draw, shape (draws,).
PairVariances = Callable[[int, int], Floats]

DRAWS = 20_000
# Degrees of freedom that are as good as no end of them.
_ENDLESS = 1e9


class SeedVariance(Protocol):
    """The part of the variance of differences that is over seeds."""

    def of_pair(self, i: int, j: int) -> float:
        """Variance of the difference of two recipes' means."""

    def freedom(self, i: int, j: int) -> float:
        """Its degrees of freedom."""

    def scaled(self, factor: float) -> Self:
        """All of it so many times as large."""

    def draw(self, random: np.random.Generator, draws: int) -> tuple[Floats, PairVariances]:
        """Errors of all means (draws, recipes), and the variances that would be estimated with them."""


class DrawnDifference(NamedTuple):
    """One pair's difference in simulated studies (draws,): its errors, and the variances estimated there."""

    seed_error: Floats
    unit_error: Floats
    seed_variance: Floats
    unit_variance: Floats

    @property
    def error(self) -> Floats:
        """How far the difference is off."""
        return np.asarray(self.seed_error + self.unit_error)

    @property
    def standard_error(self) -> Floats:
        """How far it would be thought to be off."""
        return np.sqrt(self.seed_variance + self.unit_variance)


@dataclass(frozen=True, kw_only=True)
class Family:
    """The covariance of some recipes' means, and how well it is known.

    Args:
        recipes: how many there are.
        seeds: the part over seeds; None: no seed was varied.
        unit_covariance: the part over units, shape (recipes, recipes).
        unit_freedom: degrees of freedom of the latter.
    """

    recipes: int
    seeds: SeedVariance | None
    unit_covariance: Floats
    unit_freedom: float

    @property
    def pairs(self) -> Iterator[tuple[int, int]]:
        """All pairs of recipes, in order."""
        return combinations(range(self.recipes), 2)

    def unit_variance(self, i: int, j: int) -> float:
        """Variance of a difference over units."""
        covariance = self.unit_covariance
        return max(0.0, float(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]))

    def seed_variance(self, i: int, j: int) -> float:
        """Variance of a difference over seeds."""
        return 0.0 if self.seeds is None else self.seeds.of_pair(i, j)

    def freedom(self, i: int, j: int) -> float:
        """Degrees of freedom of a difference's variance (Satterthwaite 1946, Biometrics 2:110)."""
        seeds, units = self.seed_variance(i, j), self.unit_variance(i, j)
        below = units**2 / self.unit_freedom
        if self.seeds is not None and seeds > 0:
            below += seeds**2 / self.seeds.freedom(i, j)
        return (seeds + units) ** 2 / below if below else np.inf

    def draw(self, draws: int, seed: int) -> Iterator[tuple[tuple[int, int], DrawnDifference]]:
        """Each pair's difference in simulated studies, drawn jointly, if it can differ at all."""
        random = np.random.default_rng(seed)
        units = random.standard_normal((draws, self.recipes)) @ _root(self.unit_covariance)
        unit_scale = random.chisquare(self.unit_freedom, draws) / self.unit_freedom
        seeds, estimated = np.zeros((draws, self.recipes)), _nothing(draws)
        if self.seeds is not None:
            seeds, estimated = self.seeds.draw(random, draws)
        units, seeds = np.ascontiguousarray(units.T), np.ascontiguousarray(seeds.T)
        for i, j in self.pairs:
            if self.seed_variance(i, j) + self.unit_variance(i, j) > 0:
                yield (
                    (i, j),
                    DrawnDifference(
                        seed_error=seeds[i] - seeds[j],
                        unit_error=units[i] - units[j],
                        seed_variance=estimated(i, j),
                        unit_variance=unit_scale * self.unit_variance(i, j),
                    ),
                )


def critical_values(
    family: Family, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> dict[tuple[int, int], float]:
    """Each pair's factor of its standard error, such that all intervals of a family hold at once.

    It is from the quantile of the largest |t| of all pairs (Hothorn, Bretz and Westfall 2008, Biom. J.
    50:346), by simulation: differences share recipes, units and the estimate of the seeds' noise, so their t
    are far from independent. Two things keep that honest and sharp:

    - A difference's t is the sum of the seeds' t and the units' t, each in proportion to its standard error
      (Behrens and Fisher; Ghosh 1975, Biometrika 62:463). A t of the summed variances, as Satterthwaite's,
      speaks too often where a few seeds happen to lie close together.
    - Pairs differ in degrees of freedom (against the base a seed's common part counts). So each |t| is taken
      to the scale of a normal first, else the pair with the fewest would widen all others.

    Where one part is all there is, and for a single pair, that is Student's t.
    """
    largest = np.zeros(draws)
    for (i, j), drawn in family.draw(draws, seed):
        seeds, units = family.seed_variance(i, j), family.unit_variance(i, j)
        error = _scaled(drawn.seed_error, seeds, drawn.seed_variance)
        error += _scaled(drawn.unit_error, units, drawn.unit_variance)
        own = _as_normal(np.abs(error) / np.sqrt(seeds + units), family.freedom(i, j))
        np.maximum(largest, own, out=largest)
    quantile = float(np.quantile(largest, level))
    return {(i, j): _as_student(quantile, family.freedom(i, j)) for i, j in family.pairs}


def _scaled(error: Floats, variance: float, estimated: Floats) -> Floats:
    """Errors in units of what was estimated with them, times the standard error that was found."""
    return np.asarray(error * np.sqrt(variance / estimated)) if variance > 0 else np.zeros_like(error)


def _as_normal(t: Floats, freedom: float) -> Floats:
    """Student's |t| as a normal's |z| of the same probability (Wallace 1959, Ann. Math. Stat. 30:1121)."""
    freedom = min(freedom, _ENDLESS)
    return np.asarray(_wallace(freedom) * np.sqrt(freedom * np.log1p(t**2 / freedom)))


def _as_student(z: float, freedom: float) -> float:
    """The inverse of `_as_normal`."""
    freedom = min(freedom, _ENDLESS)
    return float(np.sqrt(freedom * np.expm1((z / _wallace(freedom)) ** 2 / freedom)))


def _wallace(freedom: float) -> float:
    return (8 * freedom + 1) / (8 * freedom + 3)


def _nothing(draws: int) -> PairVariances:
    return lambda i, j: np.zeros(draws)


def _root(covariance: Floats) -> Floats:
    """A matrix R with R'R = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))).T)
