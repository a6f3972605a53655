"""What a person sees while runs train: a bar a run on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from paceline.evaluate.progress import EvaluationProgress
from paceline.report.format import clock

if TYPE_CHECKING:
    from paceline.train.cohort import Cohort

PLAIN_SECONDS = 10.0


class Watch:
    """Follows a cohort: progress, loss, tokens/s, time left. Turns Ctrl-C into an orderly stop."""

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
        self._tasks: dict[str, Any] = {}

    def log(self, line: str) -> None:
        self.console.print(line, style="dim")

    def __call__(self, cohort: Cohort) -> None:
        cohort.stopping = self.interrupted
        for run in cohort.runs:
            while run.alerts:
                self.console.print(f"alert: {run.alerts.pop(0)}", style="yellow", highlight=False)
        if cohort.runs[0].name not in self._first:
            self._began = time.perf_counter()
            self._first = {run.name: (run.done, run.progress.tokens) for run in cohort.runs}
        if self._bars is not None:
            self._update_bars(cohort)
        elif time.perf_counter() - self._printed > PLAIN_SECONDS:
            self._printed = time.perf_counter()
            for run in cohort.active:
                self.console.print(f"{run.name}: {self._figures(run)}", highlight=False)
            self.console.print(self._overall(cohort), highlight=False)

    def _update_bars(self, cohort: Cohort) -> None:
        assert self._bars is not None
        for run in cohort.runs:
            if run.name not in self._tasks:
                self._tasks[run.name] = self._bars.add_task(run.name, total=run.plan.total_steps, figures="")
            self._bars.update(self._tasks[run.name], completed=run.progress.step, figures=self._figures(run))
        if "" not in self._tasks:
            self._tasks[""] = self._bars.add_task("all", total=1.0, figures="")
        done = sum(run.done for run in cohort.runs) / len(cohort.runs)
        self._bars.update(self._tasks[""], completed=done, figures=self._overall(cohort))

    @staticmethod
    def _figures(run: Any) -> str:
        step = f"{run.progress.step:>5}/{run.plan.total_steps}"
        if run.state != "running":
            loss = (
                f"eval loss {run.eval_summary['loss']:.4f}"
                if run.eval_summary and run.state == "finished"
                else ""
            )
            return f"{step} {run.state} {loss}"
        return f"{step} loss {run.last['loss']:.4f}" if run.last else step

    def _overall(self, cohort: Cohort) -> str:
        took = time.perf_counter() - self._began
        tokens = sum(run.progress.tokens - self._first[run.name][1] for run in cohort.runs)
        done = sum(
            (run.done - self._first[run.name][0]) * run.plan.total_steps * run.recipe.effective_batch
            for run in cohort.runs
        )
        left = sum(
            (1 - run.done) * run.plan.total_steps * run.recipe.effective_batch for run in cohort.active
        )
        rate = f"{tokens / took:,.0f} tokens/s" if took > 1 and tokens else "starting"
        return f"{rate}, {clock(left / done * took)} left" if done and took > 1 else rate


@contextmanager
def watching(quiet: bool = False) -> Iterator[Watch]:
    """A `Watch` with its bars shown and Ctrl-C caught: the first asks the cohort to save and stop, a second one ends at once."""
    watch = Watch(Console(stderr=True, quiet=quiet))

    def ask(signum: int, frame: object) -> None:
        watch.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        watch.log("stopping after this step; Ctrl-C again ends at once")

    before = signal.signal(signal.SIGINT, ask)
    try:
        if watch._bars is not None:
            watch._bars.start()
        yield watch
    finally:
        if watch._bars is not None:
            watch._bars.stop()
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
