"""A study before it is trained: its recipes, and what they will need, as tables."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from paceline.cli.tables import short
from paceline.config.study import Study, flatten
from paceline.report.format import SEEN, clock, seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from paceline.training.estimate import CohortEstimate, RunEstimate
    from paceline.training.run_length import RunLength

_SHOWN = (
    "base",
    "data.source",
    "data.n",
    "epochs",
    "lr",
    "lr_scheduler",
    "warmup_ratio",
    "batch_size",
    "grad_accum",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "max_length",
)


def times(name: str, replicates: int) -> str:
    """A recipe with the number of its replicates, where there are several: `low × 3`."""
    return f"{name} × {replicates}" if replicates > 1 else name


def print_study(
    study: Study, lengths: Mapping[str, RunLength], endings: Mapping[str, str], console: Console
) -> None:
    """Every recipe as its difference from the baseline, with its replicates and its length.

    Args:
        endings: {run: what ended it before its last step}, of runs that have been trained.
    """
    console.print(f"[bold]{escape(study.name)}[/]  {escape(study.objective)}")
    first = flatten(study.runs[0].recipe.model_dump())
    baseline = ", ".join(f"{key} {first[key]}" for key in _SHOWN)
    console.print(f"baseline: {baseline}", highlight=False, markup=False)
    table = Table("run", "difference from the baseline", "hypothesis")
    for heading in ("batch", "steps", SEEN):
        table.add_column(heading, justify="right")
    for name, runs in study.recipes.items():
        run, length = runs[0], lengths[runs[0].name]
        changes = "\n".join(f"{key}: {old} → {new}" for key, (old, new) in study.differences(run).items())
        steps = "?" if length.steps is None else f"{length.steps:,}"
        how_often = "?" if length.coverage is None else seen(length.coverage)
        table.add_row(
            escape(times(name, len(runs))),
            escape(changes) or "(baseline)",
            escape(run.hypothesis),
            str(run.recipe.effective_batch),
            steps,
            how_often,
        )
    console.print(table)
    if any(len(runs) > 1 for runs in study.recipes.values()):
        console.print(f"{len(study.runs)} runs: × is the number of seeds", style="dim")
    for name, ending in endings.items():
        console.print(f"{name}: {ending}", style="yellow", markup=False, highlight=False)


def print_estimates(
    cohorts: Sequence[CohortEstimate], recipe_of: Mapping[str, str], console: Console
) -> None:
    """Recipes and memory of every cohort; steps, tokens and time are of all replicates together.

    Args:
        recipe_of: {run: its recipe's name}.
    """
    for cohort in cohorts:
        table = Table("run", box=box.SIMPLE_HEAD)
        for heading in ("steps", "tokens", SEEN, "time"):
            table.add_column(heading, justify="right")
        counts = Counter(recipe_of[run.name] for run in cohort.runs)
        for name, count in counts.items():
            runs = [run for run in cohort.runs if recipe_of[run.name] == name]
            how_often = seen(sum(run.coverage for run in runs) / count)
            table.add_row(escape(times(name, count)), *_sums(runs, how_often))
        table.add_row("all", *_sums(cohort.runs, ""), style="bold")
        console.print(f"[bold]{escape(cohort.base)}[/], {len(cohort.runs)} runs together")
        console.print(table)
        parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in cohort.memory.items())
        fits = "" if cohort.total < cohort.available else " [red]it does not fit[/]"
        whole = f"{cohort.total / 2**20:,.0f} of {cohort.available / 2**20:,.0f}"
        console.print(f"memory, MiB: {parts}; together {whole}{fits}", highlight=False)


def _sums(runs: Sequence[RunEstimate], how_often: str) -> list[str]:
    steps, tokens = sum(run.steps for run in runs), sum(run.tokens for run in runs)
    return [f"{steps:,}", short(tokens), how_often, clock(sum(run.seconds for run in runs))]
