"""What a person sees while a study runs: bars on a terminal or in a notebook, else lines."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from markupsafe import Markup
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from paceline.api.callbacks import Callback
from paceline.api.console import SafeConsole
from paceline.api.findings import change_of
from paceline.api.html import table
from paceline.report.format import clock
from paceline.training.callbacks import CohortView, RunView

if TYPE_CHECKING:
    from paceline.api.findings import Findings
    from paceline.api.results import StudyResult
    from paceline.runs.events import FindingEvent

# Seconds between two looks at the same cohort: as lines, and in a notebook.
PLAIN_SECONDS, NOTEBOOK_SECONDS = 10.0, 0.5
# Lines at one look without a terminal; rows of a terminal that are kept for the line of all runs.
PLAIN_LINES, OTHER_ROWS = 12, 3


class ProgressBar(Callback):
    """Shows how far a study is: a bar a run with its loss, tokens/s and the time left.

    On a terminal the bars are drawn on standard error; a notebook shows them as HTML, without a widget;
    elsewhere a line a run comes every ten seconds. Under torchrun only the first process shows anything.
    """

    def __init__(self) -> None:
        self.console = SafeConsole(stderr=True, quiet=not is_first_process())
        self._display: _Display = _display_for(self.console)
        self._speed = _Speed()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._display.close()

    def on_message(self, message: str) -> None:
        self._print(message, "dim")

    def on_check(self, findings: Findings) -> None:
        for finding in findings.grouped():
            line = f"{finding.run}: {finding.severity}: {finding.message} ({finding.rule})"
            self._print(line, "yellow")
            if change := change_of(finding):
                self.on_message(f"    {change}")

    def on_finding(self, run: RunView, event: FindingEvent) -> None:
        line = f"{run.name}, step {event.step}: {event.severity}: {event.message} ({event.rule})"
        self._print(line, "yellow")

    def on_end(self, run: RunView) -> None:
        if ending := run.directory.status().ending:
            self._print(f"{run.name}: {ending}", "yellow")

    def _print(self, line: str, style: str) -> None:
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    def on_micro_step(self, cohort: CohortView) -> None:
        self._speed.see(cohort)
        self._display.show(cohort, self._speed.text(cohort))
        if not cohort.active:
            self._display.close()

    def on_trained(self, result: StudyResult) -> None:
        self._display.close()

    def on_answers(self, done: int, total: int, tokens: int) -> None:
        self._display.answers(done, total)
        if done == total:
            self._display.close()


def is_first_process() -> bool:
    """Whether this is the process that shows, evaluates and uploads: the only one, or torchrun's first."""
    return int(os.environ.get("RANK", "0")) == 0


class _Speed:
    """Tokens a second of the runs that train together, and the time that they still need."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._first: dict[str, tuple[float, int]] = {}

    def see(self, cohort: CohortView) -> None:
        """Begins anew with every cohort."""
        if cohort.runs[0].name not in self._first:
            self._began = time.perf_counter()
            self._first = {run.name: (run.done, run.tokens) for run in cohort.runs}

    def text(self, cohort: CohortView) -> str:
        seconds = time.perf_counter() - self._began
        tokens = sum(run.tokens - self._first[run.name][1] for run in cohort.runs)
        rate = f"{tokens / seconds:,.0f} tokens/s" if seconds > 1 and tokens else "starting"
        done = sum((run.done - self._first[run.name][0]) * _examples(run) for run in cohort.runs)
        left = sum((1 - run.done) * _examples(run) for run in cohort.active)
        return f"{rate}, {clock(left / done * seconds)} left" if done and seconds > 1 else rate


def _examples(run: RunView) -> float:
    """Examples that a run trains on, repetitions counted."""
    return float(run.total_steps * run.recipe.effective_batch)


def _figures(run: RunView) -> str:
    step = f"{run.step:>5}/{run.total_steps}"
    if run.state == "finished" and run.last_evaluation:
        return f"{step} finished eval loss {run.last_evaluation.loss:.4f}"
    if run.state != "running":
        return f"{step} {run.state}"
    return f"{step} loss {run.last_logged.loss:.4f}" if run.last_logged else step


@dataclass(frozen=True)
class _Line:
    """A bar: whose, how far, and the figures beside it."""

    name: str
    completed: int
    total: int
    figures: str


def _lines(runs: Sequence[RunView], room: int) -> list[_Line]:
    """One line a run; one a recipe where those are too many; of still too many those under way first."""
    lines = [_Line(run.name, run.step, run.total_steps, _figures(run)) for run in runs]
    if len(lines) > room:
        recipes: dict[str, list[RunView]] = {}
        for run in runs:
            recipes.setdefault(run.name.removesuffix(f"-seed{run.recipe.seed}"), []).append(run)
        lines = [_line_of_recipe(name, own) for name, own in recipes.items()]
    if len(lines) <= room:
        return lines
    lines.sort(key=lambda line: line.completed >= line.total)
    shown, rest = lines[: room - 1], lines[room - 1 :]
    steps, total = sum(line.completed for line in rest), sum(line.total for line in rest)
    return [*shown, _Line(f"{len(rest)} more", steps, total, f"{steps:>5}/{total}")]


def _line_of_recipe(name: str, runs: Sequence[RunView]) -> _Line:
    """Replicates together: summed steps, counted states, the mean of their last logged losses."""
    if len(runs) == 1:
        return _Line(runs[0].name, runs[0].step, runs[0].total_steps, _figures(runs[0]))
    steps, total = sum(run.step for run in runs), sum(run.total_steps for run in runs)
    states = Counter(run.state for run in runs)
    figures = f"{steps:>5}/{total} " + ", ".join(f"{count} {state}" for state, count in states.items())
    losses = [run.last_logged.loss for run in runs if run.last_logged]
    if losses:
        figures += f", mean loss {sum(losses) / len(losses):.4f}"
    return _Line(f"{name} × {len(runs)}", steps, total, figures)


class _Display(Protocol):
    """Where progress is drawn. `close` lets what is shown stand; a later call begins below it."""

    def show(self, cohort: CohortView, overall: str) -> None: ...
    def answers(self, done: int, total: int) -> None: ...
    def close(self) -> None: ...


def _display_for(console: Console) -> _Display:
    if console.is_jupyter:
        return _Notebook()
    return _Terminal(console) if console.is_terminal else _Plain(console)


class _Plain:
    """A line a run or, of many, a recipe, now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = time.perf_counter()

    def show(self, cohort: CohortView, overall: str) -> None:
        if time.perf_counter() - self._printed > PLAIN_SECONDS:
            self._printed = time.perf_counter()
            for line in _lines(cohort.active, PLAIN_LINES):
                self._console.print(f"{line.name}: {line.figures}", highlight=False, markup=False)
            self._console.print(overall, highlight=False)

    def answers(self, done: int, total: int) -> None:
        if time.perf_counter() - self._printed > PLAIN_SECONDS:
            self._printed = time.perf_counter()
            self._console.print(f"{done} of {total} answers", highlight=False)

    def close(self) -> None:
        pass


class _Terminal:
    """A bar a run that moves, or a recipe where the terminal is too low, and one for all of them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def show(self, cohort: CohortView, overall: str) -> None:
        lines = _lines(cohort.runs, max(2, self._console.height - OTHER_ROWS))
        self._keep({line.name for line in lines})
        for line in lines:
            self._update(line.name, line.completed, line.total, line.figures)
        done = sum(run.done for run in cohort.runs) / len(cohort.runs)
        self._update("all", done, 1.0, overall)

    def answers(self, done: int, total: int) -> None:
        self._update("answers", done, total, f"{done}/{total}")

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._tasks = {}

    def _keep(self, names: set[str]) -> None:
        """Takes away the bars that are not to be drawn any more."""
        for name in [name for name in self._tasks if name not in names | {"all"}]:
            if self._bars is not None:
                self._bars.remove_task(self._tasks.pop(name))

    def _update(self, name: str, completed: float, total: float, figures: str) -> None:
        if self._bars is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[figures]}", markup=False),
            )
            self._bars = Progress(*columns, console=self._console, refresh_per_second=4)
            self._bars.start()
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, figures="")
        self._bars.update(self._tasks[name], completed=completed, total=total, figures=figures)


class _Notebook:
    """An HTML table under the cell, redrawn in its place."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = 0.0
        self._latest = Markup("")

    def show(self, cohort: CohortView, overall: str) -> None:
        rows = [(run.name, _bar(run.step / run.total_steps), _figures(run)) for run in cohort.runs]
        done = sum(run.done for run in cohort.runs) / len(cohort.runs)
        self._draw(table(("run", "", ""), [*rows, ("all", _bar(done), overall)]))

    def answers(self, done: int, total: int) -> None:
        self._draw(table(("", "", ""), [("answers", _bar(done / total), f"{done}/{total}")]))

    def close(self) -> None:
        if self._handle is not None:
            self._handle.update(_Html(self._latest))
        self._handle = None

    def _draw(self, content: Markup) -> None:
        self._latest = content
        if time.perf_counter() - self._drawn < NOTEBOOK_SECONDS:
            return
        self._drawn = time.perf_counter()
        if self._handle is None:
            from IPython.display import display

            self._handle = display(_Html(content), display_id=True)
        else:
            self._handle.update(_Html(content))


class _Html:
    """HTML as IPython shows it."""

    def __init__(self, content: Markup) -> None:
        self._content = content

    def __repr__(self) -> str:
        return "progress"

    def _repr_html_(self) -> Markup:
        return self._content


def _bar(share: float) -> Markup:
    return Markup('<progress value="{:.3f}" max="1"></progress>').format(share)
