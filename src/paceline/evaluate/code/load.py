"""Suites by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paceline.config.parts import Data
from paceline.data.sources import load_rows
from paceline.errors import UserError, nearest
from paceline.evaluate.code import problems, rust
from paceline.evaluate.code.suite import Task
from paceline.evaluate.sandbox import Sandbox, open_sandbox

SUITES = {"rust": "embedded:rust", "problems": "embedded:codeforces"}


def load_suite(name: str, source: str | None, n: int, seed: int, accept_unsandboxed: bool) -> tuple[list[Task], Sandbox]:
    """Up to n tasks, drawn by the seed, and the sandbox that runs them.

    Raises:
        UserError: unknown suite, a missing compiler or sandbox, rows without a task that can be run.
    """
    if name not in SUITES:
        raise UserError(f"no suite {name!r}{nearest(name, SUITES)}; there are {', '.join(SUITES)}")
    readable: list[Path] = rust.toolchain() if name == "rust" else problems.interpreters()
    sandbox = open_sandbox(readable, accept_unsandboxed=accept_unsandboxed)
    rows = load_rows(Data(source=source or SUITES[name]))
    numbered = [(int(place), rows[int(place)]) for place in np.random.default_rng([seed, 7]).permutation(len(rows))]
    tasks = rust.rust_tasks(numbered, readable[0] / "bin" / "rustc") if name == "rust" else problems.problem_tasks(numbered)
    if not tasks:
        raise UserError(f"data {source!r}: no row with code to run and tests or examples to run it by")
    return tasks[:n], sandbox
