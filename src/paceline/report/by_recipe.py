"""Runs by recipe, as the report's tables fold them: one row a recipe, its replicates in a line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from paceline.comparison.rows import by_seed, seeds_shown
from paceline.report.collect import RunFacts, StudyFacts
from paceline.stats.intervals import Interval


@dataclass(frozen=True)
class Mean:
    """A figure of a recipe, and how it is written: with its interval, or its deviation over seeds."""

    value: float
    shown: str


@dataclass(frozen=True, kw_only=True)
class RecipeRuns:
    """A recipe with those of its runs that have something to show, and the seed of each."""

    name: str
    runs: Sequence[RunFacts]
    seeds: Sequence[int]
    planned: int

    @property
    def seeds_shown(self) -> str:
        """Behind the name: ` × 3`, ` × 2 of 3`, or nothing."""
        return seeds_shown(len(self.runs), self.planned)

    def by_seed(self, shown: Iterable[str]) -> list[str]:
        """One line a replicate; nothing where there is only one, or none (the base)."""
        return by_seed(list(zip(self.seeds, shown, strict=True))) if self.seeds else []


@dataclass(frozen=True, kw_only=True)
class RecipeRow:
    """A line of a table: the recipe's name with its count of seeds, and its replicates one by one."""

    recipe: str
    seeds_shown: str = ""
    by_seed: Sequence[str] = ()


def of_recipes(study: StudyFacts) -> list[RecipeRuns]:
    """The study's recipes, each with its runs that have begun."""
    runs = {run.name: run for run in study.runs}
    return [
        RecipeRuns(
            name=group.name,
            runs=[runs[directory.name] for directory in group.directories],
            seeds=group.seeds,
            planned=len(group.directories),
        )
        for group in study.recipes
    ]


def having(study: StudyFacts, has: Callable[[RunFacts], object]) -> Iterator[RecipeRuns]:
    """The recipes with those of their runs that have a result."""
    for recipe in of_recipes(study):
        pairs = zip(recipe.runs, recipe.seeds, strict=True)
        if kept := [(run, seed) for run, seed in pairs if has(run)]:
            runs, seeds = zip(*kept, strict=True)
            yield RecipeRuns(name=recipe.name, runs=runs, seeds=seeds, planned=recipe.planned)


def interval(own: Interval) -> str:
    """A figure with its bounds."""
    return f"{own.value:.2f} [{own.low:.2f}, {own.high:.2f}]"


def mean(values: Sequence[float], alone: Sequence[str], form: str) -> Mean:
    """The mean over replicates with their standard deviation, or what is written of the only one."""
    if len(values) == 1:
        return Mean(values[0], alone[0])
    value = fmean(values)
    return Mean(value, f"{value:{form}} ± {stdev(values):{form}}")


def means(intervals: Sequence[Mapping[str, Interval]]) -> dict[str, float]:
    """{turn or category: mean over replicates}, of those that all of them have."""
    first, *others = intervals
    kept = [key for key in first if all(key in own for own in others)]
    return {key: fmean(own[key].value for own in intervals) for key in kept}
