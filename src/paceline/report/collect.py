"""All that a report says, read from run directories alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paceline.comparison.caveats import Caveat, caveats
from paceline.comparison.finished import finished_groups, losses_by_seed, other_bases, read_losses
from paceline.comparison.noise import noise_for
from paceline.comparison.recipes import loss_family
from paceline.comparison.table import Comparison, compare
from paceline.config.recipe import Recipe
from paceline.config.study import recipe_differences
from paceline.doctor.finding import Finding, in_order
from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.ours import log_of_events, noisy_batch
from paceline.report.families import Families, collect_families, read_losses_file
from paceline.report.judged import Judged, Log, Measured, judge_hypotheses, judge_success
from paceline.report.published import Figure, against_published
from paceline.report.samples import OnTheWay, Sample, read_on_the_way, read_samples
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.evaluation_status import EvaluationStatus, evaluation_statuses
from paceline.runs.evaluations import (
    CodeSummary,
    MTBenchSummary,
    RunForgetting,
    read_code,
    read_forgetting,
    read_mtbench,
)
from paceline.runs.events import EvalEvent, StartEvent, TrainEvent, of_kind, read_events, start_of
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import RecipeGroup, read_study_record, recipe_groups, run_directories
from paceline.stats.recipes import RecipeDifference
from paceline.stats.seed_noise import SeedNoise


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
class StudyFacts:
    """A study as its folder tells it.

    `published` are the published figures beside the measured ones. `recipes` are its runs by recipe, one or
    more replicates each; `caveats` say what the comparison's do, of a study without a finished run too.
    `tasks` holds each recipe's Δ from the baseline by task of the data set, each interval by itself.
    `other_bases` are the recipes whose base is not the baseline's, with it.
    `evaluations` are all that were asked for, done or not. `samples` are answers of the base and of recipes,
    the lowest loss first; `samples_left_out` counts questions that would be too many for a page;
    `on_the_way` are answers that were asked for while runs trained.
    """

    name: str
    objective: str
    published: list[Figure]
    recipes: list[RecipeGroup]
    runs: list[RunFacts]
    comparison: Comparison | None
    caveats: list[Caveat]
    tasks: dict[str, dict[str, RecipeDifference]]
    families: Families
    other_bases: dict[str, str]
    evaluations: list[EvaluationStatus]
    hypotheses: list[Judged]
    success: list[Judged]
    findings: list[Finding]
    samples: list[Sample]
    samples_left_out: int
    on_the_way: list[OnTheWay]


def collect_study(path: Path, noise: Path | None = None) -> StudyFacts:
    """Reads a study's folder, or a single run's.

    Args:
        noise: an earlier study, whose replicates say how much a loss moves with the seed (`noise_for`).

    Raises:
        PacelineError: it is neither; an earlier study of another base or data, or without replicates.
    """
    record = read_study_record(path)
    directories = run_directories([path])
    begun = [directory for directory in directories if directory.recipe_file.is_file()]
    baseline = begun[0].recipe()
    runs = [_run(directory, baseline, record.hypotheses.get(directory.name, "")) for directory in begun]
    losses = read_losses(begun)
    earlier = noise_for(directories, run_directories([noise])) if noise is not None else None
    comparison = compare(directories, losses, earlier) if losses else None
    families, criteria = collect_families(begun), any(entry.success for entry in record.runs)
    samples, left_out = read_samples(_by_loss(recipe_groups(begun), comparison) if comparison else [])
    return StudyFacts(
        name=record.study,
        objective=record.objective,
        published=against_published(record, runs),
        recipes=recipe_groups(begun),
        runs=runs,
        comparison=comparison,
        caveats=comparison.caveats if comparison else caveats(directories, losses),
        tasks=_by_task(comparison, begun, losses) if comparison else {},
        families=families,
        other_bases=other_bases(recipe_groups(begun)),
        evaluations=comparison.evaluations if comparison else evaluation_statuses(begun),
        hypotheses=judge_hypotheses(record, comparison, families.mtbench),
        success=judge_success(record, _measured(begun, runs, losses, families, comparison))
        if criteria
        else [],
        findings=in_order(finding for run in runs for finding in run.findings),
        samples=samples,
        samples_left_out=left_out,
        on_the_way=read_on_the_way(recipe_groups(begun)),
    )


def _run(directory: RunDirectory, baseline: Recipe, hypothesis: str) -> RunFacts:
    recipe, events = directory.recipe(), read_events(directory.events, last_norms_only=True)
    findings = (
        log_rules.findings(log_of_events(events, noisy_batch(recipe)), directory.name) if events else []
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
    comparison: Comparison | None,
) -> Measured:
    """What criteria of success are held against."""
    groups = finished_groups(directories, losses)
    logs = {run.name: Log(train=run.train, evals=run.evals) for run in runs}
    by_seed = losses_by_seed(groups, losses)
    bases = {group.name: read_losses_file(group.directories[0].eval / "base.parquet") for group in groups}
    return Measured(
        losses=by_seed,
        bases=bases,
        logs={group.name: [logs[directory.name] for directory in group.directories] for group in groups},
        mtbench=families.graded,
        noise={
            "loss": comparison.noise if comparison else None,
            "correct": _accuracy_noise(by_seed, next(iter(bases.values()), None), comparison),
            "mtbench": families.mtbench.noise if families.mtbench else None,
        },
        other_bases=other_bases(groups),
    )


def _accuracy_noise(
    by_seed: Mapping[str, Mapping[int, ExampleLosses]],
    base: ExampleLosses | None,
    comparison: Comparison | None,
) -> SeedNoise | None:
    """The seeds' noise of the token accuracy, from this study's replicates or the earlier study's."""
    if comparison is None:
        return None
    known = comparison.earlier.accuracy if comparison.earlier else None
    family = loss_family(by_seed, base, known, together=False, measure="correct").family
    return family.noise if family else None


def _by_loss(groups: list[RecipeGroup], comparison: Comparison) -> list[RecipeGroup]:
    """The recipes that have a result, the lowest held-out loss first."""
    losses = {row.name: row.eval_loss for row in comparison.rows}
    return sorted((group for group in groups if group.name in losses), key=lambda group: losses[group.name])


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
