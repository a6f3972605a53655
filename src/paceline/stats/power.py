"""How many seeds and examples it takes to find a difference between recipes, and how surely.

A difference is found where the interval that `compare_recipes` gives leaves zero out on the right side. How
often that happens is simulated with `Family.draw`: the same errors, the same estimates of their size and the
same critical values that a comparison would have.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from paceline.stats.intervals import student_quantile
from paceline.stats.recipes import RecipeDifference, RecipeFamily
from paceline.stats.seed_noise import BlockedSeeds, PooledSeeds, SeedNoise, are_blocks
from paceline.stats.simultaneous import DrawnDifference, Family, critical_values

Floats = NDArray[np.float64]

# The usual power of a plan: four in five such studies find the difference.
POWER = 0.8
MAX_SEEDS = 20
# Draws of a plan: its power is known to half a point.
_DRAWS = 10_000
# Where between the smallest and the largest estimate of the seeds' noise a study's critical value is worked
# out, and with how many draws; others lie between.
_QUANTILES = (0.01, 0.1, 0.3, 0.6, 0.85, 0.99)
_CRITICAL_DRAWS = 3_000


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """How much a held-out figure varies, as earlier runs show it.

    Args:
        noise: over seeds, of one run.
        own: the same without what a seed does to every recipe that is trained with it.
        units: variance per unit of a difference between two recipes.
        base_units: the same of a recipe and the bare base.
        welch: whether recipes' noise is too unlike to be pooled: each pair will be judged by its own.
    """

    noise: SeedNoise
    own: SeedNoise
    units: float
    base_units: float
    welch: bool = False


@dataclass(frozen=True, kw_only=True)
class Design:
    """So many seeds a recipe and held-out units, what they find with the power asked for, and their cost."""

    seeds: int
    units: int
    detectable: float
    seconds: float


def pilot_of(family: RecipeFamily, base: str) -> Pilot:
    """What a comparison of earlier runs shows of noise.

    Where only one recipe was trained, its difference from the base has to stand for that between recipes,
    which is most often smaller, and where seeds were no blocks, nothing of their noise is taken for common:
    a plan from it asks for too much rather than too little.

    Args:
        base: the bare base's name in the family.

    Raises:
        ValueError: no recipe has replicates.
    """
    if family.noise is None:
        raise ValueError("noise over seeds is known only where a recipe has two replicates")
    of_base = [d for pair, d in family.differences.items() if base in pair]
    between = [d for pair, d in family.differences.items() if base not in pair]
    return Pilot(
        noise=family.noise,
        own=family.own_noise or family.noise,
        units=median(d.unit_error**2 * family.units for d in between or of_base),
        base_units=median(d.unit_error**2 * family.units for d in of_base or between),
        welch=family.welch,
    )


def planned_family(pilot: Pilot, *, recipes: int, seeds: int, units: int, shared: bool = True) -> Family:
    """What a study of so many recipes will be judged by; the base comes last.

    Args:
        shared: whether all recipes have the same seeds.
    """
    noise = replace(pilot.noise.on(units), freedom=(1 if pilot.welch else recipes) * (seeds - 1))
    base, between = pilot.base_units / units, pilot.units / units
    covariance = np.zeros((recipes + 1, recipes + 1))
    covariance[:recipes, :recipes] = max(0.0, base - between / 2) + np.eye(recipes) * between / 2
    shares = np.asarray([1 / seeds] * recipes + [0.0])
    variance: PooledSeeds | BlockedSeeds = PooledSeeds(
        noise=[noise] * (recipes + 1), shares=shares, welch=pilot.welch
    )
    if shared and are_blocks(recipes, seeds):
        own = replace(pilot.own.on(units), freedom=(recipes - 1) * (seeds - 1))
        figures = _figures(recipes, seeds, own.variance, noise.variance)
        least = np.full((recipes + 1, recipes + 1), 2 * own.rest / units)
        least[recipes] = least[:, recipes] = noise.rest / units
        variance = BlockedSeeds(means=figures, noise=own, base=recipes, least=least, welch=pilot.welch)
    return Family(recipes=recipes + 1, seeds=variance, unit_covariance=covariance, unit_freedom=units - 1)


def power(family: Family, pair: tuple[int, int], delta: float) -> float:
    """The share of studies that find a difference of this size, with the right sign."""
    return float((abs(delta) > _hurdles(family, pair)).mean())


def detectable(family: Family, pair: tuple[int, int], power: float = POWER) -> float:
    """The smallest difference that this share of studies finds."""
    return float(np.quantile(_hurdles(family, pair), power))


def cheapest(
    pilot: Pilot,
    *,
    recipes: int,
    delta: float,
    power: float,
    most_units: int,
    run_seconds: float,
    unit_seconds: float,
    least_units: int = 2,
) -> Design | None:
    """The cheapest seeds and units with which a study finds a difference between two of its recipes.

    Args:
        most_units: as many as the source has.
        run_seconds: of one training.
        unit_seconds: of all evaluations of one run, for each unit.
        least_units: as many as there are anyway.

    Returns:
        None where no more than MAX_SEEDS seeds and all units do not suffice.
    """
    best: Design | None = None
    for seeds in range(2, MAX_SEEDS + 1):
        trained = seeds * recipes * run_seconds
        if best is not None and trained >= best.seconds:
            break
        units = _units_for(pilot, recipes, seeds, delta, power, most_units)
        if units is None:
            continue
        units = max(units, least_units)
        found = detectable(planned_family(pilot, recipes=recipes, seeds=seeds, units=units), (0, 1), power)
        seconds = trained + seeds * recipes * units * unit_seconds
        if best is None or seconds < best.seconds:
            best = Design(seeds=seeds, units=units, detectable=found, seconds=seconds)
    return best


def seeds_needed(
    pilot: Pilot, *, recipes: int, units: int, delta: float, power: float = POWER, most: int = MAX_SEEDS
) -> int | None:
    """With how many seeds each a difference is found on so many units; None: more than `most`."""

    def enough(seeds: int) -> bool:
        family = planned_family(pilot, recipes=recipes, seeds=seeds, units=units)
        error = math.sqrt(family.seed_variance(0, 1) + family.unit_variance(0, 1))
        if power >= 0.5 and abs(delta) < 1.9 * error:  # under a lone normal's 1.96: no need to simulate
            return False
        return detectable(family, (0, 1), power) <= abs(delta)

    if not enough(most):
        return None
    return bisect_left(range(2, most), True, key=enough) + 2


def units_needed(difference: RecipeDifference, units: int, power: float = POWER) -> float:
    """On how many units the difference would be found with a power, were it what it is, with the same seeds.

    The half-width c·s of an interval has to be t below the difference, in standard errors s: delta =
    (c + t) s with t the quantile of Student's distribution at the power (Julious 2004, Stat. Med. 23:1921,
    eq. 8, there for one comparison). The part of s² over units shrinks with their number, the one over
    seeds does not: infinite where that alone is too much, nothing differs, or nothing of the spread is known.

    Args:
        units: how many the difference was measured on.
    """
    error = math.hypot(difference.seed_error, difference.unit_error)
    if difference.delta == 0 or not math.isfinite(difference.half_width) or error == 0:
        return math.inf
    factor = difference.half_width / error + student_quantile(difference.freedom, 2 * power - 1)
    left = (difference.delta / factor) ** 2 - difference.seed_error**2
    return units * difference.unit_error**2 / left if left > 0 else math.inf


def _hurdles(family: Family, pair: tuple[int, int]) -> Floats:
    """How large a difference has to be to be found, in each of some studies (draws,)."""
    drawn = next((drawn for names, drawn in family.draw(_DRAWS, seed=1) if names == pair), None)
    if drawn is None:
        raise ValueError(f"{pair} is no pair of a family of {family.recipes} whose figures vary")
    return np.asarray(_critical(family, pair, drawn) * drawn.standard_error - drawn.error)


def _critical(family: Family, pair: tuple[int, int], drawn: DrawnDifference) -> Floats | float:
    """The factor of the standard error in each study (draws,), larger where seeds seem to differ more."""
    if family.seeds is None or not (drawn.seed_variance > 0).all():
        return critical_values(family, draws=_DRAWS)[pair]
    found = drawn.seed_variance / family.seed_variance(*pair)
    if family.unit_variance(*pair) > 0:
        found = found / (drawn.unit_variance / family.unit_variance(*pair))
    factors = np.quantile(found, _QUANTILES)
    families = [replace(family, seeds=family.seeds.scaled(factor)) for factor in factors]
    values = [critical_values(each, draws=_CRITICAL_DRAWS)[pair] for each in families]
    return np.interp(np.log(found), np.log(factors), values)


def _units_for(
    pilot: Pilot, recipes: int, seeds: int, delta: float, power: float, most_units: int
) -> int | None:
    """The fewest units for a difference; None: all are too few.

    The difference found is a nearly constant multiple of its standard error, of which the part over units is
    known: a few steps from one multiple to the next settle on the number.
    """
    units, found = most_units, 0.0
    for _ in range(4):
        family = planned_family(pilot, recipes=recipes, seeds=seeds, units=units)
        found = detectable(family, (0, 1), power)
        if units == most_units and found > delta:
            return None
        rest = pilot.own.rest
        fixed = 2 * (pilot.own.on(units).variance - rest / units) / seeds
        of_units = 2 * rest / seeds + pilot.units
        error = math.sqrt(fixed + of_units / units)
        left = (delta * error / found) ** 2 - fixed
        wanted = of_units / left if left > 0 else math.inf
        units = min(most_units, max(2, math.ceil(wanted) if math.isfinite(wanted) else most_units))
    return units


def _figures(recipes: int, seeds: int, own: float, variance: float) -> Floats:
    """Figures (recipes, seeds): variance within a recipe `variance`, and `own` without a seed's part."""
    random = np.random.default_rng(0)
    rest = random.standard_normal((recipes, seeds))
    rest -= rest.mean(axis=1, keepdims=True) + rest.mean(axis=0) - rest.mean()
    rest *= math.sqrt(own * (recipes - 1) * (seeds - 1) / float((rest**2).sum()))
    shared = random.standard_normal(seeds)
    shared -= shared.mean()
    left = max(0.0, variance - own * (recipes - 1) / recipes)
    shared *= math.sqrt(left * (seeds - 1) / float((shared**2).sum()))
    return np.asarray(rest + shared)
