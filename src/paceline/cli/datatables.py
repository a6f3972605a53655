"""A data set's summary on a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from paceline.data.describe import DataSummary


def print_data(source: str, summary: DataSummary, console: Console) -> None:
    """Counts, lengths and a rendered example."""
    console.print(
        f"[bold]{source}[/]: {summary.rows:,} examples, read as {summary.format}; "
        f"{summary.dropped} without an assistant turn dropped"
    )
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
