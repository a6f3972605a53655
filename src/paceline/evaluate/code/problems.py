"""Competitive programming: a solution reads examples' inputs and must print their outputs."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from paceline.data.formats.codeforces import problem_messages
from paceline.evaluate.code.extract import code_of
from paceline.evaluate.code.suite import Task, TaskResult
from paceline.evaluate.sandbox import Limits, Sandbox

_COMPILE = Limits(seconds=30, memory=2**30, processes=32, files=128 * 2**20)
_MARK = "== compiled =="


def interpreters() -> list[Path]:
    """Folders that solutions need beside the system's: this Python's own, if it is not the system's."""
    prefix = Path(sys.base_prefix)
    return [] if prefix == Path("/usr") or Path("/usr/bin/python3").exists() else [prefix]


def _python() -> str:
    return (
        "/usr/bin/python3"
        if Path("/usr/bin/python3").exists()
        else str(Path(sys.base_prefix) / "bin" / "python3")
    )


def problem_tasks(rows: list[tuple[int, dict[str, Any]]]) -> list[Task]:
    """The problems among numbered rows of codeforces-cots' schema that have examples to be run by."""
    tasks = []
    for number, row in rows:
        examples = [*(row.get("examples") or []), *(row.get("official_tests") or [])]
        answer = row.get("generation") or next(
            (m["content"] for m in row.get("messages") or [] if m["role"] == "assistant"), None
        )
        if not examples or not answer:
            continue
        asked = [m for m in problem_messages({**row, "generation": answer}) if m["role"] != "assistant"]
        check = partial(
            _check,
            examples,
            float(row.get("time_limit") or 2.0),
            int(float(row.get("memory_limit") or 256) * 2**20),
        )
        tasks.append(
            Task(
                f"problem-{row.get('id', number)}",
                "competitive_programming",
                asked,
                answer,
                ("```python\nprint()\n```",),
                check,
                row,
            )
        )
    return tasks


def _check(
    examples: list[dict[str, str]], seconds: float, memory: int, sandbox: Sandbox, answer: str
) -> TaskResult:
    """Every example in its own run, with the problem's limits (three times the time: interpreters are slow, and so may this machine be)."""
    python, cpp = code_of(answer, "python", "py", "python3"), code_of(answer, "cpp", "c++", "cc")
    in_cpp = "#include" in cpp
    limits = Limits(seconds=3 * seconds + 1, memory=max(memory, 128 * 2**20), processes=16)
    spent, compiled = 0.0, None
    for example in examples:
        if in_cpp:
            script = f"g++ -O2 -std=c++17 -o answer answer.cpp 2>&1 || exit 101; echo '{_MARK}'; exec timeout {limits.seconds:g} ./answer"
            result = sandbox.run(["sh", "-c", script], {"answer.cpp": cpp}, example["input"], limits=_COMPILE)
            compiled = _MARK in result.output
            printed = result.output.partition(_MARK + "\n")[2]
        else:
            result = sandbox.run(
                [_python(), "-I", "answer.py"], {"answer.py": python}, example["input"], limits=limits
            )
            printed = result.output
        spent += result.seconds
        outcome = TaskResult.of(result, compiled)
        if not outcome.passed:
            return TaskResult(compiled, False, outcome.output, spent)
        if not same_output(printed, example["output"]):
            return TaskResult(
                compiled,
                False,
                f"input:\n{example['input']}\nexpected:\n{example['output']}\nprinted:\n{printed[:2000]}",
                spent,
            )
    return TaskResult(compiled, True, "", spent)


def same_output(printed: str, expected: str) -> bool:
    """Equal to the letter, or token by token; numbers written with a point may differ by 1e-6, absolutely or relatively."""
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
