"""A data set's summary on a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from paceline.data.describe import DataSummary


def print_data(source: str, summary: DataSummary, console: Console, max_length: int) -> None:
    """Counts, lengths, what is to be said about rows, and a rendered example of each kind.

    Args:
        max_length: tokens of a packed example.
    """
    of_rows = f" of {summary.read:,} rows" if summary.read != summary.rows else ""
    console.print(
        f"[bold]{escape(source)}[/]: {summary.rows:,} examples{of_rows}, read as {summary.format}; "
        f"{summary.dropped} without an assistant turn dropped",
        soft_wrap=True,
    )
    _print_left_out(summary, console)
    if packed := summary.packed:
        console.print(
            f"packed: {packed['train']:,} texts train as {packed['examples']:,} examples of {max_length:,} "
            f"tokens; {packed['held_out']:,} are held out, in {packed['windows']:,} windows"
        )
    if weights := summary.weights:
        console.print(
            f"weights: {weights['min']:g} to {weights['max']:g}, mean {weights['mean']:.3g}; "
            f"{weights['zero']:,.0f} examples of weight 0 are not learned"
        )
    lengths = Table("tokens", *summary.length, *(f"fit {limit:,}" for limit in summary.fits))
    lengths.add_row(
        "a text" if summary.packed else "an example",
        *(f"{value:,}" for value in summary.length.values()),
        *(f"{share:.1%}" for share in summary.fits.values()),
    )
    console.print(lengths)
    tasks = Table("task", "examples", "share")
    for task, count in summary.tasks.items():
        tasks.add_row(task, f"{count:,}", f"{count / summary.rows:.1%}")
    console.print(tasks)
    for kind, spans in summary.examples.items():
        of_kind = (
            f"an example of {summary.kinds[kind]:,} of kind {kind}"
            if len(summary.kinds) > 1
            else "an example"
        )
        where = "in green" if console.color_system else "between ⟦ and ⟧"
        console.print(
            f"{of_kind} (supervised tokens {where}; they are in the loss, the rest is not):", soft_wrap=True
        )
        console.print(_marked(spans, coloured=console.color_system is not None), soft_wrap=True)


def _marked(spans: list[tuple[str, bool]], *, coloured: bool) -> Text:
    """An example's text, its supervised spans in colour, or in brackets where there is none."""
    shown = Text()
    for text, supervised in spans:
        marked = text if coloured or not supervised else f"⟦{text}⟧"
        shown.append(marked, style="black on green" if supervised else "dim")
    return shown


def _print_left_out(summary: DataSummary, console: Console) -> None:
    """Rows and columns that are not used, and what else is to be said."""
    lines = [f"warning: {note}" for note in summary.notes]
    if summary.bad_rows:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in summary.bad_rows.items())
        lines += [f"rows dropped: {kinds}; the first: {summary.first_bad}; all: {summary.bad_rows_file}"]
    if summary.unused_columns:
        lines += [f"columns not used: {', '.join(summary.unused_columns)}"]
    for line in lines:
        console.print(Text(line, style="yellow"), soft_wrap=True)
