"""Critical values that hold for a whole family of differences at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# A pair's variance as it would be estimated in each draw, shape (draws,).
PairVariances = Callable[[int, int], Floats]

DRAWS = 40_000
LEVEL = 0.95


class SeedVariance(Protocol):
    """The part of the variance of differences that is over seeds."""

    def of_pair(self, i: int, j: int) -> float:
        """Variance of the difference of two recipes' means."""

    def freedom(self, i: int, j: int) -> float:
        """Its degrees of freedom."""

    def draw(self, random: np.random.Generator, draws: int) -> tuple[Floats, PairVariances]:
        """Errors of all means (draws, recipes), and the variances that would be estimated with them."""


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

    def draw(self, draws: int, seed: int) -> Iterator[tuple[tuple[int, int], Floats, Floats]]:
        """For each pair, errors of its difference and the standard errors that would be estimated with them.

        Shapes: (draws,), drawn jointly for all pairs. Pairs that cannot differ are left out.
        """
        random = np.random.default_rng(seed)
        errors = random.standard_normal((draws, self.recipes)) @ _root(self.unit_covariance)
        unit_scale = random.chisquare(self.unit_freedom, draws) / self.unit_freedom
        estimated: PairVariances = lambda i, j: np.zeros(draws)  # noqa: E731
        if self.seeds is not None:
            seed_errors, estimated = self.seeds.draw(random, draws)
            errors += seed_errors
        for i, j in self.pairs:
            if self.seed_variance(i, j) + self.unit_variance(i, j) > 0:
                variance = estimated(i, j) + unit_scale * self.unit_variance(i, j)
                yield (i, j), errors[:, i] - errors[:, j], np.sqrt(variance)


def critical_value(family: Family, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> float:
    """The factor of a standard error with which all intervals of a family hold at once.

    It is the quantile of the largest |t| of all pairs (Hothorn, Bretz and Westfall 2008, Biom. J. 50:346),
    by simulation: differences share recipes, units and the estimate of the seeds' noise, so their t are far
    from independent. For a single pair it is Student's t with `Family.freedom`, to Satterthwaite's accuracy.
    """
    largest = np.zeros(draws)
    for _, errors, standard_errors in family.draw(draws, seed):
        np.maximum(largest, np.abs(errors) / standard_errors, out=largest)
    return float(np.quantile(largest, level))


def student_quantile(freedom: float, level: float = LEVEL) -> float:
    """The factor of a standard error for one difference by itself: two-sided, Student's t."""
    from scipy.special import stdtrit  # not needed where all pairs are judged together

    return float(stdtrit(min(freedom, 1e9), (1 + level) / 2))


def _root(covariance: Floats) -> Floats:
    """A matrix R with R'R = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))).T)
