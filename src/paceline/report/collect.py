"""All that a report says, read from run directories alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paceline.comparison.losses import loss_difference, shared_examples
from paceline.comparison.scores import pass_difference, rating_difference
from paceline.comparison.table import Comparison, compare, read_losses
from paceline.config.recipe import Recipe
from paceline.config.study import recipe_differences
from paceline.doctor.finding import Finding, in_order
from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.ours import log_of_events
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
from paceline.runs.study import read_study_record, run_directories
from paceline.stats.paired import Difference

BASE = "base"
MAX_SAMPLES = 3


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
class FromBaseline:
    """Paired differences of runs from the baseline run, by run; those in `code` by suite first."""

    mtbench: dict[str, Difference]
    code: dict[str, dict[str, Difference]]


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """A study as its folder tells it.

    `pairs` compares every run with the one of lowest loss; `tasks` holds each run's Δ from the baseline by
    task of the data set. `evaluations` are all that were asked for, done or not. `samples` are answers of the
    run named `samples_of`.
    """

    name: str
    objective: str
    published: dict[str, object]
    runs: list[RunFacts]
    comparison: Comparison | None
    pairs: dict[str, Difference]
    tasks: dict[str, dict[str, Difference]]
    from_baseline: FromBaseline
    evaluations: list[EvaluationStatus]
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
    best = comparison.best[0] if comparison else ""
    return StudyFacts(
        name=record.study,
        objective=record.objective,
        published=record.published,
        runs=runs,
        comparison=comparison,
        pairs=comparison.from_best if comparison else {},
        tasks=_by_task(comparison, losses) if comparison else {},
        from_baseline=_from_baseline(begun),
        evaluations=evaluation_statuses(begun),
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


def _by_task(comparison: Comparison, losses: Mapping[str, ExampleLosses]) -> dict[str, dict[str, Difference]]:
    """{run: {task: Δ from the baseline}} where a data set has several tasks."""
    if len({task for row in comparison.rows for task in row.tasks}) < 2:
        return {}
    baseline = losses[comparison.rows[0].name]
    by_run: dict[str, dict[str, Difference]] = {}
    for row in comparison.rows[1:]:
        for task in sorted(row.tasks):
            own, other = losses[row.name].of_task(task), baseline.of_task(task)
            if shared_examples(own, other):
                by_run.setdefault(row.name, {})[task] = loss_difference(own, other)
    return by_run


def _from_baseline(directories: list[RunDirectory]) -> FromBaseline:
    """Differences from the first run, of all runs that answered the same questions or tasks."""
    baseline, *others = directories
    judgments, verdicts = _own_judgments(baseline), _own_verdicts(baseline)
    mtbench: dict[str, Difference] = {}
    code: dict[str, dict[str, Difference]] = {}
    for directory in others:
        if difference := rating_difference(_own_judgments(directory), judgments):
            mtbench[directory.name] = difference
        for suite, own in _own_verdicts(directory).items():
            if difference := pass_difference(own, verdicts.get(suite, [])):
                code.setdefault(suite, {})[directory.name] = difference
    return FromBaseline(mtbench=mtbench, code=code)


def _own_judgments(directory: RunDirectory) -> list[Judgment]:
    judgments = read_records(directory.eval / "mtbench-judgments.jsonl", Judgment)
    return [judgment for judgment in judgments if judgment.run == directory.name]


def _own_verdicts(directory: RunDirectory) -> dict[str, list[CodeVerdict]]:
    """{suite: what became of the run's answers}."""
    files = {path.name.removesuffix("-verdicts.jsonl"): path for path in _files(directory, "verdicts")}
    verdicts = {suite: read_records(path, CodeVerdict) for suite, path in files.items()}
    return {suite: [v for v in lines if v.run == directory.name] for suite, lines in verdicts.items()}


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
