"""A study while it runs, from its files: on this machine, or in a copied or mounted folder."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from paceline.doctor.finding import SEVERITIES
from paceline.report.format import clock
from paceline.runs.directory import RunDirectory, State
from paceline.runs.events import EvalEvent, FindingEvent, TrainEvent, of_kind, read_events, start_of
from paceline.runs.study import run_directories

# A run that has written nothing for this long is shown as silent.
SILENT_SECONDS = 120
# Findings shown under the table; the table counts all of them.
SHOWN_FINDINGS = 5

_BARS = "▁▂▃▄▅▆▇█"
_STATE_STYLE = {"running": "cyan", "finished": "green", "failed": "red", "stopped": "yellow"}
_SEVERITY_STYLE = {"error": "red", "warning": "yellow", "note": "dim"}
_COLUMNS: tuple[tuple[str, JustifyMethod], ...] = (
    ("run", "left"),
    ("state", "left"),
    ("step", "right"),
    ("loss", "left"),
    ("last", "right"),
    ("eval", "right"),
    ("tokens/s", "right"),
    ("left", "right"),
    ("findings", "left"),
)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run as its files show it now."""

    name: str
    state: State
    silent: bool
    total_steps: int | None
    train: list[TrainEvent]
    evals: list[EvalEvent]
    findings: list[FindingEvent]

    @classmethod
    def read(cls, directory: RunDirectory) -> _Run:
        events = read_events(directory.events)
        state = directory.status().state
        start = start_of(events)
        age = time.time() - directory.events.stat().st_mtime if events else 0.0
        return cls(
            name=directory.name,
            state=state,
            silent=state == "running" and age > SILENT_SECONDS,
            total_steps=start.total_steps if start else None,
            train=of_kind(events, TrainEvent),
            evals=of_kind(events, EvalEvent),
            findings=of_kind(events, FindingEvent),
        )

    @property
    def over(self) -> bool:
        """Whether nothing more will come, unless the run is started again."""
        return self.state in ("finished", "failed", "stopped")


def render(path: Path) -> tuple[Group, bool]:
    """The table of a study's runs with their worst findings, and whether nothing of them is left to do."""
    runs = [_Run.read(directory) for directory in run_directories([path])]
    table = Table(box=box.SIMPLE_HEAD)
    for heading, justify in _COLUMNS:
        table.add_column(heading, justify=justify)
    for run in runs:
        table.add_row(*_row(run))
    return Group(table, *_finding_lines(runs)), all(run.over for run in runs)


def sparkline(values: list[float], width: int = 24) -> str:
    """The course of values as one line of bars, each the mean of its neighbours."""
    if not values:
        return ""
    size = max(1, -(-len(values) // width))
    groups = [values[start : start + size] for start in range(0, len(values), size)]
    means = [sum(group) / len(group) for group in groups]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def _row(run: _Run) -> list[str | Text]:
    losses = [event.loss for event in run.train if math.isfinite(event.loss)]
    evals = [event.loss for event in run.evals if math.isfinite(event.loss)]
    last = run.train[-1] if run.train else None
    rate = time_left = ""
    if last and last.seconds:
        rate = f"{last.tokens / last.seconds:,.0f}"
    if last and run.total_steps and run.state == "running" and not run.silent:
        time_left = clock(last.seconds / last.step * (run.total_steps - last.step))
    state = "silent" if run.silent else run.state
    return [
        run.name,
        Text(state, style=_STATE_STYLE.get(state, "dim")),
        f"{last.step if last else 0}/{run.total_steps or '?'}",
        sparkline(losses),
        f"{losses[-1]:.4f}" if losses else "",
        f"{evals[-1]:.4f}" if evals else "",
        rate,
        time_left,
        _count(run.findings),
    ]


def _count(findings: Sequence[FindingEvent]) -> Text:
    """Findings by severity, worst first: `1 error, 2 warnings`."""
    counts = Counter(finding.severity for finding in findings)
    parts = [
        Text(f"{counts[severity]} {severity}{'s' if counts[severity] > 1 else ''}", _SEVERITY_STYLE[severity])
        for severity in SEVERITIES
        if counts[severity]
    ]
    return Text(", ").join(parts)


def _finding_lines(runs: Sequence[_Run]) -> list[Text]:
    """The worst findings of all runs, the latest of each run first, and how many more there are."""
    findings = [(run.name, finding) for run in runs for finding in reversed(run.findings)]
    findings.sort(key=lambda pair: SEVERITIES.index(pair[1].severity))
    lines = [
        Text.assemble(
            (f"{finding.severity:<8}", _SEVERITY_STYLE[finding.severity]),
            f"{name}, step {finding.step}: {finding.message} ({finding.rule})",
        )
        for name, finding in findings[:SHOWN_FINDINGS]
    ]
    if hidden := len(findings) - len(lines):
        lines.append(Text(f"and {hidden} more; `paceline doctor` explains them", "dim"))
    return lines
