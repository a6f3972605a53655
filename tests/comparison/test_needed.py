"""What it would take to know: the first replicates, or so many seeds, with their cost in time."""

import re

import numpy as np
import pytest

from paceline.comparison.needed import duration, needed_to_know
from paceline.stats.power import pilot_of, seeds_needed
from paceline.stats.recipes import RecipeFamily, RecipeScores, compare_recipes


def _family(seeds: int, delta: float, own: float = 0.03) -> RecipeFamily:
    random = np.random.default_rng(2)
    unit = random.normal(2, 0.3, 200)
    scores = [
        RecipeScores(
            name=name,
            seeds=tuple(range(seeds)),
            totals=shift + unit + random.normal(0, own, (seeds, 1)) + random.normal(0, 0.1, (seeds, 200)),
        )
        for name, shift in (("low", 0.0), ("high", delta))
    ]
    scores.append(RecipeScores(name="base", seeds=(), totals=unit[None] + 1))
    return compare_recipes(scores, np.ones(200), better="lower")


def _sentence(family: RecipeFamily, seeds: int) -> str:
    replicates = {"low": seeds, "high": seeds}
    return needed_to_know(family, ("low", "high"), replicates=replicates, base="base", seconds_per_run=600.0)


def test_with_one_seed_each_the_first_step_is_three() -> None:
    said = _sentence(_family(1, 0.1), 1)
    assert said == (
        "To know about the recipes, train each with three seeds (`seeds: 3`): 4 more runs, about 40 minutes."
    )


def test_a_tie_names_the_seeds_that_would_tell_and_their_cost() -> None:
    family = _family(3, 0.03)
    assert family.between("low", "high").verdict == "tie"
    delta = family.between("low", "high").delta
    seeds = seeds_needed(pilot_of(family, "base"), recipes=2, units=200, delta=delta)
    assert seeds is not None
    runs = 2 * seeds - 6
    said = _sentence(family, 3)
    assert f"really {abs(delta):.4f}, {seeds} seeds each would find it with 80% power" in said
    assert f"({runs} more runs, about {duration(runs * 600)})" in said


def test_a_difference_far_below_the_noise_is_out_of_reach() -> None:
    family = _family(3, 0.0, own=0.2)
    assert "even 20 seeds each would not be enough" in _sentence(family, 3)


def _unlike(random: np.random.Generator, seeds: int, delta: float) -> RecipeFamily:
    """Of three recipes one has hardly any noise; the other two differ by `delta`."""
    unit = np.random.default_rng(4).normal(2, 0.3, 200)
    kinds = {"high": (0.0, 0.1), "low": (delta, 0.1), "quiet": (-0.5, 0.001)}
    scores = [
        RecipeScores(
            name=name, seeds=tuple(range(seeds)), totals=shift + unit + random.normal(0, spread, (seeds, 1))
        )
        for name, (shift, spread) in kinds.items()
    ]
    scores.append(RecipeScores(name="base", seeds=(), totals=unit[None] + 1))
    return compare_recipes(scores, np.ones(200), better="lower")


def test_where_noise_is_unlike_the_pair_s_own_says_how_many_seeds() -> None:
    """The pooled noise would call for fewer seeds than the tie has; so many as are named find it."""
    family = _unlike(np.random.default_rng(5), 5, 0.07)
    difference = family.between("low", "high")
    assert family.welch
    assert difference.verdict == "tie"
    replicates = dict.fromkeys(("low", "high", "quiet"), 5)
    said = needed_to_know(family, ("low", "high"), replicates=replicates, base="base", seconds_per_run=600.0)
    seeds = int(re.findall(r"(\d+) seeds each would find it", said)[0])
    assert seeds > 5
    # so large an error as the tie has, in other studies
    random, scale = np.random.default_rng(6), difference.seed_error / np.sqrt(2 * 0.1**2 / 5)
    found = [
        _unlike(random, seeds, abs(difference.delta) / scale).between("low", "high").verdict != "tie"
        for _ in range(300)
    ]
    assert 0.7 < np.mean(found) < 0.97


@pytest.mark.parametrize(("seconds", "said"), [(40, "40 seconds"), (720, "12 minutes"), (12600, "3.5 hours")])
def test_durations_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said
