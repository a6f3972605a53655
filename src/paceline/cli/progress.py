"""What a person sees on a terminal: training, and counts of rows and answers."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from paceline.api.callbacks import Callback
from paceline.api.progress import ProgressBar
from paceline.cli.tables import print_findings
from paceline.evaluate.progress import EvaluationProgress

if TYPE_CHECKING:
    from paceline.api.findings import Findings
    from paceline.api.results import StudyResult


class TerminalProgress(ProgressBar):
    """The progress of a study, with findings as `paceline check` prints them."""

    def on_check(self, findings: Findings) -> None:
        print_findings(findings, self.console)


class InterruptStop(Callback):
    """Turns the first Ctrl-C while runs train into an orderly stop; a second one ends at once.

    Args:
        say: tells the person who pressed it what happens now.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._interrupted = False

    def __enter__(self) -> InterruptStop:
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def on_trained(self, result: StudyResult) -> None:
        signal.signal(signal.SIGINT, self._before)  # an evaluation can be cut off anywhere

    def wants_stop(self) -> bool:
        return self._interrupted

    @property
    def stop_reason(self) -> str:
        return "Ctrl-C"

    def _ask(self, signum: int, frame: object) -> None:
        self._interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._say("stopping after this step; Ctrl-C again ends at once")


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
            log=lambda line: Console(stderr=True).print(line, style="dim", highlight=False, markup=False),
            answers=answers,
            checked=lambda: count(1),
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
