"""Measured figures beside the ones that a study's authors published."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.comparison.recipes import BASE
from paceline.report.collect import RunFacts, StudyFacts


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One published figure of one run, and what was measured here (None: nothing corresponds to it)."""

    run: str
    name: str
    published: object
    measured: float | None


def against_published(study: StudyFacts) -> list[Figure]:
    """Every figure under `published:`, in its order; those of no run (hardware, protocol) have run ""."""
    runs = {run.name: run for run in study.runs}
    figures = []
    for key, value in study.published.items():
        if not isinstance(value, dict):
            figures.append(Figure(run="", name=key, published=value, measured=None))
            continue
        for name, published in value.items():
            here = measured(runs[key], name) if key in runs else None
            figures.append(Figure(run=key, name=name, published=published, measured=here))
    return figures


def measured(run: RunFacts, name: str) -> float | None:
    """What a run measured under a published figure's name."""
    first, last = (run.train[0], run.train[-1]) if run.train else (None, None)
    before = next((event for event in run.evals if event.name == "base"), None)
    final = run.final
    scores = run.mtbench.runs if run.mtbench else {}
    figures: dict[str, float | None] = {
        "eval_loss": final.loss if final else None,
        "perplexity": final.perplexity if final else None,
        "token_accuracy": final.token_accuracy if final else None,
        "base_loss": before.loss if before else None,
        "base_perplexity": before.perplexity if before else None,
        "train_loss": last.loss if last else None,
        "train_loss_start": first.loss if first else None,
        "token_accuracy_start": first.token_accuracy if first else None,
        "grad_norm": last.grad_norm if last else None,
        "steps": run.status.step or None,
        "minutes": run.status.seconds / 60 or None,
        "mtbench": scores[run.name].average.value if run.name in scores else None,
        "base_mtbench": scores[BASE].average.value if BASE in scores else None,
    }
    value = figures.get(name)
    return None if value is None else float(value)
