"""Rust tasks whose answer is a part of a crate, which is assembled, compiled and tested."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from paceline.data.formats import Row
from paceline.data.formats.strandset import parse_fields, to_messages
from paceline.data.rust.edits import bugs
from paceline.errors import EvaluationError
from paceline.evaluate.code.extract import code_of
from paceline.evaluate.code.suite import NumberedRow, Task, TaskResult
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
# kind of task -> the field of the reference
_ANSWER = {
    "code_generation": "code",
    "code_completion": "completion",
    "bug_detection": "fixed_code",
    "code_refactoring": "code_after",
    "code_optimization": "code_after",
    "test_generation": "test_cases",
}


class RustSuite:
    """Tasks in Strandset's schema, of a kind whose answer is code, with unit tests to run it by."""

    default_data = "embedded:rust"

    def toolchain(self) -> list[Path]:
        """The folder of rustc and its libraries."""
        rustc = shutil.which("rustc")
        if rustc is None:
            raise EvaluationError(
                "the Rust suite needs rustc; install it from https://rustup.rs or with "
                "`apt-get install rustc`; other suites run without"
            )
        command = [rustc, "--print", "sysroot"]
        return [Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())]

    def tasks(self, rows: Iterable[NumberedRow], toolchain: Sequence[Path]) -> Iterator[Task]:
        """The rows of a kind with code to run, with tests and a reference."""
        rustc = toolchain[0] / "bin" / "rustc"
        return (task for number, row in rows if (task := _task(number, row, rustc)) is not None)


RUST = RustSuite()


def _task(number: int, row: Row, rustc: Path) -> Task | None:
    kind, tests = str(row["task_category"]), str(row.get("test") or "")
    if kind not in ASSEMBLE or not tests.strip():
        return None
    given = parse_fields(row["input_data"])
    reference = parse_fields(row["output_data"]).get(_ANSWER[kind])
    if not reference:
        return None
    check = _check_tests if kind == "test_generation" else _check_code
    return Task(
        id=f"rust-{number}",
        kind=kind,
        messages=to_messages(row)[:-1],
        reference=_fence(reference),
        wrong=tuple(map(_fence, _wrong(kind, given, reference, number))),
        check=partial(check, rustc, kind, given, tests),
    )


def _wrong(kind: str, given: Fields, reference: str, number: int) -> list[str]:
    """Answers that must fail: the buggy code itself, code with a planted bug, tests that assert nothing."""
    if kind == "bug_detection":
        return [given["buggy_code"]] if "buggy_code" in given else []
    if kind == "test_generation":
        return ["#[test]\nfn nothing() {}"]
    return [broken] if (broken := _with_bug(reference, number)) else []


def _with_bug(code: str, number: int) -> str | None:
    """The code with one bug planted, chosen by the number; None where there is nothing to break."""
    edits = bugs(code)
    return edits[number % len(edits)].code if edits else None


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
    blind = bool(second.compiled) and second.passed
    return TaskResult(
        compiled=True,
        passed=not blind,
        output="the tests pass on code with a planted bug as well" if blind else "",
        seconds=first.seconds + second.seconds,
    )


def _compile_and_run(rustc: Path, code: str, tests: str, sandbox: Sandbox) -> TaskResult:
    """One call of the sandbox: a mark in the output tells the compiler's exit code from the tests'."""
    imports = "    #[allow(unused_imports)]\n    use super::*;"
    module = tests if "mod tests" in tests else f"#[cfg(test)]\nmod tests {{\n{imports}\n\n{tests}\n}}"
    # A snippet's own imports are often not in its row; what a glob brings yields to any name in the snippet.
    globs = "use std::{cmp::*, collections::*, rc::*};"
    crate = f"#![allow(dead_code, unused)]\n{globs}\n\n{code}\n\n{module}\n"
    script = (
        f"{rustc} --edition 2021 --test -C debuginfo=0 -o answer crate.rs 2>&1 || exit 101; echo {_MARK}; "
        "exec timeout 20 ./answer --test-threads 1"
    )
    result = sandbox.run(["sh", "-c", script], {"crate.rs": crate}, limits=COMPILE)
    compiled = _MARK in result.output
    if "running 0 tests" in result.output:
        return TaskResult(compiled=compiled, passed=False, output="no test ran", seconds=result.seconds)
    return TaskResult.of(result, compiled)


_MARK = "== compiled =="


def _join(context: str, code: str) -> str:
    return f"{context}\n\n{code}" if "fn " in context or "struct " in context or "use " in context else code


def _fence(code: str) -> str:
    return f"```rust\n{code}\n```"
