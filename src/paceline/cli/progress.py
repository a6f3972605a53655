"""What a person sees on a terminal: training, and counts of rows and answers."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from paceline.api.callbacks import Callback
from paceline.api.console import SafeConsole
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


# What a person, a cluster that takes its machine back, or a closed terminal sends.
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptStop(Callback):
    """Turns the first Ctrl-C, SIGTERM or SIGHUP while runs train into an orderly stop.

    A second Ctrl-C ends at once; the others are sent more than once by those who mean one stop. `signum` is
    the signal that came; None: none has.

    Args:
        say: tells the person who pressed it what happens now.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._before: dict[signal.Signals, Any] = {}
        self.signum: int | None = None

    def __enter__(self) -> InterruptStop:
        for wanted in _STOPS:
            if signal.getsignal(wanted) != signal.SIG_IGN:  # as nohup has it
                self._before[wanted] = signal.signal(wanted, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def on_trained(self, result: StudyResult) -> None:
        self._restore()  # an evaluation can be cut off anywhere

    def wants_stop(self) -> bool:
        return self.signum is not None

    def _restore(self) -> None:
        for wanted, before in self._before.items():
            signal.signal(wanted, before)

    @property
    def stop_reason(self) -> str:
        return "Ctrl-C"

    def _ask(self, signum: int, frame: object) -> None:
        if self.signum is not None:
            return
        self.signum = signum
        if signum == signal.SIGHUP:
            _leave_terminal()
        if signum == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._say("stopping after this step; Ctrl-C again ends at once")
        else:
            self._say(f"{signal.Signals(signum).name}: saving after this step, then stopping")

    _ask.saves_first = True  # type: ignore[attr-defined]  # the run's lock says so


def _leave_terminal() -> None:
    """Writes nothing more to a terminal that is gone: every line would fail."""
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty():
            handle = os.open(os.devnull, os.O_WRONLY)
            os.dup2(handle, stream.fileno())
            os.close(handle)


def say(line: str) -> None:
    """A line about what is happening."""
    SafeConsole(stderr=True).print(line, style="dim", highlight=False, markup=False)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """A count with its rate on a terminal; gives the function that adds to it."""
    console = SafeConsole(stderr=True)
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
            log=say,
            answers=answers,
            checked=lambda: count(1),
        )


@contextmanager
def answering() -> Iterator[Callable[[int, int, int], None]]:
    """A bar of answers with tokens/s and time left; gives the function that is told (done, total, tokens)."""
    console = SafeConsole(stderr=True)
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
