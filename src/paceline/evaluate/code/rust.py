"""Rust tasks whose answer is a piece of a crate: it is put together, compiled and its unit tests are run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from paceline.data.formats.strandset import parse_fields, to_messages
from paceline.data.rust.edits import bugs
from paceline.errors import EvaluationError
from paceline.evaluate.code.extract import code_of
from paceline.evaluate.code.suite import Task, TaskResult
from paceline.evaluate.sandbox import Limits, Sandbox

Fields = dict[str, str]
COMPILE = Limits(seconds=60, memory=2 * 2**30, processes=64, files=256 * 2**20)

# kind of task -> (given fields, answer's code) -> the crate's code, without tests
ASSEMBLE: dict[str, Callable[[Fields, str], str]] = {
    "code_generation": lambda given, code: _join(given.get("code_context", ""), code),
    "code_completion": lambda given, code: _join(
        given.get("code_context", ""), given.get("prefix", "") + code + given.get("suffix", "")
    ),
    "bug_detection": lambda given, code: code,
    "code_refactoring": lambda given, code: code,
    "code_optimization": lambda given, code: code,
    "test_generation": lambda given, code: given.get("code_to_test", given.get("code", "")),
}
_ANSWER = {
    "code_generation": "code", "code_completion": "completion", "bug_detection": "fixed_code", "code_refactoring": "code_after",
    "code_optimization": "code_after", "test_generation": "test_cases",
}  # fmt: skip


def toolchain() -> list[Path]:
    """Folders that compiling needs.

    Raises:
        EvaluationError: no rustc on this machine.
    """
    found = shutil.which("rustc")
    if found is None:
        raise EvaluationError(
            "the Rust suite needs rustc; install it from https://rustup.rs or with `apt-get install rustc`; other suites run without"
        )
    root = subprocess.run(
        [found, "--print", "sysroot"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return [Path(root)]


def rust_tasks(rows: list[tuple[int, dict[str, Any]]], rustc: Path) -> list[Task]:
    """The tasks among numbered rows of Strandset's schema that can be checked: of a kind with code to run, with tests to run it by."""
    tasks = []
    for number, row in rows:
        kind = str(row["task_category"])
        if kind not in ASSEMBLE or not str(row.get("test") or "").strip():
            continue
        given, wanted = parse_fields(row["input_data"]), parse_fields(row["output_data"])
        reference = wanted.get(_ANSWER[kind])
        if not reference:
            continue
        wrong = _wrong(kind, given, reference, number)
        check = partial(
            _check_tests if kind == "test_generation" else _check_code, rustc, kind, given, str(row["test"])
        )
        tasks.append(
            Task(
                f"rust-{number}",
                kind,
                to_messages(row)[:-1],
                _fence(reference),
                tuple(map(_fence, wrong)),
                check,
                row,
            )
        )
    return tasks


def _wrong(kind: str, given: Fields, reference: str, number: int) -> list[str]:
    """Answers that must fail: the buggy code itself, code with a planted bug, tests that assert nothing."""
    if kind == "bug_detection":
        return [given["buggy_code"]] if "buggy_code" in given else []
    if kind == "test_generation":
        return ["#[test]\nfn nothing() {}"]
    return [broken] if (broken := _with_bug(reference, number)) else []


def _with_bug(code: str, number: int) -> str | None:
    """The code with one bug planted, chosen by the number; None where there is nothing to break."""
    found = bugs(code)
    return found[number % len(found)].code if found else None


def _check_code(
    rustc: Path, kind: str, given: Fields, tests: str, sandbox: Sandbox, answer: str
) -> TaskResult:
    return _compile_and_run(rustc, ASSEMBLE[kind](given, code_of(answer, "rust", "rs")), tests, sandbox)


def _check_tests(
    rustc: Path, kind: str, given: Fields, tests: str, sandbox: Sandbox, answer: str
) -> TaskResult:
    """Generated tests must pass on the code and fail on a copy of it with a planted bug."""
    code, written = ASSEMBLE[kind](given, ""), code_of(answer, "rust", "rs")
    first = _compile_and_run(rustc, code, written, sandbox)
    broken = _with_bug(code, 0)
    if not first.passed or broken is None:
        return first
    second = _compile_and_run(rustc, broken, written, sandbox)
    if second.compiled and second.passed:
        return TaskResult(
            True, False, "the tests pass on code with a planted bug as well", first.seconds + second.seconds
        )
    return TaskResult(True, True, "", first.seconds + second.seconds)


def _compile_and_run(rustc: Path, code: str, tests: str, sandbox: Sandbox) -> TaskResult:
    """One call of the sandbox: the compiler's exit code is told apart from the tests' by a marker."""
    inner = (
        tests
        if "mod tests" in tests
        else f"#[cfg(test)]\nmod tests {{\n    #[allow(unused_imports)]\n    use super::*;\n\n{tests}\n}}"
    )
    # a snippet's own imports are often not in its row; what a glob brings yields to any name of the snippet's
    crate = (
        f"#![allow(dead_code, unused)]\nuse std::{{cmp::*, collections::*, rc::*}};\n\n{code}\n\n{inner}\n"
    )
    script = f"{rustc} --edition 2021 --test -C debuginfo=0 -o answer crate.rs 2>&1 || exit 101; echo {_MARK}; exec timeout 20 ./answer --test-threads 1"
    result = sandbox.run(["sh", "-c", script], {"crate.rs": crate}, limits=COMPILE)
    compiled = _MARK in result.output
    outcome = TaskResult.of(result, compiled)
    ran = "running 0 tests" not in result.output
    return outcome if ran else TaskResult(compiled, False, "no test ran", result.seconds)


_MARK = "== compiled =="


def _join(context: str, code: str) -> str:
    return f"{context}\n\n{code}" if "fn " in context or "struct " in context or "use " in context else code


def _fence(code: str) -> str:
    return f"```rust\n{code}\n```"
