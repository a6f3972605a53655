"""Which adapters answer in the playground: those that are chosen, else one of each recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paceline.evaluate.serving.body import RequestError
from paceline.runs.directory import RunDirectory
from paceline.runs.study import recipe_groups, run_directories


@dataclass(frozen=True)
class Replicate:
    """A finished run of a recipe."""

    path: Path
    seed: int

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Choice:
    """The finished runs by recipe, and the names of those that answer, in the study's order."""

    recipes: dict[str, list[Replicate]]
    chosen: list[str]

    @property
    def is_default(self) -> bool:
        return self.chosen == [replicates[0].name for replicates in self.recipes.values()]


def finished_recipes(folder: Path) -> dict[str, list[Replicate]]:
    """{recipe: its finished replicates, the lowest seed first}, in the study's order.

    Raises:
        PacelineError: neither a study's folder nor a run's, or one whose files are damaged.
    """
    finished = [one for one in run_directories([folder]) if _has_adapter(one)]
    return {
        group.name: sorted(
            (Replicate(one.path, seed) for one, seed in zip(group.directories, group.seeds, strict=True)),
            key=lambda one: one.seed,
        )
        for group in recipe_groups(finished)
    }


def choose(folder: Path, asked: Sequence[str]) -> Choice:
    """The choice of the runs that are asked for; where none is, the first replicate of each recipe.

    Raises:
        RequestError: there is no such run, or it has not finished.
    """
    recipes = finished_recipes(folder)
    names = [one.name for replicates in recipes.values() for one in replicates]
    if unknown := [name for name in asked if name not in names]:
        raise RequestError(f"no finished run is called {unknown[0][:100]!r}", status=404)
    asked = asked or [replicates[0].name for replicates in recipes.values()]
    return Choice(recipes, [name for name in names if name in asked])


def _has_adapter(directory: RunDirectory) -> bool:
    return (directory.adapter / "adapter_config.json").is_file()
