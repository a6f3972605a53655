"""What a suite of executable tasks is: prompts, and a check that runs an answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paceline.data.formats import Messages
from paceline.evaluate.sandbox import Result, Sandbox


@dataclass(frozen=True)
class TaskResult:
    """Of one answer: whether it compiled (None: nothing to compile), whether it passed, and what was printed where it did not."""

    compiled: bool | None
    passed: bool
    output: str
    seconds: float

    @classmethod
    def of(cls, result: Result, compiled: bool | None = None) -> TaskResult:
        said = (
            result.output
            if result.ended is None
            else f"{result.output}\nended: over its limit of {result.ended}"
        )
        return cls(compiled, result.ok, "" if result.ok else said, result.seconds)


@dataclass(frozen=True)
class Task:
    """One problem. `reference` is an answer that must pass, `wrong` answers that must fail; `check` runs an answer's text."""

    id: str
    kind: str
    messages: Messages
    reference: str
    wrong: tuple[str, ...]
    check: Callable[[Sandbox, str], TaskResult]
    row: dict[str, Any]


@dataclass(frozen=True)
class Validation:
    """Tasks whose reference passes and whose wrong answers fail, how many fell to which reason, and how many programs a core ran in a minute."""

    tasks: list[Task]
    left_out: dict[str, int]
    run_a_minute_a_core: float


def validate(tasks: list[Task], sandbox: Sandbox, observe: Callable[[], None] = lambda: None) -> Validation:
    """Runs every task's own answers first: a task that cannot tell right from wrong measures nothing."""
    from concurrent.futures import ThreadPoolExecutor

    left_out: dict[str, int] = {}

    def judge(task: Task) -> str | None:
        found = None
        if not task.check(sandbox, task.reference).passed:
            found = "the reference answer does not pass"
        elif any(task.check(sandbox, answer).passed for answer in task.wrong):
            found = "a wrong answer passes"
        observe()
        return found

    began = time.perf_counter()
    with ThreadPoolExecutor(workers()) as pool:
        reasons = list(pool.map(judge, tasks))
    rate = sum(1 + len(task.wrong) for task in tasks) / (time.perf_counter() - began) * 60 / workers()
    for reason in filter(None, reasons):
        left_out[reason] = left_out.get(reason, 0) + 1
    return Validation(
        [task for task, reason in zip(tasks, reasons, strict=True) if reason is None], left_out, rate
    )


def workers() -> int:
    """Programs run at once: one a core."""
    import os

    return max(1, len(os.sched_getaffinity(0)))
