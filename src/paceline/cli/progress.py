"""What a person sees while runs train: a bar a run on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from paceline.evaluate.progress import EvaluationProgress
from paceline.report.format import clock
from paceline.runs.events import FindingEvent
from paceline.train.callbacks import Callback, CohortView, RunView

PLAIN_SECONDS = 10.0


class TerminalProgress(Callback):
    """Follows a cohort on a terminal: a bar a run with loss, tokens/s and time left; elsewhere a line now and then.

    `interrupted` asks for a stop.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.interrupted = False
        self._began = self._printed = time.perf_counter()
        self._first: dict[str, tuple[float, int]] = {}
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}"),
        )
        self._bars = (
            Progress(*columns, console=console, refresh_per_second=4) if console.is_terminal else None
        )
        self._tasks: dict[str, TaskID] = {}

    def wants_stop(self) -> bool:
        return self.interrupted

    def on_message(self, message: str) -> None:
        self.console.print(message, style="dim", markup=False)

    def on_finding(self, run: RunView, event: FindingEvent) -> None:
        line = f"{run.name}, step {event.step}: {event.severity}: {event.message} ({event.rule})"
        self.console.print(line, style="yellow", highlight=False, markup=False)

    def on_micro_step(self, cohort: CohortView) -> None:
        if cohort.runs[0].name not in self._first:
            self._began = time.perf_counter()
            self._first = {run.name: (run.done, run.tokens) for run in cohort.runs}
        if self._bars is not None:
            self._update_bars(self._bars, cohort)
        elif time.perf_counter() - self._printed > PLAIN_SECONDS:
            self._printed = time.perf_counter()
            for run in cohort.active:
                self.console.print(f"{run.name}: {self._figures(run)}", highlight=False)
            self.console.print(self._overall(cohort), highlight=False)

    def _update_bars(self, bars: Progress, cohort: CohortView) -> None:
        for run in cohort.runs:
            if run.name not in self._tasks:
                self._tasks[run.name] = bars.add_task(run.name, total=run.total_steps, figures="")
            bars.update(self._tasks[run.name], completed=run.step, figures=self._figures(run))
        if "" not in self._tasks:
            self._tasks[""] = bars.add_task("all", total=1.0, figures="")
        done = sum(run.done for run in cohort.runs) / len(cohort.runs)
        bars.update(self._tasks[""], completed=done, figures=self._overall(cohort))

    @staticmethod
    def _figures(run: RunView) -> str:
        step = f"{run.step:>5}/{run.total_steps}"
        if run.state == "finished" and run.last_evaluation:
            return f"{step} finished eval loss {run.last_evaluation.loss:.4f}"
        if run.state != "running":
            return f"{step} {run.state}"
        return f"{step} loss {run.last_logged.loss:.4f}" if run.last_logged else step

    def _overall(self, cohort: CohortView) -> str:
        seconds = time.perf_counter() - self._began
        tokens = sum(run.tokens - self._first[run.name][1] for run in cohort.runs)
        rate = f"{tokens / seconds:,.0f} tokens/s" if seconds > 1 and tokens else "starting"
        done = sum((run.done - self._first[run.name][0]) * _examples(run) for run in cohort.runs)
        left = sum((1 - run.done) * _examples(run) for run in cohort.active)
        return f"{rate}, {clock(left / done * seconds)} left" if done and seconds > 1 else rate

    def start(self) -> None:
        if self._bars is not None:
            self._bars.start()

    def stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()


def _examples(run: RunView) -> float:
    """Examples that a run trains on, repetitions counted."""
    return float(run.total_steps * run.recipe.effective_batch)


@contextmanager
def terminal_progress(quiet: bool = False) -> Iterator[TerminalProgress]:
    """Progress with its bars shown and Ctrl-C caught: the first asks for an orderly stop, a second one ends at once."""
    progress = TerminalProgress(Console(stderr=True, quiet=quiet))

    def ask(signum: int, frame: object) -> None:
        progress.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        progress.on_message("stopping after this step; Ctrl-C again ends at once")

    before = signal.signal(signal.SIGINT, ask)
    try:
        progress.start()
        yield progress
    finally:
        progress.stop()
        signal.signal(signal.SIGINT, before)
        sys.stderr.flush()


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """A count with its rate on a terminal; gives the function that adds to it."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn(what),
        TextColumn("{task.completed:,}"),
        TextColumn("{task.speed:,.0f} a second"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda count: bar.advance(task, count)


@contextmanager
def showing(what: str) -> Iterator[EvaluationProgress]:
    """Progress of an evaluation: a bar of answers, a count of what is graded or run."""
    with answering() as answers, counting(what) as count:
        yield EvaluationProgress(
            lambda line: Console(stderr=True).print(line, style="dim", highlight=False),
            answers,
            lambda: count(1),
        )


@contextmanager
def answering() -> Iterator[Callable[[int, int, int], None]]:
    """A bar of answers with tokens/s and time left; gives the function that is told (done, total, tokens)."""
    console = Console(stderr=True)
    began = time.perf_counter()
    columns = (
        TextColumn("answers"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("answers", total=None, rate="")

        def observe(done: int, total: int, tokens: int) -> None:
            bar.update(
                task,
                completed=done,
                total=total,
                rate=f"{tokens / (time.perf_counter() - began):,.0f} tokens/s",
            )

        yield observe
