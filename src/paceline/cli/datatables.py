"""A data set's facts on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_data(source: str, facts: dict[str, Any], console: Console) -> None:
    """Counts, lengths and a rendered example."""
    console.print(
        f"[bold]{source}[/]: {facts['rows']:,} examples, read as {facts['format']}; {facts['dropped']} without an assistant turn dropped"
    )
    lengths = Table("tokens", *facts["length"], *(f"fit {limit:,}" for limit in facts["fits"]))
    lengths.add_row(
        "an example",
        *(f"{value:,}" for value in facts["length"].values()),
        *(f"{share:.1%}" for share in facts["fits"].values()),
    )
    console.print(lengths)
    tasks = Table("task", "examples", "share")
    for task, count in facts["tasks"].items():
        tasks.add_row(task, f"{count:,}", f"{count / facts['rows']:.1%}")
    console.print(tasks)
    shown = Text()
    for text, supervised in facts["example"]:
        shown.append(text, style="black on green" if supervised else "dim")
    console.print("an example (supervised tokens in green; they are in the loss, the rest is not):")
    console.print(shown, soft_wrap=True)
