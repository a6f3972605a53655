"""A data set's summary on a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from paceline.data.describe import DataSummary


def print_data(source: str, summary: DataSummary, console: Console) -> None:
    """Counts, lengths and a rendered example."""
    console.print(
        f"[bold]{escape(source)}[/]: {summary.rows:,} examples, read as {summary.format}; "
        f"{summary.dropped} without an assistant turn dropped"
    )
    _print_left_out(summary, console)
    lengths = Table("tokens", *summary.length, *(f"fit {limit:,}" for limit in summary.fits))
    lengths.add_row(
        "an example",
        *(f"{value:,}" for value in summary.length.values()),
        *(f"{share:.1%}" for share in summary.fits.values()),
    )
    console.print(lengths)
    tasks = Table("task", "examples", "share")
    for task, count in summary.tasks.items():
        tasks.add_row(task, f"{count:,}", f"{count / summary.rows:.1%}")
    console.print(tasks)
    shown = Text()
    for text, supervised in summary.example:
        shown.append(text, style="black on green" if supervised else "dim")
    console.print("an example (supervised tokens in green; they are in the loss, the rest is not):")
    console.print(shown, soft_wrap=True)


def _print_left_out(summary: DataSummary, console: Console) -> None:
    """Rows and columns that are not used, and what else is to be said."""
    lines = list(summary.notes)
    if summary.bad_rows:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in summary.bad_rows.items())
        lines += [f"rows dropped: {kinds}; the first: {summary.first_bad}; all: {summary.bad_rows_file}"]
    if summary.unused_columns:
        lines += [f"columns not used: {', '.join(summary.unused_columns)}"]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
