"""Rust tasks whose answer is a part of a crate, which is assembled, compiled and tested."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from paceline.data.formats import Row
from paceline.data.formats.strandset import parse_fields, to_messages
from paceline.data.rust.edits import bugs
from paceline.errors import EvaluationError
from paceline.evaluate.code.extract import code_of
from paceline.evaluate.code.rust_refusals import refusal
from paceline.evaluate.code.rust_tests import test_module
from paceline.evaluate.code.suite import NumberedRow, Task, TaskResult
from paceline.evaluate.sandbox.limits import Limits
from paceline.evaluate.sandbox.sandbox import Sandbox

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
        check=partial(check, rustc, kind, given, reference, tests),
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
    rustc: Path, kind: str, given: Fields, reference: str, tests: str, sandbox: Sandbox, answer: str
) -> TaskResult:
    written, own = code_of(answer, "rust", "rs"), ASSEMBLE[kind](given, reference)
    if why := refusal(written, f"{own}\n{tests}", tests):
        return _failed(False, why)
    return _compile_and_run(rustc, ASSEMBLE[kind](given, written), tests, own, sandbox)


def _check_tests(
    rustc: Path, kind: str, given: Fields, reference: str, tests: str, sandbox: Sandbox, answer: str
) -> TaskResult:
    """Generated tests must pass on the code and fail on a copy of it with a planted bug."""
    code, written = ASSEMBLE[kind](given, ""), code_of(answer, "rust", "rs")
    if why := refusal(written, f"{code}\n{reference}", ""):
        return _failed(False, why)
    first = _compile_and_run(rustc, code, written, code, sandbox)
    broken = _with_bug(code, 0)
    if not first.passed or broken is None:
        return first
    second = _compile_and_run(rustc, broken, written, code, sandbox)
    blind = bool(second.compiled) and second.passed
    return TaskResult(
        compiled=True,
        passed=not blind,
        output="the tests pass on code with a planted bug as well" if blind else "",
        seconds=first.seconds + second.seconds,
    )


def _failed(compiled: bool, why: str, seconds: float = 0.0) -> TaskResult:
    return TaskResult(compiled=compiled, passed=False, output=why, seconds=seconds)


def _compile_and_run(rustc: Path, code: str, tests: str, own: str, sandbox: Sandbox) -> TaskResult:
    """Compiles the code with its tests, and a harness beside it; then runs the harness where no source is.

    The harness is told a key that it gives back with the number of tests that passed: a process that ends, or
    says anything else, has passed nothing. The code under test is safe Rust unless its task is not, so that
    nothing in it can find the key, nor run before the harness has taken it.
    """
    module = test_module(f"tests_{secrets.token_hex(8)}", tests, own)
    if module.count == 0:
        return _failed(True, "no test ran")
    # A snippet's own imports are often not in its row; what a glob brings yields to any name in the snippet.
    answer = f"use std::{{cmp::*, collections::*, rc::*}};\n\n{code}\n\n{module.source}"
    name = module.source.partition("pub mod ")[2].partition(" ")[0]
    files = {"answer.rs": answer, "harness.rs": _HARNESS.replace("MODULE", name)}
    safe = [] if re.search(r"\bunsafe\b", f"{own}\n{tests}") else ["-F", "unsafe_code"]
    flags = f"{rustc} --edition 2021 -C debuginfo=0 -A dead_code -A unused"
    with tempfile.TemporaryDirectory(prefix="paceline-") as folder:
        program = Path(folder) / "answer"
        Path(folder).chmod(0o755)
        script = (
            f"{flags} {' '.join(safe)} --crate-type rlib answer.rs 2>&1 && "
            f"{flags} --extern answer=libanswer.rlib -o {program} harness.rs 2>&1"
        )
        built = sandbox.run(["sh", "-c", script], files, limits=COMPILE, out=Path(folder))
        if not built.ok or not program.is_file():
            return replace(TaskResult.of(replace(built, status=built.status or 1), False), passed=False)
        program.chmod(0o111)  # what cannot be read cannot be traced either
        key = secrets.token_hex(16)
        result = sandbox.run([str(program)], {}, f"{key}\n", limits=_RUN, program=program)
    outcome = TaskResult.of(result, True)
    report = f"\n{key} {module.count} of {module.count}\n"
    if outcome.passed and report not in f"\n{result.output}":
        output = f"{result.output.replace(key, '')}\nnot every test was seen to pass"
        outcome = replace(outcome, passed=False, output=output)
    return replace(outcome, seconds=built.seconds + result.seconds)


_RUN = Limits(seconds=20, memory=2 * 2**30, processes=64, files=64 * 2**20)
_HARNESS = """
fn main() {
    let mut key = String::new();
    std::io::stdin().read_line(&mut key).unwrap();
    let mut passed = 0;
    for (name, panics, expected, run) in answer::MODULE::TESTS {
        let good = match std::panic::catch_unwind(run) {
            Ok(fine) => fine && !panics,
            Err(cause) => {
                let text = cause.downcast_ref::<&str>().map(|text| text.to_string());
                let said = text.or_else(|| cause.downcast_ref::<String>().cloned());
                *panics && said.unwrap_or_default().contains(expected)
            }
        };
        if good {
            passed += 1;
        } else {
            println!("test {name} failed");
        }
    }
    println!("\\n{} {passed} of {}", key.trim(), answer::MODULE::TESTS.len());
}
"""


def _join(context: str, code: str) -> str:
    return f"{context}\n\n{code}" if "fn " in context or "struct " in context or "use " in context else code


def _fence(code: str) -> str:
    return f"```rust\n{code}\n```"
