"""Where the seeds' noise of a comparison is from, and what it takes for granted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paceline.comparison.finished import base_of, finished_groups, losses_by_seed, other_bases, read_losses
from paceline.comparison.recipes import loss_family
from paceline.config.study import LOGGING, recipe_differences
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.stats.recipes import RecipeFamily
from paceline.stats.seed_noise import MARGIN, SeedNoise

# Fields of a recipe that change neither what is learned nor what it is measured on.
_NO_MATTER = (*LOGGING, "seed", "compute_dtype")
# Differences that a sentence names; the others are counted.
_NAMED = 4


@dataclass(frozen=True, kw_only=True)
class EarlierNoise:
    """The seeds' noise of another study: its folder, whose replicates it is of, and what is not as here.

    `noise` is that of the held-out loss, `accuracy` that of the share of tokens predicted right.
    """

    noise: SeedNoise
    accuracy: SeedNoise | None
    study: str
    measured: dict[str, int]
    differs: str


def noise_for(directories: Sequence[RunDirectory], earlier: Sequence[RunDirectory]) -> EarlierNoise:
    """How much a held-out loss moves with the seed, as the replicates of an earlier study show it.

    Raises:
        RunError: the earlier study has another base, other data or another split of them, or no recipe with
            two finished replicates.
    """
    where = str(earlier[0].path.parent)
    for what, ours, theirs in zip(
        ("base", "data", "split (data.seed)"), _setting(directories), _setting(earlier), strict=True
    ):
        if ours != theirs:
            raise RunError(
                f"{where}: its {what} is {theirs}, here it is {ours}; "
                "the seeds' noise of one is not the other's"
            )
    losses = read_losses(earlier)
    groups = finished_groups(earlier, losses)
    by_seed = losses_by_seed(groups, losses)
    family = loss_family(by_seed, base_of(groups)).family if groups else None
    if family is None or family.noise is None:
        raise RunError(
            f"{where}: no recipe has two finished replicates, so it says nothing of the seeds' noise; "
            "train it with `seeds: 3`"
        )
    for name, other in other_bases(groups).items():
        if name in family.seeds.measured:
            raise RunError(
                f"{where}: {name}, which has replicates, has another base than the first recipe ({other}); "
                "the seeds' noise of one is not the other's"
            )
    first = next(group for group in groups if group.name in family.seeds.measured)
    accuracy = loss_family(by_seed, base_of(groups), together=False, measure="correct").family
    return EarlierNoise(
        noise=family.noise,
        accuracy=accuracy.noise if accuracy else None,
        study=where,
        measured=family.seeds.measured,
        differs=_not_alike(first.directories[0], directories),
    )


def noise_notes(family: RecipeFamily, earlier: EarlierNoise | None) -> list[str]:
    """Whose seeds the noise was measured on, where it is not each recipe's own, in a line or two."""
    used, notes = family.seeds, []
    if earlier is not None and not used.known_used:
        why = (
            "recipes here have replicates of their own"
            if used.measured
            else "nothing of it can be taken over"
        )
        notes.append(f"The noise of {earlier.study} was not used: {why}.")
    if not used.taken_over:
        return notes
    by_known = earlier if used.known_used else None
    source = f"{by_known.study}: " if by_known else ""
    measured = _replicates(by_known.measured if by_known else used.measured)
    times = ", ".join(f"{name} {factor:.3g} times" for name, factor in used.taken_over.items())
    notes.append(
        f"Seeds' noise: measured on {source}{measured} alone, and taken over by the distance from the base, "
        f"times {MARGIN:g} to be safe ({times} as much)."
    )
    if by_known and by_known.differs:
        notes.append(f"{by_known.study} is not as this study: {by_known.differs}.")
    return notes


def _replicates(measured: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count} seeds)" for name, count in measured.items())


def _setting(directories: Sequence[RunDirectory]) -> tuple[str, str, str]:
    recipe = directories[0].recipe()
    return recipe.base, recipe.data.source, str(recipe.data.seed)


def _not_alike(measured: RunDirectory, directories: Sequence[RunDirectory]) -> str:
    """Fields in which the measured recipe is another than the baseline here."""
    differences = recipe_differences(measured.recipe(), directories[0].recipe())
    told = [
        f"{field} {there} there, {here} here"
        for field, (there, here) in differences.items()
        if field not in _NO_MATTER
    ]
    more = f"; {len(told) - _NAMED} fields more" * (len(told) > _NAMED)
    return "; ".join(told[:_NAMED]) + more
