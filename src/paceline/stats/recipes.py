"""Differences between recipes that were trained with some seeds and measured on the same units.

A figure y_is of recipe i trained with seed s varies for two reasons: which units (examples, questions, tasks)
it was measured on, and which seed trained it. What is said of a recipe has to cover both. On unit e:

    y_ise = recipe_i + seed_s + (recipe x seed)_is + unit_e + (recipe x unit)_ie + rest_ise

Units and seeds are two crossed ways of clustering the same figures, so the variance of a difference is the
one over units, plus the one over seeds, less the one of `rest`, which both of them hold (Cameron, Gelbach and
Miller 2011, JBES 29:238; Owen 2007, Ann. Appl. Stat. 1:386). The variance over seeds is pooled over the
recipes that have replicates; seeds that all recipes share are blocks, whose common part drops out of every
difference. docs/compare.md has the formulas.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paceline.stats.intervals import are_alike, reach_of_alike, student_quantile
from paceline.stats.seed_noise import (
    ENOUGH,
    BlockedSeeds,
    PooledSeeds,
    SeedNoise,
    are_blocks,
    blocked_noise,
    least_of_pairs,
    moved_from,
    pooled_noise,
    unlike,
)
from paceline.stats.simultaneous import Family, critical_values
from paceline.stats.verdict import Better, Verdict, verdict

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RecipeScores:
    """What a recipe was measured to be, replicate by replicate and unit by unit.

    Args:
        name: the recipe's.
        seeds: one for each replicate, rising. Empty: nothing was trained (the bare base), no seed changes it.
        totals: sums of the observations of each unit, shape (replicates, units); one row for the base.
    """

    name: str
    seeds: tuple[int, ...]
    totals: Floats


@dataclass(frozen=True, kw_only=True)
class RecipeDifference:
    """How much higher the first recipe's mean is than the second's, with simultaneous 95% bounds.

    `seed_error` and `unit_error` are the two parts of the standard error, `freedom` its degrees of freedom.
    `covers_seeds` says whether the bounds cover the choice of seeds: only then do they speak of the recipes,
    else of these adapters alone.
    """

    first: str
    second: str
    delta: float
    low: float
    high: float
    seed_error: float
    unit_error: float
    freedom: float
    covers_seeds: bool
    better: Better

    @property
    def half_width(self) -> float:
        """Half of the distance between the bounds."""
        return (self.high - self.low) / 2

    @property
    def verdict(self) -> Verdict:
        """What the bounds say of the first."""
        return verdict(self.low, self.high, self.better, covers_seeds=self.covers_seeds)

    def turned(self) -> "RecipeDifference":
        """The second minus the first."""
        return replace(
            self, first=self.second, second=self.first, delta=-self.delta, low=-self.high, high=-self.low
        )


@dataclass(frozen=True, kw_only=True)
class SeedsUsed:
    """Whose replicates the seeds' noise is from, and how it was used.

    Args:
        measured: {recipe: how many replicates}, of those with two or more.
        taken_over: {recipe without replicates: how many times that noise (standard deviation) is its own}.
        welch: each recipe, or with blocks each pair, has its own noise.
        blocked: seeds are blocks.
        known_used: noise from another study counts.
    """

    measured: dict[str, int]
    taken_over: dict[str, float]
    welch: bool = False
    blocked: bool = False
    known_used: bool = False


@dataclass(frozen=True, kw_only=True)
class RecipeFamily:
    """All pairwise differences of some recipes, whose bounds hold together in 95% of all studies.

    `means` are over seeds. `noise` is the seeds' (None: one seed each, and nothing known from elsewhere),
    `own_noise` what is left of it without a seed's effect on all recipes (None: seeds are no blocks). `units`
    were measured in all of them. `seeds` says by which rule, and from which recipes.
    """

    means: dict[str, float]
    differences: dict[tuple[str, str], RecipeDifference]
    noise: SeedNoise | None
    own_noise: SeedNoise | None
    units: int
    seeds: SeedsUsed

    @property
    def welch(self) -> bool:
        """Whether the recipes' noise is too unlike to be pooled."""
        return self.seeds.welch

    def between(self, first: str, second: str) -> RecipeDifference:
        """First minus second."""
        if (first, second) in self.differences:
            return self.differences[first, second]
        return self.differences[second, first].turned()


def compare_recipes(
    recipes: Sequence[RecipeScores],
    counts: Floats,
    *,
    better: Better,
    known: SeedNoise | None = None,
    together: bool = True,
    seed: int = 0,
) -> RecipeFamily:
    """Every pair's difference of means, sum(totals) / sum(counts) averaged over seeds.

    Args:
        recipes: measured on the same units.
        counts: how many observations each unit has, shape (units,).
        known: the seeds' noise as another study of the same base and data shows it; it counts where no
            recipe here has replicates. A recipe without takes noise over by its distance from the base, so
            without a base among the recipes nothing covers seeds where one of them has a single seed.
        together: whether the bounds are to hold for all pairs at once; else each pair's by itself.
        seed: of the simulation of the critical values.

    Raises:
        ValueError: fewer than two recipes, or fewer than two units.
    """
    units = len(counts)
    if len(recipes) < 2 or units < 2:
        raise ValueError("a comparison needs two recipes, and two units to see how much units differ")
    means = [recipe.totals.sum(axis=1) / counts.sum() for recipe in recipes]
    influences = [
        (r.totals - np.outer(m, counts)) / counts.sum() for r, m in zip(recipes, means, strict=True)
    ]
    noise, seeds, held, used = _seeds(recipes, influences, means, _moved(recipes, counts), known)
    family = Family(
        recipes=len(recipes),
        seeds=seeds,
        unit_covariance=_unit_covariance(influences, held),
        unit_freedom=units - 1,
    )
    factors = critical_values(family, seed=seed) if together else None
    centre = [float(own.mean()) for own in means]
    differences = {}
    for i, j in family.pairs:
        seed_variance, unit_variance = family.seed_variance(i, j), family.unit_variance(i, j)
        factor = student_quantile(family.freedom(i, j)) if factors is None else factors[i, j]
        delta, reach = centre[i] - centre[j], factor * float(np.sqrt(seed_variance + unit_variance))
        if are_alike(recipes[i].totals.mean(axis=0) - recipes[j].totals.mean(axis=0), counts):
            reach = max(reach, reach_of_alike(delta, units))
        differences[recipes[i].name, recipes[j].name] = RecipeDifference(
            first=recipes[i].name,
            second=recipes[j].name,
            delta=delta,
            low=delta - reach,
            high=delta + reach,
            seed_error=float(np.sqrt(seed_variance)),
            unit_error=float(np.sqrt(unit_variance)),
            freedom=family.freedom(i, j),
            covers_seeds=noise is not None,
            better=better,
        )
    return RecipeFamily(
        means={recipe.name: mean for recipe, mean in zip(recipes, centre, strict=True)},
        differences=differences,
        noise=noise,
        own_noise=seeds.noise if isinstance(seeds, BlockedSeeds) else None,
        units=units,
        seeds=used,
    )


def _seeds(
    recipes: Sequence[RecipeScores],
    influences: Sequence[Floats],
    means: Sequence[Floats],
    moved: Floats,
    known: SeedNoise | None,
) -> tuple[SeedNoise | None, PooledSeeds | BlockedSeeds | None, Floats, SeedsUsed]:
    """The seeds' noise, the variance it makes, the means' covariance that units hold too, and from whom."""
    units = influences[0].shape[1]
    shares = np.asarray([1 / len(recipe.seeds) if recipe.seeds else 0.0 for recipe in recipes])
    trained = [place for place, recipe in enumerate(recipes) if recipe.seeds]
    replicated = [place for place in trained if len(recipes[place].seeds) > 1]
    used = SeedsUsed(measured={recipes[k].name: len(recipes[k].seeds) for k in replicated}, taken_over={})
    noise = pooled_noise([influences[k] for k in replicated], [means[k] for k in replicated])
    own = {k: found for k in replicated if (found := pooled_noise([influences[k]], [means[k]]))}
    others = {k: [(own[j], moved[j]) for j in replicated if j != k] for k in replicated}
    few = [k for k in replicated if len(recipes[k].seeds) < ENOUGH]
    welch = unlike(list(own.values())) or any(own[k].is_larger(moved[k], others[k]) for k in few)
    if noise is not None:
        freedoms = [len(recipes[k].seeds) - 1 for k in replicated]
        noise = replace(noise, moved=float(np.sqrt(np.average(moved[replicated] ** 2, weights=freedoms))))
    shared = len({recipes[k].seeds for k in trained}) == 1
    if noise is not None and shared and are_blocks(len(trained), len(recipes[trained[0]].seeds)):
        base = next((k for k, recipe in enumerate(recipes) if not recipe.seeds), None)
        blocked = blocked_noise([influences[k] for k in trained], [means[k] for k in trained])
        common = max(0.0, noise.rest - blocked.rest) * np.sqrt(np.outer(shares, shares))
        held = (np.diag(blocked.rest * shares) + common) / units
        figures = np.stack([means[k] for k in trained])
        least = least_of_pairs([influences[k] for k in trained], base)
        seeds = BlockedSeeds(means=figures, noise=blocked, base=base, least=least, welch=welch)
        return noise, seeds, held, replace(used, welch=welch, blocked=True)
    if known is not None and noise is None:
        noise, used = known.on(units), replace(used, known_used=True)
    alone = [k for k in trained if k not in replicated]
    if noise is None or (alone and not (noise.can_be_taken_over and np.isfinite(moved).all())):
        return None, None, np.zeros((len(recipes), len(recipes))), used
    each = [noise.taken_over(moved[k]) if k in alone else noise for k in range(len(recipes))]
    if welch:
        each = [own.get(k, each[k]) for k in range(len(recipes))]
    else:
        for k in few:
            each[k] = noise.at_distance(moved[k], others[k])
    factors = {recipes[k].name: math.sqrt(each[k].variance / noise.variance) for k in alone}
    used = replace(used, taken_over=factors)
    rest = np.asarray([one.rest for one in each]) * shares
    return (
        noise,
        PooledSeeds(noise=each, shares=shares, welch=welch),
        np.diag(rest) / units,
        replace(used, welch=welch),
    )


def _moved(recipes: Sequence[RecipeScores], counts: Floats) -> Floats:
    """How far each recipe is from the base (recipes,); NaN where no base was measured."""
    base = next((recipe.totals[0] for recipe in recipes if not recipe.seeds), None)
    if base is None:
        return np.full(len(recipes), np.nan)
    return np.asarray([moved_from(base, recipe.totals, counts) for recipe in recipes])


def _unit_covariance(influences: Sequence[Floats], held: Floats) -> Floats:
    """Covariance over units of the recipes' means, less what the seeds' variance holds already."""
    average = np.stack([own.mean(axis=0) for own in influences])
    units = average.shape[1]
    values, vectors = np.linalg.eigh(average @ average.T * units / (units - 1) - held)
    return np.asarray((vectors * np.clip(values, 0, None)) @ vectors.T)
