"""Measured figures beside the ones that a study's authors published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paceline.report.collect import RunFacts, StudyFacts


@dataclass(frozen=True)
class Figure:
    """One published figure of one run, and what was measured here (None: nothing that answers to it)."""

    run: str
    name: str
    published: Any
    measured: float | None


def against_published(study: StudyFacts) -> list[Figure]:
    """Every figure under `published:`, in its order; those of no run (hardware, protocol) have an empty run."""
    runs = {run.name: run for run in study.runs}
    found = []
    for key, value in study.published.items():
        if isinstance(value, dict):
            found += [
                Figure(key, name, figure, measured(runs[key], name) if key in runs else None)
                for name, figure in value.items()
            ]
        else:
            found.append(Figure("", key, value, None))
    return found


def measured(run: RunFacts, name: str) -> float | None:
    """What a run measured under a published figure's name."""
    first, last = (run.train[0], run.train[-1]) if run.train else ({}, {})
    before = next((event for event in run.evals if event["name"] == "base"), {})
    scores = run.mtbench["runs"] if run.mtbench else {}
    found = {
        "eval_loss": run.final.get("loss"), "perplexity": run.final.get("perplexity"), "token_accuracy": run.final.get("token_accuracy"),
        "base_loss": before.get("loss"), "base_perplexity": before.get("perplexity"),
        "train_loss": last.get("loss"), "train_loss_start": first.get("loss"), "token_accuracy_start": first.get("token_accuracy"),
        "grad_norm": last.get("grad_norm"), "steps": run.status.get("step"), "minutes": run.status.get("seconds", 0) / 60 or None,
        "mtbench": scores.get(run.name, {}).get("average", {}).get("value"), "base_mtbench": scores.get("base", {}).get("average", {}).get("value"),
    }.get(name)  # fmt: skip
    return None if found is None else float(found)
