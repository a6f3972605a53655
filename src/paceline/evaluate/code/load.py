"""Suites by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paceline.config.data import Source
from paceline.config.evaluation import CodeTasks
from paceline.data.sources import load_rows
from paceline.errors import EvaluationError
from paceline.evaluate.code import problems, rust
from paceline.evaluate.code.suite import Task
from paceline.evaluate.sandbox import Sandbox, open_sandbox

SUITES = {"rust": "embedded:rust", "problems": "embedded:codeforces"}


def load_suite(wanted: CodeTasks, accept_unsandboxed: bool = False) -> tuple[list[Task], Sandbox]:
    """Up to n tasks, drawn by the seed, and the sandbox that runs them.

    Raises:
        EvaluationError: a missing compiler or sandbox, rows without a task that can be run.
    """
    name, source = wanted.suite, wanted.data or SUITES[wanted.suite]
    readable: list[Path] = rust.toolchain() if name == "rust" else problems.interpreters()
    sandbox = open_sandbox(readable, accept_unsandboxed=accept_unsandboxed)
    rows = load_rows(Source(source))
    numbered = [
        (int(place), rows[int(place)])
        for place in np.random.default_rng([wanted.seed, 7]).permutation(len(rows))
    ]
    tasks = (
        rust.rust_tasks(numbered, readable[0] / "bin" / "rustc")
        if name == "rust"
        else problems.problem_tasks(numbered)
    )
    if not tasks:
        raise EvaluationError(f"data {source!r}: no row with code to run and tests or examples to run it by")
    return tasks[: wanted.n], sandbox
