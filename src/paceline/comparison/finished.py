"""The finished runs of a study, and their held-out losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from paceline.config.recipe import Recipe
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import RecipeGroup, recipe_groups


def read_losses(directories: Sequence[RunDirectory]) -> dict[str, ExampleLosses]:
    """{run: its held-out losses at the end}, of the runs that have them.

    Raises:
        RunError: damaged losses, or two runs of one name, which no table could tell apart.
    """
    named: dict[str, Path] = {}
    for directory in directories:
        other = named.setdefault(directory.name, directory.path)
        if other.resolve() != directory.path.resolve():
            raise RunError(
                f"{other} and {directory.path}: both runs are called {directory.name}; "
                "rename the folder of one, or compare them one study at a time"
            )
    files = {directory.name: directory.eval / "final.parquet" for directory in directories}
    return {name: ExampleLosses.read(file) for name, file in files.items() if file.is_file()}


def finished_groups(
    directories: Sequence[RunDirectory], losses: Mapping[str, ExampleLosses]
) -> list[RecipeGroup]:
    """The recipes with those of their runs that have losses, without recipes that have none."""
    finished = []
    for group in recipe_groups(directories):
        pairs = zip(group.directories, group.seeds, strict=True)
        if kept := [(directory, seed) for directory, seed in pairs if directory.name in losses]:
            finished.append(RecipeGroup(group.name, *zip(*kept, strict=True)))
    return finished


def losses_by_seed(
    groups: Sequence[RecipeGroup], losses: Mapping[str, ExampleLosses]
) -> dict[str, dict[int, ExampleLosses]]:
    """{recipe: {seed: its held-out losses}}."""
    return {
        group.name: {seed: losses[d.name] for seed, d in zip(group.seeds, group.directories, strict=True)}
        for group in groups
    }


def other_bases(groups: Sequence[RecipeGroup]) -> dict[str, str]:
    """{recipe: its base, in words} of the recipes whose bare base is not the first recipe's.

    A quantized base is another than the same in full precision.
    """
    bases = {group.name: _base(_begun(group).recipe()) for group in groups}
    return {name: base for name, base in bases.items() if base != next(iter(bases.values()))}


def _begun(group: RecipeGroup) -> RunDirectory:
    return next(directory for directory in group.directories if directory.recipe_file.is_file())


def _base(recipe: Recipe) -> str:
    return recipe.base + ("" if recipe.quantize == "none" else f" in {recipe.quantize}")


def base_of(groups: Sequence[RecipeGroup]) -> ExampleLosses:
    """The bare base's losses, on the baseline's examples."""
    return ExampleLosses.read(groups[0].directories[0].eval / "base.parquet")
