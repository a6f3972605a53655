"""References pass, wrong answers fail."""

from typing import Any, cast

import pytest

from paceline.config.evaluation import CodeTasks
from paceline.evaluate.code.load import load_suite
from paceline.evaluate.code.suite import Task, TaskResult, validate

pytestmark = pytest.mark.sandbox


@pytest.mark.parametrize("suite", ["rust", "problems"])
def test_the_embedded_suites_tell_right_from_wrong(suite: Any) -> None:
    tasks, sandbox = load_suite(CodeTasks(suite=suite, n=14))
    valid = validate(tasks, sandbox)
    assert len(valid.tasks) >= 10, valid.left_out
    assert not any(task.check(sandbox, "I do not know.").passed for task in valid.tasks[:3])


def test_tasks_that_cannot_tell_right_from_wrong_are_left_out() -> None:
    def task(name: Any, *passing: Any) -> Any:
        def check(sandbox: Any, answer: Any) -> Any:
            return TaskResult(compiled=None, passed=answer in passing, output="", seconds=0.0)

        return Task(id=name, kind="k", messages=[], reference="right", wrong=("wrong",), check=check)

    tasks = [task("fine", "right"), task("broken"), task("blind", "right", "wrong"), task("dead")]
    valid = validate(tasks, sandbox=cast(Any, None))
    assert [kept.id for kept in valid.tasks] == ["fine"]
    assert valid.left_out == {"the reference answer does not pass": 2, "a wrong answer passes": 1}
