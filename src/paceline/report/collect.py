"""All that a report says, read from run directories alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline.compare.forgetting import general_change
from paceline.compare.table import Comparison, compare
from paceline.config.recipe import Recipe
from paceline.config.study import recipe_differences
from paceline.doctor.finding import Finding, in_order
from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.ours import log_of_events
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.events import EvalEvent, StartEvent, TrainEvent, of_kind, read_events
from paceline.runs.files import read_json
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import read_study_record, run_directories
from paceline.stats.paired import Difference, paired_difference, shared_examples


@dataclass(frozen=True)
class RunFacts:
    """One run: its recipe, how it differs from the baseline's, its log, and what was evaluated (None: it was not)."""

    name: str
    hypothesis: str
    state: str
    recipe: Recipe
    differences: dict[str, tuple[Any, Any]]
    start: StartEvent | None
    train: list[TrainEvent]
    evals: list[EvalEvent]
    status: RunStatus
    mtbench: dict[str, Any] | None
    code: dict[str, dict[str, Any]]
    forgetting: tuple[dict[str, Any], Difference] | None
    findings: list[Finding]

    @property
    def final(self) -> EvalEvent | None:
        """The last evaluation."""
        return self.evals[-1] if self.evals else None


@dataclass(frozen=True)
class Sample:
    """One question with the base's answer and a run's."""

    question: str
    preflight_rules: str
    after: str


@dataclass(frozen=True)
class StudyFacts:
    """A study as its folder tells it. `pairs` compares every run with the one of lowest loss; `tasks` holds each run's Δ by task."""

    name: str
    objective: str
    published: dict[str, Any]
    runs: list[RunFacts]
    comparison: Comparison | None
    pairs: dict[str, Difference]
    tasks: dict[str, dict[str, Difference]]
    findings: list[Finding]
    samples: tuple[str, list[Sample]] | None


def gather(path: Path) -> StudyFacts:
    """Reads a study's folder, or a single run's.

    Raises:
        PacelineError: neither.
    """
    directories = run_directories([path])
    record = read_study_record(path)
    begun = [d for d in directories if d.recipe_file.is_file()]
    first = begun[0].recipe()
    runs = [_run(directory, first, record.hypotheses.get(directory.name, "")) for directory in begun]
    comparison = compare(begun) if any((d.eval / "final.parquet").is_file() for d in begun) else None
    losses = {
        d.name: ExampleLosses.read(d.eval / "final.parquet")
        for d in begun
        if (d.eval / "final.parquet").is_file()
    }
    findings = in_order(finding for run in runs for finding in run.findings)
    return StudyFacts(
        record.study, record.objective, record.published, runs, comparison,
        _pairs(comparison, losses), _tasks(comparison, losses), findings, _samples(comparison, begun),
    )  # fmt: skip


def _run(directory: RunDirectory, first: Recipe, hypothesis: str) -> RunFacts:
    recipe = directory.recipe()
    events = read_events(directory.events)
    suites = {
        name: read_json(directory.eval / f"{name}.json")
        for name in ("rust", "problems")
        if (directory.eval / f"{name}.json").is_file()
    }
    forgotten = directory.eval / "forgetting.json"
    return RunFacts(
        directory.name, hypothesis, directory.status().state, recipe, recipe_differences(first, recipe),
        next(iter(of_kind(events, StartEvent)), None),
        of_kind(events, TrainEvent),
        of_kind(events, EvalEvent),
        directory.status(),
        read_json(directory.eval / "mtbench.json") if (directory.eval / "mtbench.json").is_file() else None, suites,
        (read_json(forgotten), general_change(directory.eval)) if forgotten.is_file() else None,
        log_rules.findings(log_of_events(events, recipe.final_batch_size), directory.name) if events else [],
    )  # fmt: skip


def _pairs(comparison: Comparison | None, losses: dict[str, ExampleLosses]) -> dict[str, Difference]:
    if comparison is None:
        return {}
    leader = comparison.best[0]
    return {
        row.name: paired_difference(losses[row.name], losses[leader])
        for row in comparison.rows
        if row.name != leader and shared_examples(losses[row.name], losses[leader])
    }


def _tasks(
    comparison: Comparison | None, losses: dict[str, ExampleLosses]
) -> dict[str, dict[str, Difference]]:
    """{run: {task: Δ from the baseline}} where a data set has several tasks."""
    if comparison is None or len({task for row in comparison.rows for task in row.tasks}) < 2:
        return {}
    baseline = losses[comparison.rows[0].name]
    found: dict[str, dict[str, Difference]] = {}
    for row in comparison.rows[1:]:
        for task in sorted(row.tasks):
            mine, theirs = losses[row.name].of_task(task), baseline.of_task(task)
            if shared_examples(mine, theirs):
                found.setdefault(row.name, {})[task] = paired_difference(mine, theirs)
    return found


def _samples(
    comparison: Comparison | None, directories: list[RunDirectory], count: int = 3
) -> tuple[str, list[Sample]] | None:
    """Answers of the base and of the run with the lowest loss to the first questions that both were asked."""
    if comparison is None:
        return None
    name = comparison.best[0]
    folder = next(d.eval for d in directories if d.name == name)
    for file in ("mtbench-answers.jsonl", "rust-answers.jsonl", "problems-answers.jsonl"):
        if not (folder / file).is_file():
            continue
        said: dict[str, dict[Any, dict[str, Any]]] = {}
        for line in (folder / file).read_text().splitlines():
            answer = json.loads(line)
            said.setdefault(answer["run"], {})[
                answer["id"], answer.get("turn", 0), answer.get("sample", 0)
            ] = answer
        both = [key for key in said.get(name, {}) if key in said.get("base", {})][:count]
        if both:
            return name, [
                Sample(_question(said[name][key]), said["base"][key]["answer"], said[name][key]["answer"])
                for key in both
            ]
    return None


def _question(answer: dict[str, Any]) -> str:
    return str(answer["question"] if "question" in answer else answer["messages"][-1]["content"])
