"""Results of evaluations on a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from paceline.cli.tables import VERDICT_COLOUR
from paceline.runs.evaluations import (
    CodeSummary,
    EvaluationResult,
    FailedEvaluation,
    ForgettingSummary,
    MTBenchSummary,
)
from paceline.stats.intervals import Interval
from paceline.stats.paired import Difference


def print_evaluation(result: EvaluationResult, console: Console) -> None:
    """An evaluation's table, or why there is none; the result of another package's evaluation as JSON."""
    if isinstance(result, MTBenchSummary):
        print_mtbench(result, console)
    elif isinstance(result, CodeSummary):
        print_code(result, console)
    elif isinstance(result, ForgettingSummary):
        print_forgetting(result, console)
    elif isinstance(result, FailedEvaluation):
        print_failed(result, console)
    else:
        console.print(f"{result.kind}:")
        console.print_json(result.to_json())


def print_failed(failed: FailedEvaluation, console: Console) -> None:
    """What could not be evaluated, and why."""
    console.print(
        f"[bold red]{failed.evaluation} failed[/] for {', '.join(failed.runs)}: {escape(failed.reason)}"
    )
    console.print("the report says so; the same command tries it again", style="dim")


def print_code(summary: CodeSummary, console: Console) -> None:
    """Rates of every run on executable tasks."""
    runs, several = summary.runs, summary.samples > 1
    kinds = sorted({kind for scores in runs.values() for kind in scores.kinds})
    kinds = kinds if len(kinds) > 1 else []
    changed = any(scores.change or scores.withheld for scores in runs.values())
    headings = ["compiles", "pass@1, 95% interval"]
    headings += ["change from the base, points"] * changed + [f"pass@{summary.samples}"] * several
    table = _table(*headings, *kinds)
    for run, scores in runs.items():
        cells = ["–" if scores.compile_rate is None else f"{scores.compile_rate.value:.1%}"]
        cells += [_shares(scores.pass_at_1)]
        cells += [scores.withheld or change(scores.change, "+.1f", 100)] * changed
        cells += [_shares(scores.pass_at_k)] * several
        cells += [f"{scores.kinds[kind].value:.0%}" if kind in scores.kinds else "" for kind in kinds]
        table.add_row(run, *cells)
    console.print(table)
    console.print(
        f"{summary.tasks} tasks whose reference answer passes and whose wrong answers fail; "
        f"{summary.run_a_minute_a_core:.0f} of the tasks' own programs run a minute on each core",
        style="dim",
    )
    for reason, count in summary.left_out.items():
        console.print(f"{count} of {summary.drawn} tasks left out: {reason}")
    if changed:
        console.print("changes are paired, task by task; a tie's interval holds zero", style="dim")


def print_mtbench(summary: MTBenchSummary, console: Console) -> None:
    """Scores of every run, by turn and category."""
    categories = sorted({name for scores in summary.runs.values() for name in scores.categories})
    is_raw = any(scores.raw is not None for scores in summary.runs.values())
    headings = ["average, 95% interval", *["raw reward"] * is_raw]
    headings += ["change of the raw reward" if is_raw else "change from the base"]
    table = _table(*headings, "turn 1", "turn 2", "failed", "cut", *categories)
    for run, scores in summary.runs.items():
        average = scores.average
        turns = [f"{scores.turns[turn].value:.2f}" if turn in scores.turns else "" for turn in ("1", "2")]
        by_category = [
            f"{scores.categories[name].value:.1f}" if name in scores.categories else "" for name in categories
        ]
        table.add_row(
            run,
            f"{average.value:.2f} \\[{average.low:.2f}, {average.high:.2f}]",
            *["" if scores.raw is None else f"{scores.raw:+.3f}"] * is_raw,
            scores.withheld or change(scores.change, "+.3f" if is_raw else "+.2f"),
            *turns,
            str(scores.failed),
            "?" if scores.cut is None else str(scores.cut),
            *by_category,
        )
    console.print(table)
    if any(scores.pairwise for scores in summary.runs.values()):
        console.print(_pairwise_table(summary))
    console.print(
        f"{summary.questions} questions, judge {escape(summary.judge)}; failed: replies without a rating "
        "from 1 to 10; cut: answers that ended at the token limit",
        style="dim",
    )
    if usage := summary.judge_spent:
        cost = "" if usage.cost is None else f", {usage.cost:.2f}"
        console.print(
            f"{usage.calls:,} calls, {usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens{cost}",
            style="dim",
        )
    if not summary.comparable_with_published:
        console.print(
            "this judge's scores are not comparable with published ones: "
            "they compare these runs with one another only"
        )


def _pairwise_table(summary: MTBenchSummary) -> Table:
    """Every run's answers against the base's."""
    table = _table(
        "wins + ties / 2 against the base, 95% interval", "wins", "ties", "losses", "swayed", "failed"
    )
    table.caption = "a win counts in both orders; swayed: ties whose two orders contradict each other"
    for run, scores in summary.runs.items():
        if pairs := scores.pairwise:
            said = scores.withheld or f"[{VERDICT_COLOUR[pairs.verdict]}]{pairs.verdict}[/]"
            counts = (pairs.wins, pairs.ties, pairs.losses, pairs.swayed, pairs.failed)
            table.add_row(run, f"{_shares(pairs.win_rate)} {said}", *map(str, counts))
    return table


def print_forgetting(summary: ForgettingSummary, console: Console) -> None:
    """Loss on general rows before and after, with the paired difference."""
    table = _table("general loss, base", "run", "change, 95% interval", "KL to the base")
    for run, facts in summary.runs.items():
        losses = f"{facts.base.loss:.4f}", f"{facts.run.loss:.4f}"
        table.add_row(run, *losses, change(facts.change, "+.4f"), f"{facts.run.kl:.5f}")
    console.print(table)
    for rows, source in dict.fromkeys((facts.rows, facts.source) for facts in summary.runs.values()):
        console.print(f"{rows} rows of {source}", style="dim")


def _table(*headings: str) -> Table:
    table = Table("run", box=box.SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _shares(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{interval.value:.1%} \\[{interval.low:.1%}, {interval.high:.1%}]"


def change(difference: Difference | None, form: str, scale: float = 1) -> str:
    """A difference with its interval and verdict, in the verdict's colour."""
    if difference is None:
        return ""
    delta, low, high = (
        format(scale * value, form) for value in (difference.delta, difference.low, difference.high)
    )
    return f"[{VERDICT_COLOUR[difference.verdict]}]{delta} \\[{low}, {high}] {difference.verdict}[/]"
