"""References pass, wrong answers fail."""

from typing import Any, cast

import pytest

from paceline.config.evaluation import CodeTasks
from paceline.errors import EvaluationError
from paceline.evaluate.code.load import load_suite
from paceline.evaluate.code.suite import Task, TaskResult, validate
from paceline.runs.evaluations import CodeSummary

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
    assert [
        CodeSummary(
            suite="s", tasks=1, left_out=valid.left_out, samples=1, run_a_minute_a_core=1.0, runs={}
        ).drawn
    ] == [4]
    with pytest.raises(EvaluationError, match=r"none of 1 tasks .* the reference answer does not pass \(1\)"):
        validate([task("broken")], sandbox=cast(Any, None))
    assert valid.left_out == {"the reference answer does not pass": 2, "a wrong answer passes": 1}
