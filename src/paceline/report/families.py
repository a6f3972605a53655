"""What the recipes of a study are to one another, and to the base, in all but the held-out loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from paceline.comparison.recipes import BASE, loss_family, pass_family, preference_family, rating_family
from paceline.comparison.scores import MAX_CUT
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluations import (
    CodeVerdict,
    Judgment,
    MTBenchSummary,
    PairJudgment,
    read_code,
    read_mtbench,
)
from paceline.runs.losses import ExampleLosses
from paceline.runs.records import read_records
from paceline.runs.study import RecipeGroup, recipe_groups
from paceline.stats.recipes import RecipeFamily

Found = TypeVar("Found")
Line = TypeVar("Line", Judgment, PairJudgment, CodeVerdict)
# How many answers were cut, and how many there are.
CutAnswers = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Graded:
    """MT-Bench's grades by recipe and seed, and the base's, less `withheld` ones: {recipe: why}."""

    recipes: Mapping[str, Mapping[int, Sequence[Judgment]]]
    base: Sequence[Judgment]
    withheld: Mapping[str, str] = field(default_factory=dict)

    def family(self) -> RecipeFamily | None:
        """Differences of all of them."""
        return rating_family(self.recipes, self.base) if self.recipes else None


@dataclass(frozen=True, kw_only=True)
class Families:
    """Differences of all recipes and the base in what they were evaluated by beside the held-out loss.

    `pairwise` is by wins against the base on MT-Bench. `code` is by suite. `withheld` says (recipe, why)
    of those that are left out of them, since too many of their answers were cut, or they were asked or graded
    otherwise than the first. None: fewer than two recipes, or the base and one, were evaluated on the same
    units.
    """

    graded: Graded
    mtbench: RecipeFamily | None
    pairwise: RecipeFamily | None
    code: dict[str, RecipeFamily]
    forgetting: RecipeFamily | None
    withheld: list[tuple[str, str]]


def collect_families(directories: list[RunDirectory]) -> Families:
    """Reads what the runs were evaluated by, each file once."""
    recipes = recipe_groups(directories)
    graded, pairwise, withheld = _mtbench(recipes, directories)
    verdicts = {directory.name: _read_verdicts(directory) for directory in directories}
    code: dict[str, RecipeFamily] = {}
    for suite in sorted({suite for own in verdicts.values() for suite in own}):
        lines = {run: own.get(suite, []) for run, own in verdicts.items()}
        family, reasons = _code(recipes, directories, suite, lines)
        withheld += reasons
        if family:
            code[suite] = family
    general = _by_seed(recipes, lambda d: read_losses_file(d.eval / "forgetting.parquet"))
    before = _first(directories, lambda d: read_losses_file(d.eval / "forgetting-base.parquet"))
    return Families(
        graded=graded,
        mtbench=graded.family(),
        pairwise=pairwise,
        code=code,
        forgetting=loss_family(general, before).family if general else None,
        withheld=withheld,
    )


def read_losses_file(path: Path) -> ExampleLosses | None:
    """Losses by example, where they were measured."""
    return ExampleLosses.read(path) if path.is_file() else None


def too_cut(counts: Mapping[str, Sequence[CutAnswers]], what: str) -> dict[str, str]:
    """{recipe: why nothing is said of it}, from (cut answers, all answers) of its replicates."""
    shares = {
        name: sum(cut for cut, _ in pairs) / sum(answers for _, answers in pairs)
        for name, pairs in counts.items()
        if sum(answers for _, answers in pairs)
    }
    return {
        name: f"No verdict on {what} of {name}: {share:.0%} of its answers were cut at the token limit, "
        f"and over {MAX_CUT:.0%} may hide what it would have answered."
        for name, share in shares.items()
        if share > MAX_CUT
    }


def _mtbench(
    recipes: list[RecipeGroup], directories: list[RunDirectory]
) -> tuple[Graded, RecipeFamily | None, list[tuple[str, str]]]:
    """The grades, the family by wins against the base, and who is left out of them."""
    judgments = {d.name: read_records(d.eval / "mtbench-judgments.jsonl", Judgment) for d in directories}
    summaries = {d.name: read_mtbench(d.eval) for d in directories}

    def cut(directory: RunDirectory, run: str) -> CutAnswers | None:
        summary = summaries[directory.name]
        scores = summary.runs.get(run) if summary else None
        if scores is None or scores.cut is None:
            return None
        return scores.cut, len(_of_run(judgments[directory.name], run))

    graded = _by_seed(recipes, lambda d: _of_run(judgments[d.name], d.name))
    ways = {name: f"{own.judge}; {own.protocol}" for name, own in summaries.items() if own}
    alike = [d for d in directories if ways.get(d.name, "") == _first_way(recipes, ways)]
    base = _first(alike, lambda d: _of_run(judgments[d.name], BASE)) or []
    counts = {
        name: list(seeds.values()) for name, seeds in _by_seed(recipes, lambda d: cut(d, d.name)).items()
    }
    counts[BASE] = [found] if (found := _first(alike, lambda d: cut(d, BASE))) else []
    out = too_cut(counts, "MT-Bench") | asked_otherwise(recipes, ways, "MT-Bench")
    graded = {name: seeds for name, seeds in graded.items() if name not in out}
    kept = Graded(recipes=graded, base=[] if BASE in out else base, withheld=out)
    return kept, _pairwise(recipes, summaries, out), list(out.items())


def asked_otherwise(recipes: list[RecipeGroup], ways: Mapping[str, str], what: str) -> dict[str, str]:
    """{recipe: why nothing is said of it}, of those asked or graded otherwise than the first that was.

    Args:
        ways: {run: how it was asked, and graded by whom}.
    """
    first, found = _first_way(recipes, ways), {}
    for group in recipes:
        for way in (ways[directory.name] for directory in group.directories if directory.name in ways):
            if way != first:
                found[group.name] = (
                    f"No verdict on {what} of {group.name}: it was asked or graded otherwise than the first "
                    f"({way}; there {first})."
                )
    return found


def _pairwise(
    recipes: list[RecipeGroup], summaries: Mapping[str, MTBenchSummary | None], too: Mapping[str, str]
) -> RecipeFamily | None:
    """The family by wins against the base, of the runs whose result has them."""

    def compared(directory: RunDirectory) -> list[PairJudgment]:
        summary = summaries[directory.name]
        scores = summary.runs.get(directory.name) if summary else None
        if scores is None or scores.pairwise is None:
            return []
        return _of_run(read_records(directory.eval / "mtbench-pairs.jsonl", PairJudgment), directory.name)

    pairs = {name: seeds for name, seeds in _by_seed(recipes, compared).items() if name not in too}
    return preference_family(pairs) if pairs and BASE not in too else None


def _first_way(recipes: list[RecipeGroup], ways: Mapping[str, str]) -> str:
    return next((ways[d.name] for group in recipes for d in group.directories if d.name in ways), "")


def _code(
    recipes: list[RecipeGroup],
    directories: list[RunDirectory],
    suite: str,
    lines: Mapping[str, Sequence[CodeVerdict]],
) -> tuple[RecipeFamily | None, list[tuple[str, str]]]:
    """The family by tasks passed, and who is left out of it; `lines` are of the base and the run, by run."""
    passed = _by_seed(recipes, lambda d: _of_run(lines[d.name], d.name))
    summaries = {d.name: read_code(d.eval).get(suite) for d in directories}
    ways = {name: own.protocol for name, own in summaries.items() if own}
    alike = [d for d in directories if ways.get(d.name, "") == _first_way(recipes, ways)]
    base = _first(alike, lambda d: _of_run(lines[d.name], BASE)) or []
    counts = {name: [_cut_in(own) for own in seeds.values()] for name, seeds in passed.items()}
    out = too_cut({**counts, BASE: [_cut_in(base)]}, suite) | asked_otherwise(recipes, ways, suite)
    passed = {name: seeds for name, seeds in passed.items() if name not in out}
    family = pass_family(passed, [] if BASE in out else base) if passed else None
    return family, list(out.items())


def _cut_in(verdicts: Sequence[CodeVerdict]) -> CutAnswers:
    return sum(verdict.finish == "length" for verdict in verdicts), len(verdicts)


def _read_verdicts(directory: RunDirectory) -> dict[str, list[CodeVerdict]]:
    """{suite: what became of the answers of a run and of the base}."""
    files = sorted(directory.eval.glob("*-verdicts.jsonl"))
    return {file.name.removesuffix("-verdicts.jsonl"): read_records(file, CodeVerdict) for file in files}


def _by_seed(
    recipes: list[RecipeGroup], read: Callable[[RunDirectory], Found | None]
) -> dict[str, dict[int, Found]]:
    """{recipe: {seed: what was found}}, of the runs that have it."""
    found = {
        recipe.name: {
            seed: measured
            for seed, directory in zip(recipe.seeds, recipe.directories, strict=True)
            if (measured := read(directory))
        }
        for recipe in recipes
    }
    return {name: seeds for name, seeds in found.items() if seeds}


def _first(directories: list[RunDirectory], read: Callable[[RunDirectory], Found | None]) -> Found | None:
    """What the first of the runs that has it says of the base."""
    return next((found for directory in directories if (found := read(directory))), None)


def _of_run(lines: Sequence[Line], run: str) -> list[Line]:
    return [line for line in lines if line.run == run]
