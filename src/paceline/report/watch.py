"""A study while it runs, from its files: on this machine, or in a copied or mounted folder."""

from __future__ import annotations

import time
from pathlib import Path

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from paceline.compare.table import run_directories
from paceline.report.format import clock
from paceline.runs.directory import RunDirectory
from paceline.runs.events import read_events

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
    states = [directory.status()["state"] for directory in directories]
    return Group(table, *notes[-5:]), all(state in ("finished", "failed", "stopped") for state in states)


def _row(directory: RunDirectory, notes: list[Text]) -> list[str | Text]:
    events = read_events(directory.events)
    lines = [event for event in events if event["event"] == "train"]
    total = next((event["total_steps"] for event in events if event["event"] == "start"), None)
    evals = [event["loss"] for event in events if event["event"] == "eval" and event["loss"] is not None]
    told = [event for event in events if event["event"] in ("alert", "finding")]
    notes += [
        Text(
            f"{directory.name}, step {event.get('step')}: {event['message']} ({event['rule']})",
            style="yellow",
        )
        for event in told
    ]
    state = directory.status()["state"]
    if state == "running" and time.time() - directory.events.stat().st_mtime > SILENT_SECONDS:
        state = "silent"
    losses = [line["loss"] for line in lines if line["loss"] is not None]
    last = lines[-1] if lines else {}
    rate = f"{last['tokens'] / last['seconds']:,.0f}" if last.get("seconds") else ""
    left = (
        clock(last["seconds"] / last["step"] * (total - last["step"]))
        if last and total and state == "running"
        else ""
    )
    return [
        directory.name, Text(state, style=_STYLE.get(state, "dim")), f"{last.get('step', 0)}/{total or '?'}", sparkline(losses),
        f"{losses[-1]:.4f}" if losses else "", f"{evals[-1]:.4f}" if evals else "", rate, left, str(len(told) or ""),
    ]  # fmt: skip
