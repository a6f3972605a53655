"""Competitive programming: a solution reads examples' inputs and must print their outputs."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from paceline.data.formats import Row
from paceline.data.formats.codeforces import problem_conversation
from paceline.evaluate.code.extract import code_of
from paceline.evaluate.code.suite import NumberedRow, Task, TaskResult
from paceline.evaluate.sandbox.limits import Limits, Result
from paceline.evaluate.sandbox.sandbox import Sandbox

_COMPILE = Limits(seconds=30, memory=2**30, processes=32, files=128 * 2**20)
_SYSTEM_PYTHON = Path("/usr/bin/python3")
# Characters that are kept of a wrong output.
MAX_PRINTED = 2000


class ProblemSuite:
    """Problems in the schema of codeforces-cots."""

    default_data = "embedded:codeforces"

    def toolchain(self) -> list[Path]:
        """This Python's own folder, if it is not the system's."""
        prefix = Path(sys.base_prefix)
        return [] if prefix == Path("/usr") or _SYSTEM_PYTHON.exists() else [prefix]

    def tasks(self, rows: Iterable[NumberedRow], toolchain: Sequence[Path]) -> Iterator[Task]:
        """The problems that have examples to be run by, and an answer."""
        return (task for number, row in rows if (task := _task(number, row)) is not None)


PROBLEMS = ProblemSuite()


def _python() -> str:
    return str(_SYSTEM_PYTHON if _SYSTEM_PYTHON.exists() else Path(sys.base_prefix) / "bin" / "python3")


def _task(number: int, row: Row) -> Task | None:
    examples = [*(row.get("examples") or []), *(row.get("official_tests") or [])]
    answer = row.get("generation") or next(
        (turn["content"] for turn in row.get("messages") or [] if turn["role"] == "assistant"), None
    )
    if not examples or not answer:
        return None
    messages = problem_conversation({**row, "generation": answer}).messages
    check = partial(
        _check,
        examples,
        float(row.get("time_limit") or 2.0),
        int(float(row.get("memory_limit") or 256) * 2**20),
    )
    return Task(
        id=f"problem-{row.get('id', number)}",
        kind="competitive_programming",
        messages=[turn for turn in messages if turn["role"] != "assistant"],
        reference=answer,
        wrong=("```python\nprint()\n```",),
        check=check,
        title=str(row.get("title") or ""),
    )


def _check(
    examples: list[dict[str, str]], seconds: float, memory: int, sandbox: Sandbox, answer: str
) -> TaskResult:
    """Runs every example by itself, with the problem's limit on memory and three times its limit on time.

    Three times, because interpreters are slow, and so may this machine be.
    """
    python, cpp = code_of(answer, "python", "py", "python3"), code_of(answer, "cpp", "c++", "cc")
    limits = Limits(seconds=3 * seconds + 1, memory=max(memory, 128 * 2**20), processes=16)
    if "#include" not in cpp:
        command = [_python(), "-I", "answer.py"]
        return _run(
            examples, lambda stdin: sandbox.run(command, {"answer.py": python}, stdin, limits=limits), None
        )
    with tempfile.TemporaryDirectory(prefix="paceline-") as folder:
        program = Path(folder) / "answer"
        Path(folder).chmod(0o755)
        compiler = ["g++", "-O2", "-std=c++17", "-o", str(program), "answer.cpp"]
        built = sandbox.run(compiler, {"answer.cpp": cpp}, limits=_COMPILE, out=Path(folder))
        if not built.ok:
            return TaskResult.of(built, False)
        outcome = _run(
            examples, lambda stdin: sandbox.run([str(program)], {}, stdin, limits, program=program), True
        )
        return replace(outcome, seconds=built.seconds + outcome.seconds)


def _run(
    examples: list[dict[str, str]], answer: Callable[[str], Result], compiled: bool | None
) -> TaskResult:
    """Every example by itself. What must come out is known out here alone."""
    spent = 0.0
    for example in examples:
        result = answer(example["input"])
        spent += result.seconds
        outcome = TaskResult.of(result, compiled)
        if not outcome.passed:
            return replace(outcome, seconds=spent)
        if not same_output(result.output, example["output"]):
            given, expected, printed = example["input"], example["output"], result.output[:MAX_PRINTED]
            output = f"input:\n{given}\nexpected:\n{expected}\nprinted:\n{printed}"
            return TaskResult(compiled=compiled, passed=False, output=output, seconds=spent)
    return TaskResult(compiled=compiled, passed=True, output="", seconds=spent)


def same_output(printed: str, expected: str) -> bool:
    """Equal to the letter, or token by token; decimal numbers may differ by 1e-6, absolute or relative."""
    if printed == expected:
        return True
    left, right = printed.split(), expected.split()
    return len(left) == len(right) and all(_same_token(a, b) for a, b in zip(left, right, strict=True))


def _same_token(printed: str, expected: str) -> bool:
    if printed == expected:
        return True
    if "." not in expected:
        return False
    try:
        a, b = float(printed), float(expected)
    except ValueError:
        return False
    return abs(a - b) <= 1e-6 * max(1.0, abs(b))
