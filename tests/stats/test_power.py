"""How many seeds and units find a difference: what a plan promises is what comparisons then do."""

import math
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

from paceline.stats import recipes as recipes_module
from paceline.stats.power import (
    Pilot,
    cheapest,
    detectable,
    pilot_of,
    planned_family,
    power,
    seeds_needed,
    units_needed,
)
from paceline.stats.recipes import RecipeDifference, RecipeFamily, RecipeScores, compare_recipes
from paceline.stats.seed_noise import SeedNoise
from paceline.stats.simultaneous import critical_values


class World(NamedTuple):
    """Standard deviations of what figures are made of, and studies of such figures."""

    common: float = 0.0
    own: float = 0.02
    unit: float = 0.3
    between: float = 0.15
    rest: float = 0.1
    common_rest: float = 0.0

    def pilot(self, units: int = 500) -> Pilot:
        own = SeedNoise(
            variance=self.own**2 + self.rest**2 / units, rest=self.rest**2, units=units, freedom=math.inf
        )
        common = self.common**2 + self.common_rest**2 / units
        return Pilot(
            noise=replace(own, variance=own.variance + common, rest=own.rest + self.common_rest**2),
            own=own,
            units=2 * self.between**2,
            base_units=2 * self.between**2,
        )

    def study(
        self, random: np.random.Generator, recipes: int, seeds: int, units: int, delta: float = 0.0
    ) -> RecipeFamily:
        """The comparison of one study, of which the first recipe is worse than the others by delta."""
        unit = random.normal(0, self.unit, units)
        seed = random.normal(0, self.common, (seeds, 1)) + random.normal(0, self.common_rest, (seeds, units))
        scores = []
        for k in range(recipes):
            own = random.normal(0, self.own, (seeds, 1)) + random.normal(0, self.rest, (seeds, units))
            figures = (delta if k == 0 else 0.0) + unit + random.normal(0, self.between, units) + seed + own
            scores.append(RecipeScores(name=f"r{k}", seeds=tuple(range(seeds)), totals=figures))
        base = 1.0 + unit + random.normal(0, self.between, units)
        scores.append(RecipeScores(name="base", seeds=(), totals=base[None]))
        return compare_recipes(scores, np.ones(units), better="lower")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "recipes", "seeds", "units", "promised"),
    [
        (World(), 3, 3, 200, 0.8),
        (World(own=0.005), 3, 3, 50, 0.5),
        (World(common=0.05, own=0.02), 4, 4, 100, 0.8),
        (World(common=0.01, own=0.002, rest=0.05, common_rest=1.0), 4, 3, 100, 0.8),
        (World(own=0.05, rest=0.4), 2, 6, 50, 0.5),
    ],
)
def test_studies_find_a_difference_as_often_as_the_plan_promised(
    monkeypatch: pytest.MonkeyPatch, world: World, recipes: int, seeds: int, units: int, promised: float
) -> None:
    # with few draws a study's critical value is a few hundredths off, which evens out over the studies
    monkeypatch.setattr(recipes_module, "critical_values", partial(critical_values, draws=2000))
    family = planned_family(world.pilot(), recipes=recipes, seeds=seeds, units=units)
    delta = detectable(family, (0, 1), promised)
    assert power(family, (0, 1), delta) == pytest.approx(promised, abs=0.01)
    random, studies = np.random.default_rng(5), 300
    found = [world.study(random, recipes, seeds, units, delta).between("r0", "r1") for _ in range(studies)]
    realised = np.mean([difference.verdict == "worse" for difference in found])
    assert realised == pytest.approx(promised, abs=0.05)
    assert np.mean([difference.verdict == "better" for difference in found]) < 0.005


def test_no_difference_is_found_in_at_most_one_study_in_twenty() -> None:
    family = planned_family(World().pilot(), recipes=2, seeds=3, units=200)
    assert 2 * power(family, (0, 1), 0.0) < 0.05


def test_a_pilot_sees_the_parts_of_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes_module, "critical_values", partial(critical_values, draws=50))
    world, random = World(common=0.05, own=0.02, common_rest=0.5), np.random.default_rng(4)
    pilots = [pilot_of(world.study(random, 3, 8, 300), "base") for _ in range(200)]
    exact = world.pilot(300)
    assert np.mean([p.noise.variance for p in pilots]) == pytest.approx(exact.noise.variance, rel=0.15)
    assert np.mean([p.own.variance for p in pilots]) == pytest.approx(exact.own.variance, rel=0.1)
    assert np.mean([p.own.rest for p in pilots]) == pytest.approx(exact.own.rest, rel=0.1)
    assert np.mean([p.units for p in pilots]) == pytest.approx(exact.units, rel=0.1)
    assert np.mean([p.base_units for p in pilots]) == pytest.approx(exact.base_units, rel=0.1)


def test_a_pilot_of_one_recipe_takes_the_base_for_another() -> None:
    found = World().study(np.random.default_rng(3), 1, 5, 300)
    pilot = pilot_of(found, "base")
    assert pilot.units == pilot.base_units > 0
    assert pilot.own == pilot.noise


def test_a_pilot_without_replicates_is_refused() -> None:
    with pytest.raises(ValueError, match="two replicates"):
        pilot_of(World().study(np.random.default_rng(3), 2, 1, 300), "base")


def test_more_seeds_and_more_units_find_smaller_differences() -> None:
    pilot = World().pilot()
    found = [
        [detectable(planned_family(pilot, recipes=3, seeds=s, units=n), (0, 1)) for n in (50, 200, 800)]
        for s in (2, 4, 8)
    ]
    assert (np.diff(found, axis=0) < 0).all()
    assert (np.diff(found, axis=1) < 0).all()


@pytest.mark.parametrize(("run_seconds", "unit_seconds"), [(100.0, 0.01), (1.0, 1.0)])
def test_the_cheapest_design_is_that_of_all_designs(run_seconds: float, unit_seconds: float) -> None:
    pilot, recipes, delta, most = World().pilot(), 2, 0.06, 400
    best = cheapest(
        pilot,
        recipes=recipes,
        delta=delta,
        power=0.8,
        most_units=most,
        run_seconds=run_seconds,
        unit_seconds=unit_seconds,
    )
    assert best is not None
    assert best.detectable <= delta * 1.02
    everything = [
        recipes * seeds * (run_seconds + units * unit_seconds)
        for seeds in range(2, 8)
        for units in range(50, most + 1, 50)
        if detectable(planned_family(pilot, recipes=recipes, seeds=seeds, units=units), (0, 1), 0.8) <= delta
    ]
    assert best.seconds <= min(everything) * 1.001


def test_no_design_where_the_source_has_too_few_units() -> None:
    arguments: dict[str, Any] = {"recipes": 2, "power": 0.8, "run_seconds": 1.0, "unit_seconds": 0.0}
    assert cheapest(World().pilot(), delta=1e-4, most_units=300, **arguments) is None


def test_the_seeds_needed_are_the_fewest() -> None:
    pilot = World(own=0.05).pilot()
    seeds = seeds_needed(pilot, recipes=2, units=400, delta=0.08)
    assert seeds is not None
    enough, too_few = (
        detectable(planned_family(pilot, recipes=2, seeds=s, units=400), (0, 1)) for s in (seeds, seeds - 1)
    )
    assert enough <= 0.08 < too_few
    assert seeds_needed(pilot, recipes=2, units=400, delta=1e-4) is None


def _difference(delta: float, seed_error: float, unit_error: float, critical: float) -> RecipeDifference:
    reach = critical * math.hypot(seed_error, unit_error)
    return RecipeDifference(
        first="a",
        second="b",
        delta=delta,
        low=delta - reach,
        high=delta + reach,
        seed_error=seed_error,
        unit_error=unit_error,
        freedom=math.inf,
        covers_seeds=seed_error > 0,
        better="lower",
    )


@pytest.mark.parametrize("asked", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("seed_error", [0.0, 0.004])
def test_on_the_units_needed_the_difference_is_found_with_the_power(asked: float, seed_error: float) -> None:
    delta, unit_error, critical = 0.02, 0.02, 1.96
    needed = units_needed(_difference(delta, seed_error, unit_error, critical), 100, asked)
    error = math.hypot(seed_error, unit_error * math.sqrt(100 / needed))
    found = np.random.default_rng(0).normal(delta, error, 100_000) > critical * error
    assert found.mean() == pytest.approx(asked, abs=0.01)


@pytest.mark.parametrize(
    ("delta", "seed_error", "critical"), [(0.0, 0.0, 2.0), (0.01, 0.01, 2.0), (0.01, 0.0, math.inf)]
)
def test_no_number_of_units_is_enough(delta: float, seed_error: float, critical: float) -> None:
    assert units_needed(_difference(delta, seed_error, 0.02, critical), 100) == math.inf
