"""Suites of executable tasks by name, and their tasks."""

from __future__ import annotations

from itertools import islice

import numpy as np

from paceline.config.data import Source
from paceline.config.evaluation import CodeTasks
from paceline.data.sources import load_rows
from paceline.errors import EvaluationError
from paceline.evaluate.code.suite import CodeSuite, Task
from paceline.evaluate.registry import Registry
from paceline.evaluate.sandbox.sandbox import Sandbox, open_sandbox

SUITES: Registry[CodeSuite] = Registry(
    "paceline.code_suites",
    "code suite",
    {
        "rust": "paceline.evaluate.code.rust:RUST",
        "problems": "paceline.evaluate.code.problems:PROBLEMS",
    },
)
# Apart from any other use of the same seed.
_STREAM = 7


def load_suite(settings: CodeTasks, accept_unsandboxed: bool = False) -> tuple[list[Task], Sandbox]:
    """Up to n tasks, drawn by the seed, and the sandbox that runs them.

    Raises:
        EvaluationError: no such suite, a compiler or sandbox that is missing, rows without a task that can be
        run.
        DataError: rows that cannot be read.
    """
    suite = SUITES.get(settings.suite)
    toolchain = suite.toolchain()
    sandbox = open_sandbox(toolchain, accept_unsandboxed=accept_unsandboxed, kind=settings.sandbox)
    source = settings.data or suite.default_data
    rows = load_rows(Source(source))
    order = np.random.default_rng([settings.seed, _STREAM]).permutation(len(rows))
    drawn = ((int(index), rows[int(index)]) for index in order)
    tasks = list(islice(suite.tasks(drawn, toolchain), settings.n))
    if not tasks:
        raise EvaluationError(f"data {source!r}: no row with code to run and tests or examples to run it by")
    return tasks, sandbox
