"""What it would take to know which of two recipes is better, and what that costs."""

from collections.abc import Mapping
from dataclasses import replace

from paceline.stats.power import MAX_SEEDS, POWER, Pilot, pilot_of, seeds_needed, units_needed
from paceline.stats.recipes import RecipeDifference, RecipeFamily


def needed_to_know(
    family: RecipeFamily,
    pair: tuple[str, str],
    *,
    replicates: Mapping[str, int],
    base: str,
    seconds_per_run: float,
    power: float = POWER,
) -> str:
    """One sentence: the seeds that would tell a tie apart, or the first step to know of each recipe's seeds.

    Args:
        replicates: {recipe: how many seeds it was trained with}.
        base: the bare base's name in the family.
        seconds_per_run: of one training, on the machine that trained these.
    """
    recipes = len(replicates)
    missing = sum(max(0, 3 - count) for count in replicates.values())
    if family.noise is None or family.seeds.taken_over:
        return (
            f"To know about the recipes, train each with three seeds (`seeds: 3`): "
            f"{_cost(missing, seconds_per_run)}."
        )
    difference = family.between(*pair)
    if difference.delta == 0:
        return f"{pair[0]} and {pair[1]} do not differ: no number of seeds would tell them apart."
    pilot = pilot_of(family, base)
    if family.welch:  # each pair is judged by its own noise then
        pilot = _of_pair(pilot, difference, min(replicates[name] for name in pair))
    seeds = seeds_needed(pilot, recipes=recipes, units=family.units, delta=difference.delta, power=power)
    examples = units_needed(difference, family.units, power)
    more = f"about {examples:,.0f} held-out examples" if family.units < examples < 1e6 else ""
    what = f"Were the difference of {pair[0]} and {pair[1]} really {abs(difference.delta):.4f}"
    if seeds is None:
        others = f"; {more} would be" if more else ""
        found = f"even {MAX_SEEDS} seeds each would not be enough to find it with {power:.0%} power"
        return f"{what}, {found}{others}."
    runs = sum(max(0, seeds - count) for count in replicates.values())
    cost = f" ({_cost(runs, seconds_per_run)})" if runs > 0 else ""
    others = f", or these seeds with {more}" if more else ""
    return f"{what}, {seeds} seeds each would find it with {power:.0%} power{cost}{others}."


def _of_pair(pilot: Pilot, difference: RecipeDifference, seeds: int) -> Pilot:
    """A pilot whose noise over seeds is what this pair's difference has, measured with so many seeds each."""
    variance = difference.seed_error**2 * seeds / 2
    own = replace(pilot.own, variance=variance, rest=min(pilot.own.rest, variance * pilot.own.units))
    return replace(pilot, noise=own, own=own)


def _cost(runs: int, seconds_per_run: float) -> str:
    return f"{runs} more runs, about {duration(runs * seconds_per_run)}"


def duration(seconds: float) -> str:
    """A time as a person says it: 40 seconds, 12 minutes, 3.5 hours."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
