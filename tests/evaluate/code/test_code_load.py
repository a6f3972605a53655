"""Suites by name, and what is refused before anything is run."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from paceline.config.evaluation import CodeTasks
from paceline.errors import DataError, EvaluationError
from paceline.evaluate.code.load import SUITES, load_suite
from paceline.evaluate.code.suite import Task, TaskResult


class EchoSuite:
    """Another package's suite: every row is a task whose answer is the row's number."""

    default_data = "embedded:rust"

    def toolchain(self) -> Any:
        return []

    def tasks(self, rows: Any, toolchain: Any) -> Iterator[Any]:
        for number, _ in rows:
            yield Task(
                id=str(number),
                kind="echo",
                messages=[{"role": "user", "content": str(number)}],
                reference=str(number),
                wrong=("?",),
                check=lambda sandbox, answer: TaskResult(
                    compiled=None, passed=answer != "?", output="", seconds=0
                ),
            )


ECHO = EchoSuite()


def test_another_package_s_suite_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("echo", f"{__name__}:ECHO", "paceline.code_suites")
    monkeypatch.setattr("paceline.evaluate.registry.entry_points", lambda group: [entry])
    assert SUITES.names() == ["rust", "problems", "echo"]
    tasks, _ = load_suite(CodeTasks(suite="echo", n=3))
    assert len(tasks) == 3


def test_a_smaller_draw_is_the_beginning_of_a_larger_one() -> None:
    few, many = (load_suite(CodeTasks(suite="problems", n=n, seed=4))[0] for n in (3, 8))
    assert [task.id for task in few] == [task.id for task in many][:3]


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no code suite 'rsut', did you mean 'rust'"):
        load_suite(CodeTasks(suite="rsut"))
    with pytest.raises(DataError, match="no such file"):
        load_suite(CodeTasks(suite="problems", data="no-such-file.parquet"))
    (tmp_path / "rows.jsonl").write_text('{"title": "t", "description": "d", "examples": []}\n')
    with pytest.raises(EvaluationError, match="no row with code to run"):
        load_suite(CodeTasks(suite="problems", data=str(tmp_path / "rows.jsonl")))
