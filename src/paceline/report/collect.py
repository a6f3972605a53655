"""All that a report says, read from run directories alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from paceline.comparison.recipes import BASE, loss_family, pass_family, rating_family
from paceline.comparison.table import Comparison, compare, finished_groups, losses_by_seed, read_losses
from paceline.config.recipe import Recipe
from paceline.config.study import recipe_differences
from paceline.doctor.finding import Finding, in_order
from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.ours import log_of_events
from paceline.report.judged import Judged, judge_hypotheses, judge_success
from paceline.report.judged import Measured as MeasuredStudy
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.evaluation_status import EvaluationStatus, evaluation_statuses
from paceline.runs.evaluations import (
    Answer,
    CodeSummary,
    CodeVerdict,
    Judgment,
    MTBenchSummary,
    RunForgetting,
    TurnAnswer,
    read_code,
    read_forgetting,
    read_mtbench,
)
from paceline.runs.events import EvalEvent, StartEvent, TrainEvent, of_kind, read_events, start_of
from paceline.runs.losses import ExampleLosses
from paceline.runs.records import read_records
from paceline.runs.study import RecipeGroup, read_study_record, recipe_groups, run_directories
from paceline.stats.recipes import RecipeDifference, RecipeFamily

MAX_SAMPLES = 3
# A recipe of whose answers a larger share was cut at the token limit is not compared by them.
MAX_CUT = 0.05
Measured = TypeVar("Measured")
Line = TypeVar("Line", Judgment, CodeVerdict)


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """One run: its recipe, how that differs from the baseline's, its log, and results (None: not evaluated).

    `code` holds the result of each suite of executable tasks; of runs evaluated together it may name others
    too.
    """

    name: str
    hypothesis: str
    recipe: Recipe
    differences: dict[str, tuple[object, object]]
    start: StartEvent | None
    train: list[TrainEvent]
    evals: list[EvalEvent]
    status: RunStatus
    mtbench: MTBenchSummary | None
    code: dict[str, CodeSummary]
    forgetting: RunForgetting | None
    findings: list[Finding]

    @property
    def state(self) -> str:
        """How far the run is."""
        return self.status.state

    @property
    def final(self) -> EvalEvent | None:
        """The last evaluation."""
        return self.evals[-1] if self.evals else None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One question with the base's answer and a run's."""

    question: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Families:
    """Differences of all recipes and the base in what they were evaluated by beside the held-out loss.

    `code` is by suite. `withheld` says (recipe, why) of those that are left out of them, since too many of
    their answers were cut. None: fewer than two recipes, or the base and one, were evaluated on the same
    units.
    """

    mtbench: RecipeFamily | None
    code: dict[str, RecipeFamily]
    forgetting: RecipeFamily | None
    withheld: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """A study as its folder tells it.

    `recipes` are its runs by recipe, one or more replicates each. `tasks` holds each recipe's Δ from the
    baseline by task of the data set, each interval by itself. `evaluations` are all that were asked for, done
    or not. `samples` are answers of the run named `samples_of`.
    """

    name: str
    objective: str
    published: dict[str, object]
    recipes: list[RecipeGroup]
    runs: list[RunFacts]
    comparison: Comparison | None
    tasks: dict[str, dict[str, RecipeDifference]]
    families: Families
    evaluations: list[EvaluationStatus]
    hypotheses: list[Judged]
    success: list[Judged]
    findings: list[Finding]
    samples_of: str
    samples: list[Sample]


def collect_study(path: Path) -> StudyFacts:
    """Reads a study's folder, or a single run's.

    Raises:
        PacelineError: it is neither.
    """
    record = read_study_record(path)
    begun = [directory for directory in run_directories([path]) if directory.recipe_file.is_file()]
    baseline = begun[0].recipe()
    runs = [_run(directory, baseline, record.hypotheses.get(directory.name, "")) for directory in begun]
    losses = read_losses(begun)
    comparison = compare(begun, losses) if losses else None
    families, criteria = _families(begun), any(entry.success for entry in record.runs)
    best = comparison.rows[_place_of_best(comparison)].replicates[0].name if comparison else ""
    return StudyFacts(
        name=record.study,
        objective=record.objective,
        published=record.published,
        recipes=recipe_groups(begun),
        runs=runs,
        comparison=comparison,
        tasks=_by_task(comparison, begun, losses) if comparison else {},
        families=families,
        evaluations=evaluation_statuses(begun),
        hypotheses=judge_hypotheses(record, comparison, families.mtbench),
        success=judge_success(record, _measured(begun, runs, losses, families)) if criteria else [],
        findings=in_order(finding for run in runs for finding in run.findings),
        samples_of=best,
        samples=next((_samples(directory) for directory in begun if directory.name == best), []),
    )


def _run(directory: RunDirectory, baseline: Recipe, hypothesis: str) -> RunFacts:
    recipe, events = directory.recipe(), read_events(directory.events)
    findings = (
        log_rules.findings(log_of_events(events, recipe.final_batch_size), directory.name) if events else []
    )
    return RunFacts(
        name=directory.name,
        hypothesis=hypothesis,
        recipe=recipe,
        differences=dict(recipe_differences(baseline, recipe)),
        start=start_of(events),
        train=of_kind(events, TrainEvent),
        evals=of_kind(events, EvalEvent),
        status=directory.status(),
        mtbench=read_mtbench(directory.eval),
        code=read_code(directory.eval),
        forgetting=read_forgetting(directory.eval),
        findings=findings,
    )


def _measured(
    directories: list[RunDirectory],
    runs: list[RunFacts],
    losses: Mapping[str, ExampleLosses],
    families: Families,
) -> MeasuredStudy:
    """What criteria of success are held against."""
    groups = finished_groups(directories, losses)
    logs = {run.name: run.train for run in runs}
    return MeasuredStudy(
        losses=losses_by_seed(groups, losses),
        base=_losses(groups[0].directories[0].eval / "base.parquet") if groups else None,
        logs={group.name: [logs[directory.name] for directory in group.directories] for group in groups},
        mtbench=families.mtbench,
    )


def _place_of_best(comparison: Comparison) -> int:
    return [row.name for row in comparison.rows].index(comparison.best[0])


def _by_task(
    comparison: Comparison, directories: list[RunDirectory], losses: Mapping[str, ExampleLosses]
) -> dict[str, dict[str, RecipeDifference]]:
    """{recipe: {task: Δ from the baseline}} where a data set has several tasks."""
    names = sorted({task for row in comparison.rows for task in row.tasks})
    if len(names) < 2:
        return {}
    by_recipe: dict[str, dict[str, RecipeDifference]] = {}
    by_seed = losses_by_seed(finished_groups(directories, losses), losses)
    baseline = next(iter(by_seed))
    for task in names:
        having = {
            recipe: {seed: own.of_task(task) for seed, own in seeds.items()}
            for recipe, seeds in by_seed.items()
            if all(task in own.task for own in seeds.values())
        }
        family = loss_family(having, None, together=False).family if baseline in having else None
        for recipe in by_seed:
            if family and recipe != baseline and recipe in family.means:
                by_recipe.setdefault(recipe, {})[task] = family.between(recipe, baseline)
    return by_recipe


def _families(directories: list[RunDirectory]) -> Families:
    """What the recipes that answered the same questions or tasks are to one another, and to the base."""
    recipes = recipe_groups(directories)
    judgments = _by_seed(recipes, lambda d: _of_run(read_judgments(d), d.name))
    graded = _first(directories, lambda d: _of_run(read_judgments(d), BASE)) or []
    cut = {name: list(seeds.values()) for name, seeds in _by_seed(recipes, lambda d: _cut(d, d.name)).items()}
    cut[BASE] = [found] if (found := _first(directories, lambda d: _cut(d, BASE))) else []
    withheld = too_cut(cut, "MT-Bench")
    judgments = {name: seeds for name, seeds in judgments.items() if name not in withheld}
    reasons, code = list(withheld.items()), {}
    for suite in sorted({suite for directory in directories for suite in read_verdicts(directory)}):
        passed = _by_seed(recipes, lambda d: _of_run(read_verdicts(d).get(suite, []), d.name))  # noqa: B023
        base = _first(directories, lambda d: _of_run(read_verdicts(d).get(suite, []), BASE)) or []  # noqa: B023
        lines = {name: [own for seed in seeds.values() for own in seed] for name, seeds in passed.items()}
        lines[BASE] = base
        cut = {
            name: [(sum(line.finish == "length" for line in own), len(own))] for name, own in lines.items()
        }
        too = too_cut(cut, suite)
        reasons += too.items()
        passed = {name: seeds for name, seeds in passed.items() if name not in too}
        if passed and (family := pass_family(passed, [] if BASE in too else base)):
            code[suite] = family
    general = _by_seed(recipes, lambda d: _losses(d.eval / "forgetting.parquet"))
    before = _first(directories, lambda d: _losses(d.eval / "forgetting-base.parquet"))
    return Families(
        mtbench=rating_family(judgments, [] if BASE in withheld else graded) if judgments else None,
        code=code,
        forgetting=loss_family(general, before).family if general else None,
        withheld=reasons,
    )


def too_cut(counts: Mapping[str, Sequence[tuple[int, int]]], what: str) -> dict[str, str]:
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


def _cut(directory: RunDirectory, run: str) -> tuple[int, int] | None:
    """How many of a run's MT-Bench answers were cut, and how many there are; None: not counted."""
    summary = read_mtbench(directory.eval)
    scores = summary.runs.get(run) if summary else None
    if scores is None or scores.cut is None:
        return None
    return scores.cut, len(_of_run(read_judgments(directory), run))


def _by_seed(
    recipes: list[RecipeGroup], read: Callable[[RunDirectory], Measured | None]
) -> dict[str, dict[int, Measured]]:
    """{recipe: {seed: what was measured}}, of the runs that have it."""
    found = {
        recipe.name: {
            seed: measured
            for seed, directory in zip(recipe.seeds, recipe.directories, strict=True)
            if (measured := read(directory))
        }
        for recipe in recipes
    }
    return {name: seeds for name, seeds in found.items() if seeds}


def _first(
    directories: list[RunDirectory], read: Callable[[RunDirectory], Measured | None]
) -> Measured | None:
    """What the first of the runs that has it says of the base."""
    return next((found for directory in directories if (found := read(directory))), None)


def _losses(path: Path) -> ExampleLosses | None:
    return ExampleLosses.read(path) if path.is_file() else None


def _of_run(lines: Sequence[Line], run: str) -> list[Line]:
    return [line for line in lines if line.run == run]


def read_judgments(directory: RunDirectory) -> list[Judgment]:
    """The judge's grades of a run's and the base's answers."""
    return read_records(directory.eval / "mtbench-judgments.jsonl", Judgment)


def read_verdicts(directory: RunDirectory) -> dict[str, list[CodeVerdict]]:
    """{suite: what became of the answers of a run and of the base}."""
    files = {path.name.removesuffix("-verdicts.jsonl"): path for path in _files(directory, "verdicts")}
    return {suite: read_records(path, CodeVerdict) for suite, path in files.items()}


def _files(directory: RunDirectory, what: str) -> list[Path]:
    return sorted(directory.eval.glob(f"*-{what}.jsonl"))


def _samples(directory: RunDirectory) -> list[Sample]:
    """Answers of a run and of the base to the first questions of MT-Bench, else of a suite of tasks."""
    turns = read_records(directory.eval / "mtbench-answers.jsonl", TurnAnswer)
    by_run: dict[str, dict[tuple[str, int], tuple[str, str]]] = {}
    for turn in turns:
        by_run.setdefault(turn.run, {})[turn.id, turn.turn] = turn.question, turn.answer
    if samples := _pair_samples(by_run, directory.name):
        return samples
    for file in _files(directory, "answers"):
        if file.name == "mtbench-answers.jsonl":
            continue
        by_run = {}
        for answer in read_records(file, Answer):
            by_run.setdefault(answer.run, {})[answer.id, answer.sample] = answer.question, answer.answer
        if samples := _pair_samples(by_run, directory.name):
            return samples
    return []


def _pair_samples(by_run: dict[str, dict[tuple[str, int], tuple[str, str]]], run: str) -> list[Sample]:
    own, base = by_run.get(run, {}), by_run.get(BASE, {})
    both = [key for key in own if key in base][:MAX_SAMPLES]
    return [Sample(question=own[key][0], before=base[key][1], after=own[key][1]) for key in both]
