"""A study while it runs, from its files: on this machine, or in a copied or mounted folder."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev

from rich import box
from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from paceline.doctor.finding import SEVERITIES
from paceline.report.format import clock
from paceline.runs.directory import RunDirectory, State
from paceline.runs.events import EvalEvent, FindingEvent, TrainEvent, of_kind, read_events, start_of
from paceline.runs.study import recipe_groups, run_directories

# A run that has written nothing for this long is shown as silent.
SILENT_SECONDS = 120
# Findings shown under the table; the table counts all of them.
SHOWN_FINDINGS = 5

_BARS = "▁▂▃▄▅▆▇█"
_STATE_STYLE = {"running": "cyan", "finished": "green", "failed": "red", "stopped": "yellow"}
_SEVERITY_STYLE = {"error": "red", "warning": "yellow", "note": "dim"}
COLUMNS: tuple[tuple[str, JustifyMethod], ...] = (
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
class RunProgress:
    """A run as its files show it now."""

    name: str
    state: State
    silent: bool
    total_steps: int | None
    ending: str
    train: list[TrainEvent]
    evals: list[EvalEvent]
    findings: list[FindingEvent]

    @classmethod
    def read(cls, directory: RunDirectory) -> RunProgress:
        events = read_events(directory.events)
        status = directory.status()
        state = status.state
        start = start_of(events)
        age = time.time() - directory.events.stat().st_mtime if events else 0.0
        return cls(
            name=directory.name,
            state=state,
            silent=state == "running" and age > SILENT_SECONDS,
            total_steps=start.total_steps if start else None,
            ending=status.ending,
            train=of_kind(events, TrainEvent),
            evals=of_kind(events, EvalEvent),
            findings=of_kind(events, FindingEvent),
        )

    @property
    def seconds_left(self) -> float | None:
        """Of training, as far as a running run tells."""
        if not self.train or not self.total_steps or self.state != "running" or self.silent:
            return None
        last = self.train[-1]
        return last.seconds / last.step * (self.total_steps - last.step)

    @property
    def over(self) -> bool:
        """Whether nothing more will come, unless the run is started again."""
        return self.state in ("finished", "failed", "stopped")


def render(path: Path) -> tuple[Group, bool]:
    """The table of a study's runs, what ended some early, their worst findings; whether all are over."""
    recipes = {
        group.name: [RunProgress.read(directory) for directory in group.directories]
        for group in recipe_groups(run_directories([path]))
    }
    runs = [run for replicates in recipes.values() for run in replicates]
    table = Table(box=box.SIMPLE_HEAD)
    for heading, justify in COLUMNS:
        table.add_column(heading, justify=justify)
    for name, replicates in recipes.items():
        table.add_row(*row(name, replicates))
    endings = [Text(f"{run.name}: {run.ending}", "yellow") for run in runs if run.ending]
    return Group(table, *endings, *_finding_lines(runs)), all(run.over for run in runs)


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


def row(name: str, replicates: Sequence[RunProgress]) -> list[str | Text]:
    """The cells of one recipe, under COLUMNS: of its only run, or of its replicates together."""
    return _alone(replicates[0]) if len(replicates) == 1 else _summary(name, replicates)


def _alone(run: RunProgress) -> list[str | Text]:
    losses, evals = _finite(run.train), _finite(run.evals)
    last = run.train[-1] if run.train else None
    rate = f"{last.tokens / last.seconds:,.0f}" if last and last.seconds else ""
    left = run.seconds_left
    state = "silent" if run.silent else run.state
    return [
        run.name,
        Text(state, style=_STATE_STYLE.get(state, "dim")),
        f"{last.step if last else 0}/{run.total_steps or '?'}",
        sparkline(losses),
        f"{losses[-1]:.4f}" if losses else "",
        f"{evals[-1]:.4f}" if evals else "",
        rate,
        "" if left is None else clock(left),
        _count(run.findings),
    ]


def _summary(name: str, runs: Sequence[RunProgress]) -> list[str | Text]:
    """One row for a recipe's replicates: states counted, losses averaged, the time that is left added up.

    The curve is that of the replicate that is furthest; `last` and `eval` are means ± standard deviation.
    """
    rows = [_alone(run) for run in runs]
    furthest = max(range(len(runs)), key=lambda place: runs[place].train[-1].step if runs[place].train else 0)
    states = Counter("silent" if run.silent else run.state for run in runs)
    lasts = [losses[-1] for run in runs if (losses := _finite(run.train))]
    evals = [losses[-1] for run in runs if (losses := _finite(run.evals))]
    rates = [
        run.train[-1].tokens / run.train[-1].seconds for run in runs if run.train and run.train[-1].seconds
    ]
    state = Text(", ").join(
        Text(state if len(states) == 1 else f"{count} {state}", style=_STATE_STYLE.get(state, "dim"))
        for state, count in states.items()
    )
    return [
        f"{name} × {len(runs)}",
        state,
        rows[furthest][2],
        rows[furthest][3],
        _mean(lasts),
        _mean(evals),
        f"{sum(rates) / len(rates):,.0f}" if rates else "",
        clock(sum(left)) if (left := [seconds for run in runs if (seconds := run.seconds_left)]) else "",
        _count([finding for run in runs for finding in run.findings]),
    ]


def _finite(events: Sequence[TrainEvent] | Sequence[EvalEvent]) -> list[float]:
    return [event.loss for event in events if math.isfinite(event.loss)]


def _mean(values: Sequence[float]) -> str:
    """The mean with the standard deviation, as `compare` has it: `1.2345 ± 0.0012`."""
    if not values:
        return ""
    spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return f"{sum(values) / len(values):.4f}{spread}"


def _count(findings: Sequence[FindingEvent]) -> Text:
    """Findings by severity, worst first: `1 error, 2 warnings`."""
    counts = Counter(finding.severity for finding in findings)
    parts = [
        Text(f"{counts[severity]} {severity}{'s' if counts[severity] > 1 else ''}", _SEVERITY_STYLE[severity])
        for severity in SEVERITIES
        if counts[severity]
    ]
    return Text(", ").join(parts)


def _finding_lines(runs: Sequence[RunProgress]) -> list[Text]:
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
