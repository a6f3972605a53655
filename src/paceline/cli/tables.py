"""Comparisons, studies, estimates and findings as tables."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from paceline.api.console import SafeConsole
from paceline.api.findings import Findings, change_of
from paceline.report.format import clock
from paceline.report.published import reasons
from paceline.runs.evaluation_status import not_evaluated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.comparison.rows import Replicate, Row
    from paceline.comparison.table import Comparison
    from paceline.report.published import Figure

VERDICT_COLOUR = {"better": "green", "worse": "red", "tie": "yellow", "differ": "cyan"}


def print_comparison(comparison: Comparison, console: Console, by_seed: bool = False) -> None:
    """The table of a study and what follows from it; `by_seed` adds a line for each replicate."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("recipe", overflow="fold")
    has_kl = any(row.kl is not None for row in comparison.rows)
    headings = ["eval loss", "token acc.", *(["KL to base"] * has_kl), "steps", "tokens", "time"]
    for heading in (*headings, "Δ from baseline,\n95% interval", "verdict"):
        # a narrow terminal takes from names and intervals alike, or names would vanish
        table.add_column(heading, justify="right", no_wrap=not heading.startswith("Δ"))
    accuracy = f"{comparison.base_token_accuracy:.1%}"
    table.add_row("(base)", f"{comparison.base_loss:.4f}", accuracy, style="dim")
    for row in comparison.rows:
        name = f"[bold]{escape(row.name)}[/]" if row.name in comparison.best else escape(row.name)
        table.add_row(
            name + row.seeds_shown, *_figures(row, has_kl), *_verdict(row, row is comparison.rows[0])
        )
        for replicate in row.replicates if by_seed and len(row.replicates) > 1 else ():
            table.add_row(*_replicate(replicate, has_kl), style="dim")
    for name, status in comparison.missing.items():
        table.add_row(escape(name), status.state, style="red" if status.state == "failed" else "dim")
    console.print(table)
    for caveat in comparison.caveats:
        console.print(caveat.text, style="yellow", markup=False, highlight=False)
    for sentence in not_evaluated(comparison.evaluations):
        console.print(Text(sentence, style="bold red"))
    for line in comparison.footnotes():
        console.print(line, style="dim", markup=False)
    console.print(comparison.conclusion(), markup=False)


def print_published(figures: Sequence[Figure], console: Console) -> None:
    """Published figures beside the measured ones, and why some cannot be held against them."""
    if not figures:
        return
    table = Table("run", "figure", box=box.SIMPLE_HEAD, title="against the published figures")
    for heading in ("published", "measured here", "unit"):
        table.add_column(heading, justify="right")
    for figure in figures:
        here = "" if figure.measured is None else f"{figure.measured:.4g}"
        measured = "[yellow]not comparable[/]" if figure.not_comparable else here
        names = escape(figure.run), escape(figure.name), escape(str(figure.published))
        table.add_row(*names, measured, figure.unit)
    console.print(table)
    for reason, runs in reasons(figures).items():
        line = f"{', '.join(runs)}: not comparable with what was published, since {reason}"
        console.print(line, style="yellow", markup=False, highlight=False)


def _figures(row: Row, has_kl: bool) -> list[str]:
    kl = ["" if row.kl is None else f"{row.kl:.4f}"] * has_kl
    loss = f"{row.eval_loss:.4f}" + ("" if row.spread is None else f" ± {row.spread:.4f}")
    accuracy = f"{row.token_accuracy:.1%}"
    return [loss, accuracy, *kl, row.steps_shown, short(row.tokens), clock(row.seconds)]


def _replicate(replicate: Replicate, has_kl: bool) -> list[str]:
    figures = [f"{replicate.eval_loss:.4f}", f"{replicate.token_accuracy:.1%}", *([""] * has_kl)]
    spent = [f"{replicate.steps}", short(replicate.tokens), clock(replicate.seconds)]
    return [f"  seed {replicate.seed}", *figures, *spent]


def _verdict(row: Row, is_baseline: bool) -> tuple[str, str]:
    """A recipe's difference from the baseline, and the verdict in its colour."""
    if row.difference is None:
        return "", "baseline" if is_baseline else "no shared example"
    d = row.difference
    return f"{d.delta:+.4f} \\[{d.low:+.4f}, {d.high:+.4f}]", f"[{VERDICT_COLOUR[d.verdict]}]{d.verdict}[/]"


def output() -> Console:
    """Standard output: as wide as the terminal, or wide enough for a table where there is none."""
    return SafeConsole(width=None if sys.stdout.isatty() else 160)


def short(count: int) -> str:
    """1,234 as 1.2k."""
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.1f}k" if count >= 1e3 else str(count)


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
