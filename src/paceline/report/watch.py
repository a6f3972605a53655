"""A study while it runs, from its files: on this machine, or in a copied or mounted folder."""

from __future__ import annotations

import math
import time
from pathlib import Path

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from paceline.report.format import clock
from paceline.runs.directory import RunDirectory
from paceline.runs.events import EvalEvent, FindingEvent, StartEvent, TrainEvent, of_kind, read_events
from paceline.runs.study import run_directories

_BARS = "▁▂▃▄▅▆▇█"
_STYLE = {"running": "cyan", "finished": "green", "failed": "red", "stopped": "yellow"}
# A run that has written nothing for so long is said to be silent.
SILENT_SECONDS = 120


def sparkline(values: list[float], width: int = 24) -> str:
    """The values' course in one line, mean by mean."""
    if not values:
        return ""
    size = max(1, -(-len(values) // width))
    means = [sum(values[i : i + size]) / len(values[i : i + size]) for i in range(0, len(values), size)]
    low, high = min(means), max(means)
    return "".join(
        _BARS[round((value - low) / (high - low) * (len(_BARS) - 1)) if high > low else 0] for value in means
    )


def picture(path: Path) -> tuple[Group, bool]:
    """The table of all runs, and whether none of them has anything left to do."""
    directories = run_directories([path])
    table = Table(box=box.SIMPLE_HEAD)
    for heading, side in (("run", "left"), ("state", "left"), ("step", "right"), ("loss", "left"), ("last", "right"), ("eval", "right"), ("tokens/s", "right"), ("left", "right"), ("findings", "right")):  # fmt: skip
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    notes: list[Text] = []
    for directory in directories:
        table.add_row(*_row(directory, notes))
    states = [directory.status().state for directory in directories]
    return Group(table, *notes[-5:]), all(state in ("finished", "failed", "stopped") for state in states)


def _row(directory: RunDirectory, notes: list[Text]) -> list[str | Text]:
    events = read_events(directory.events)
    lines = of_kind(events, TrainEvent)
    total = next((event.total_steps for event in of_kind(events, StartEvent)), None)
    evals = [event.loss for event in of_kind(events, EvalEvent) if math.isfinite(event.loss)]
    findings = of_kind(events, FindingEvent)
    notes += [
        Text(f"{directory.name}, step {event.step}: {event.message} ({event.rule})", style="yellow")
        for event in findings
    ]
    state: str = directory.status().state
    if state == "running" and time.time() - directory.events.stat().st_mtime > SILENT_SECONDS:
        state = "silent"
    losses = [line.loss for line in lines if math.isfinite(line.loss)]
    last = lines[-1] if lines else None
    rate = f"{last.tokens / last.seconds:,.0f}" if last and last.seconds else ""
    left = ""
    if last and total and state == "running":
        left = clock(last.seconds / last.step * (total - last.step))
    return [
        directory.name,
        Text(state, style=_STYLE.get(state, "dim")),
        f"{last.step if last else 0}/{total or '?'}",
        sparkline(losses),
        f"{losses[-1]:.4f}" if losses else "",
        f"{evals[-1]:.4f}" if evals else "",
        rate,
        left,
        str(len(findings) or ""),
    ]
