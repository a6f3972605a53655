"""What a suite of executable tasks is: prompts, and a check that runs an answer."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from paceline.data.formats import Messages, Row
from paceline.errors import EvaluationError
from paceline.evaluate.sandbox.limits import Result
from paceline.evaluate.sandbox.sandbox import Sandbox

# A row of a data set with its place there.
NumberedRow = tuple[int, Row]


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What became of one answer: whether it compiled (None: nothing to compile), and whether it passed.

    `output` is what was printed by one that did not pass.
    """

    compiled: bool | None
    passed: bool
    output: str
    seconds: float

    @classmethod
    def of(cls, result: Result, compiled: bool | None = None) -> TaskResult:
        """The result of a program that passes by ending well."""
        ended = "" if result.ended is None else f"\nended: over its limit of {result.ended}"
        output = "" if result.ok else result.output + ended
        return cls(compiled=compiled, passed=result.ok, output=output, seconds=result.seconds)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One problem. `reference` is an answer that must pass, `wrong` are answers that must fail.

    `check` runs an answer's text; `title` is for people.
    """

    id: str
    kind: str
    messages: Messages
    reference: str
    wrong: tuple[str, ...]
    check: Callable[[Sandbox, str], TaskResult]
    title: str = ""


class CodeSuite(Protocol):
    """Makes tasks out of rows."""

    @property
    def default_data(self) -> str:
        """The data source where a recipe names none."""
        ...

    def toolchain(self) -> Sequence[Path]:
        """Folders that programs need to read beside the system's.

        Raises:
            EvaluationError: a compiler that is not installed.
        """
        ...

    def tasks(self, rows: Iterable[NumberedRow], toolchain: Sequence[Path]) -> Iterator[Task]:
        """The tasks among the rows, in their order; rows that no program can check are passed over."""
        ...


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Tasks whose reference passes and whose wrong answers fail, and how many others fell to which reason.

    `run_a_minute_a_core` is how many of their own programs a core ran in a minute.
    """

    tasks: list[Task]
    left_out: dict[str, int]
    run_a_minute_a_core: float


def validate(tasks: list[Task], sandbox: Sandbox, observe: Callable[[], None] = lambda: None) -> Validation:
    """Runs every task's own answers first: a task that cannot tell right from wrong measures nothing.

    Raises:
        EvaluationError: no task is left.
    """

    def fault(task: Task) -> str | None:
        reason = _fault(task, sandbox)
        observe()
        return reason

    began = time.perf_counter()
    with ThreadPoolExecutor(workers()) as pool:
        reasons = list(pool.map(fault, tasks))
    minutes = (time.perf_counter() - began) / 60
    left_out = dict(Counter(reason for reason in reasons if reason))
    if sum(left_out.values()) == len(tasks):
        told = "; ".join(f"{reason} ({count})" for reason, count in left_out.items())
        raise EvaluationError(f"none of {len(tasks)} tasks can tell right from wrong: {told}")
    programs = sum(1 + len(task.wrong) for task in tasks)
    return Validation(
        tasks=[task for task, reason in zip(tasks, reasons, strict=True) if reason is None],
        left_out=left_out,
        run_a_minute_a_core=programs / minutes / workers(),
    )


def _fault(task: Task, sandbox: Sandbox) -> str | None:
    if not task.check(sandbox, task.reference).passed:
        return "the reference answer does not pass"
    if any(task.check(sandbox, answer).passed for answer in task.wrong):
        return "a wrong answer passes"
    return None


def workers() -> int:
    """Programs run at once: one a core."""
    return max(1, len(os.sched_getaffinity(0)))
