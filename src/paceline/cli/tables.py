"""Comparison and study as tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paceline.api.findings import Findings, change_of
from paceline.config.study import Study, flatten
from paceline.report.format import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.compare.table import Comparison
    from paceline.train.estimate import CohortEstimate
    from paceline.train.run_length import RunLength

_COLOUR = {"better": "green", "worse": "red", "tie": "yellow"}


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The table of a study and what follows from it."""
    table = Table("run", box=box.SIMPLE_HEAD)
    drift = any(row.kl is not None for row in comparison.rows)
    for heading in (
        "eval loss",
        "token acc.",
        *(["KL to base"] * drift),
        "steps",
        "tokens",
        "time",
        "Δ from baseline, 95% interval",
        "verdict",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("(base)", f"{comparison.base_loss:.4f}", style="dim")
    for row in comparison.rows:
        d = row.difference
        change = "" if d is None else f"{d.delta:+.4f} \\[{d.low:+.4f}, {d.high:+.4f}]"
        nothing = "baseline" if row is comparison.rows[0] else "no shared example"
        verdict = nothing if d is None else f"[{_COLOUR[d.verdict]}]{d.verdict}[/]"
        name = f"[bold]{row.name}[/]" if row.name in comparison.best else row.name
        kl = ["" if row.kl is None else f"{row.kl:.4f}"] * drift
        figures = (
            f"{row.eval_loss:.4f}",
            f"{row.token_accuracy:.1%}",
            *kl,
            f"{row.steps}",
            short(row.tokens),
            clock(row.seconds),
        )
        table.add_row(name, *figures, change, verdict)
    console.print(table)
    for name, state in comparison.missing.items():
        console.print(f"{name}: {state}, no result", style="dim")
    differences = [row.difference for row in comparison.rows if row.difference]
    if differences:
        left_out = max(d.left_out for d in differences)
        note = (
            f"; {left_out} not shared by both runs left out (eval losses are over each run's own)"
            if left_out
            else ""
        )
        console.print(
            f"Δ: paired over {min(d.examples for d in differences):,} held-out examples{note}; a tie's interval holds zero. It covers the choice of examples, not of the seed.",
            style="dim",
        )
    console.print(comparison.conclusion())


def output() -> Console:
    """Standard output: as wide as the terminal, or wide enough for a table where there is none."""
    return Console(width=None if sys.stdout.isatty() else 160)


def short(count: int) -> str:
    """1,234 as 1.2k."""
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.1f}k" if count >= 1e3 else str(count)


def print_study(study: Study, lengths: Sequence[RunLength], console: Console) -> None:
    """Every run as its difference from the baseline, with its length."""
    console.print(f"[bold]{study.name}[/]  {study.objective}")
    first = flatten(study.runs[0].recipe.model_dump())
    shown = (
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
    console.print("baseline: " + ", ".join(f"{key} {first[key]}" for key in shown), highlight=False)
    table = Table("run", "difference from the baseline", "hypothesis")
    for heading in ("batch", "steps", "coverage"):
        table.add_column(heading, justify="right")
    for run, length in zip(study.runs, lengths, strict=True):
        changes = "\n".join(f"{key}: {old} → {new}" for key, (old, new) in study.differences(run).items())
        steps = "?" if length.steps is None else f"{length.steps:,}"
        coverage = "?" if length.coverage is None else f"{length.coverage:.0%}"
        table.add_row(
            run.name,
            changes or "(baseline)",
            run.hypothesis,
            str(run.recipe.effective_batch),
            steps,
            coverage,
        )
    console.print(table)


def print_estimates(cohorts: Sequence[CohortEstimate], console: Console) -> None:
    """Runs and memory of every cohort."""
    for cohort in cohorts:
        table = Table("run", box=box.SIMPLE_HEAD)
        for heading in ("steps", "tokens", "coverage", "time"):
            table.add_column(heading, justify="right")
        for run in cohort.runs:
            table.add_row(
                run.name, f"{run.steps:,}", short(run.tokens), f"{run.coverage:.0%}", clock(run.seconds)
            )
        seconds = sum(run.seconds for run in cohort.runs)
        table.add_row(
            "all",
            f"{sum(r.steps for r in cohort.runs):,}",
            short(sum(r.tokens for r in cohort.runs)),
            "",
            clock(seconds),
            style="bold",
        )
        console.print(f"[bold]{cohort.base}[/], {len(cohort.runs)} runs together")
        console.print(table)
        parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in cohort.memory.items())
        fits = "" if cohort.total < cohort.available else " [red]it does not fit[/]"
        console.print(
            f"memory, MiB: {parts}; together {cohort.total / 2**20:,.0f} of {cohort.available / 2**20:,.0f}{fits}",
            highlight=False,
        )


_SEVERITY = {"error": "bold red", "warning": "yellow", "note": "dim"}


def print_findings(findings: Findings, console: Console) -> None:
    """Findings, worst first, the same one of several runs once; each with its rule and the change to make."""
    for finding in findings.grouped():
        line = Text.assemble(
            (f"{finding.severity:<8}", _SEVERITY[finding.severity]),
            (f"{finding.rule}  ", "bold"),
            finding.message,
            f"  [{finding.run}]" if finding.run else "",
        )
        console.print(line)
        if change := change_of(finding):
            console.print(Text(f"        {change}", style="dim"))


def print_code(summary: dict[str, Any], console: Console) -> None:
    """Rates of every run on executable tasks."""
    runs, samples = summary["runs"], summary["samples"]
    kinds = sorted({kind for figures in runs.values() for kind in figures["kinds"]})
    table = Table("run", box=box.SIMPLE_HEAD)
    for heading in (
        "compiles",
        "pass@1, 95% interval",
        *([f"pass@{samples}"] if samples > 1 else []),
        *(kinds if len(kinds) > 1 else []),
    ):
        table.add_column(heading, justify="right")
    for run, figures in runs.items():
        compiled = figures["compile_rate"]
        cells = ["–" if compiled is None else f"{compiled['value']:.1%}", _interval(figures["pass@1"])]
        cells += [_interval(figures[f"pass@{samples}"])] if samples > 1 else []
        cells += (
            [f"{figures['kinds'][kind]['value']:.0%}" if kind in figures["kinds"] else "" for kind in kinds]
            if len(kinds) > 1
            else []
        )
        table.add_row(run, *cells)
    console.print(table)
    console.print(
        f"{summary['tasks']} tasks whose reference answer passes and whose wrong answers fail; {summary['run_a_minute_a_core']:.0f} of the tasks' own programs run a minute on each core",
        style="dim",
    )


def _interval(rate: dict[str, float]) -> str:
    return f"{rate['value']:.1%} \\[{rate['low']:.1%}, {rate['high']:.1%}]"


def print_mtbench(summary: dict[str, Any], console: Console) -> None:
    """Scores of every run, by turn and category."""
    runs = summary["runs"]
    categories = sorted({name for figures in runs.values() for name in figures["categories"]})
    table = Table("run", box=box.SIMPLE_HEAD)
    for heading in (
        "average, 95% interval",
        "change from the base",
        "turn 1",
        "turn 2",
        "failed",
        *categories,
    ):
        table.add_column(heading, justify="right")
    for run, figures in runs.items():
        change = figures.get("change")
        said = (
            ""
            if change is None
            else f"[{_COLOUR[change['verdict']]}]{change['value']:+.2f} \\[{change['low']:+.2f}, {change['high']:+.2f}] {change['verdict']}[/]"
        )
        turns = [
            f"{figures['turns'][turn]['value']:.2f}" if turn in figures["turns"] else ""
            for turn in ("1", "2")
        ]
        by_category = [
            f"{figures['categories'][name]['value']:.1f}" if name in figures["categories"] else ""
            for name in categories
        ]
        average = figures["average"]
        table.add_row(
            run,
            f"{average['value']:.2f} \\[{average['low']:.2f}, {average['high']:.2f}]",
            said,
            *turns,
            str(figures["failed"]),
            *by_category,
        )
    console.print(table)
    console.print(f"{summary['questions']} questions, judge {summary['judge']}", style="dim")
    if spent := summary.get("judge_spent"):
        cost = f", {spent['cost']:.2f}" if "cost" in spent else ""
        console.print(
            f"{spent['calls']:,} calls, {spent['prompt_tokens']:,} + {spent['completion_tokens']:,} tokens{cost}",
            style="dim",
        )
    if not summary["comparable_with_published"]:
        console.print(
            "this judge's scores are not comparable with published ones: they compare these runs with one another only"
        )


def print_forgetting(found: dict[str, Any], console: Console) -> None:
    """Loss on general rows before and after, with the paired difference."""
    from paceline.compare.forgetting import general_change

    table = Table("run", box=box.SIMPLE_HEAD)
    for heading in ("general loss, base", "run", "change, 95% interval", "KL to the base"):
        table.add_column(heading, justify="right")
    for run, part in found.items():
        change = general_change(Path(part["folder"]))
        said = f"[{_COLOUR[change.verdict]}]{change.delta:+.4f} \\[{change.low:+.4f}, {change.high:+.4f}] {change.verdict}[/]"
        table.add_row(
            run, f"{part['base']['loss']:.4f}", f"{part['run']['loss']:.4f}", said, f"{part['run']['kl']:.5f}"
        )
    console.print(table)
    rows, source = next((part["rows"], part["source"]) for part in found.values())
    console.print(f"{rows} rows of {source}", style="dim")


def print_evaluation(kind: str, summary: dict[str, Any], console: Console) -> None:
    """One evaluation's table."""
    {"mtbench": print_mtbench, "code": print_code, "forgetting": print_forgetting}[kind](summary, console)
