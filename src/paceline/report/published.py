"""Measured figures beside the ones that a study's authors published, where the two can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from paceline.comparison.recipes import BASE
from paceline.config.recipe import Recipe
from paceline.config.study import LOGGING
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.evaluations import MTBenchSummary, read_mtbench
from paceline.runs.events import EvalEvent, StartEvent, TrainEvent, of_kind, read_events, start_of
from paceline.runs.files import JsonObject
from paceline.runs.study import StudyRecord, read_study_record

_UNITS = {
    "eval_loss": "nats a token",
    "base_loss": "nats a token",
    "train_loss": "nats a token",
    "train_loss_start": "nats a token",
    "token_accuracy": "share of held-out tokens",
    "token_accuracy_start": "share of held-out tokens, before training",
    "train_token_accuracy": "share of the last step's tokens",
    "train_token_accuracy_start": "share of the first step's tokens",
    "trainable_parameters": "numbers of the adapter",
    "perplexity": "e to the eval loss",
    "base_perplexity": "e to the base's loss",
    "grad_norm": "before clipping",
    "steps": "optimizer steps",
    "minutes": "of training",
    "mtbench": "of 10",
    "base_mtbench": "of 10",
}
# What may be another than published, and leaves a figure the same figure.
_NO_MATTER = (*LOGGING, "seed", "compute_dtype")
# Differences that a reason names; the others are counted.
_NAMED = 3


class Trained(Protocol):
    """What is looked at of a run."""

    @property
    def name(self) -> str: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def start(self) -> StartEvent | None: ...
    @property
    def train(self) -> Sequence[TrainEvent]: ...
    @property
    def evals(self) -> Sequence[EvalEvent]: ...
    @property
    def status(self) -> RunStatus: ...
    @property
    def mtbench(self) -> MTBenchSummary | None: ...


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One published figure of one run, and what was measured here (None: nothing corresponds to it).

    `not_comparable` says why what was measured here is no such figure; it is not given then.
    """

    run: str
    name: str
    published: object
    measured: float | None
    unit: str = ""
    not_comparable: str = ""


def against_published(record: StudyRecord, trained: Sequence[Trained]) -> list[Figure]:
    """Every figure under `published:`, in its order; those of no run (hardware, protocol) have run "".

    A figure is not comparable where base, data or training are not those of the study's file, where
    `published` names another `base` or `data` than the run's, where the run did not train to its end, or
    where its judge has a scale of its own.
    """
    runs = {run.name: run for run in trained}
    entries = {entry.name: entry for entry in record.runs}
    figures = []
    for key, value in record.published.items():
        if not isinstance(value, dict):
            figures.append(Figure(run="", name=key, published=value, measured=None))
            continue
        run = runs.get(key)
        changed = entries[key].not_as_written if key in entries else {}
        why = "" if run is None else _why_not(run, record.published, changed)
        for name, published in value.items():
            reason = why or (_other_scale(run, name) if run else "")
            here = measured(run, name) if run and not reason else None
            unit = _UNITS.get(name, "")
            figures.append(
                Figure(
                    run=key, name=name, published=published, measured=here, unit=unit, not_comparable=reason
                )
            )
    return figures


def _why_not(run: Trained, published: JsonObject, changed: JsonObject) -> str:
    """What makes a run's figures other ones than those published, the weightiest first; empty: nothing."""
    differing = {field: (old, new) for field, (old, new) in changed.items() if field not in _NO_MATTER}
    for field, here in (("base", run.recipe.base), ("data.source", run.recipe.data.source)):
        named = published.get(field.split(".")[0])
        if isinstance(named, str) and named != here:
            differing[field] = named, here
    order = sorted(differing, key=lambda field: (field != "base", not field.startswith("data."), field))
    reasons = [f"{field} {differing[field][1]} instead of {differing[field][0]}" for field in order[:_NAMED]]
    if more := len(order) - len(reasons):
        reasons.append(f"{more} more fields of the recipe")
    return ", ".join([*reasons, *([run.status.ending] if run.status.ending else [])])


def _other_scale(run: Trained, name: str) -> str:
    judged = "mtbench" in name and run.mtbench is not None and not run.mtbench.comparable_with_published
    return f"judge {run.mtbench.judge} has a scale of its own" if judged and run.mtbench else ""


def measured(run: Trained, name: str) -> float | None:
    """What a run measured under a published figure's name."""
    first, last = (run.train[0], run.train[-1]) if run.train else (None, None)
    before = next((event for event in run.evals if event.name == "base"), None)
    final = run.evals[-1] if run.evals else None
    scores = run.mtbench.runs if run.mtbench else {}
    figures: dict[str, float | None] = {
        "eval_loss": final.loss if final else None,
        "perplexity": final.perplexity if final else None,
        "token_accuracy": final.token_accuracy if final else None,
        "base_loss": before.loss if before else None,
        "base_perplexity": before.perplexity if before else None,
        "train_loss": last.loss if last else None,
        "train_loss_start": first.loss if first else None,
        "token_accuracy_start": before.token_accuracy if before else None,
        "train_token_accuracy_start": first.token_accuracy if first else None,
        "train_token_accuracy": last.token_accuracy if last else None,
        "trainable_parameters": run.start.trainable_parameters if run.start else None,
        "grad_norm": last.grad_norm if last else None,
        "steps": run.status.step or None,
        "minutes": run.status.seconds / 60 or None,
        "mtbench": scores[run.name].average.value if run.name in scores else None,
        "base_mtbench": scores[BASE].average.value if BASE in scores else None,
    }
    value = figures.get(name)
    return None if value is None else float(value)


def reasons(figures: Sequence[Figure]) -> dict[str, list[str]]:
    """{why figures are not comparable: the runs}, in order."""
    found: dict[str, list[str]] = {}
    for figure in figures:
        runs = found.setdefault(figure.not_comparable, []) if figure.not_comparable else []
        if figure.run not in runs:
            runs.append(figure.run)
    return found


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run as its directory tells it."""

    name: str
    recipe: Recipe
    start: StartEvent | None
    train: list[TrainEvent]
    evals: list[EvalEvent]
    status: RunStatus
    mtbench: MTBenchSummary | None


def read_published(directories: Sequence[RunDirectory]) -> list[Figure]:
    """The published figures of the studies whose runs these are; of other studies nothing."""
    by_folder: dict[Path, list[RunDirectory]] = {}
    for directory in directories:
        by_folder.setdefault(directory.path.resolve().parent, []).append(directory)
    figures = []
    for folder, own in by_folder.items():
        record = read_study_record(folder)
        named = [d for d in own if d.name in record.published and d.recipe_file.is_file()]
        only = _only(record, {d.name for d in named})
        figures += against_published(only, [_read(directory) for directory in named])
    return figures


def _only(record: StudyRecord, names: set[str]) -> StudyRecord:
    """The record with the published figures of these runs alone, and of none where there are none."""
    kept: Mapping[str, object] = {
        key: value
        for key, value in record.published.items()
        if key in names or (names and not isinstance(value, dict))
    }
    return record.model_copy(update={"published": dict(kept)})


def _read(directory: RunDirectory) -> _Run:
    events = read_events(directory.events)
    return _Run(
        name=directory.name,
        recipe=directory.recipe(),
        start=start_of(events),
        train=of_kind(events, TrainEvent),
        evals=of_kind(events, EvalEvent),
        status=directory.status(),
        mtbench=read_mtbench(directory.eval),
    )
