"""Competitive programming: outputs are compared."""

from typing import Any

import pytest

from paceline.config.evaluation import CodeTasks
from paceline.evaluate.code.load import load_suite
from paceline.evaluate.code.problems import same_output

pytestmark = pytest.mark.sandbox


def test_a_solution_in_cpp() -> None:
    tasks, sandbox = load_suite(CodeTasks(suite="problems", n=400))
    task = next(task for task in tasks if task.title == "Tickets of 5")
    code = "#include <iostream>\nint main() { long n, s = 0, x; std::cin >> n; while (n--) { std::cin >> x; if (x % 5 == 0) s += x; } std::cout << s << std::endl; }"
    assert task.check(sandbox, f"<think>```python\nwrong\n```</think>\n```cpp\n{code}\n```").passed
    refused = task.check(sandbox, f"```cpp\n{code[:-1]}\n```")
    assert (refused.compiled, refused.passed) == (False, False)


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("1 2\n", "1 2", True),
        ("1\n2", "1 2\n", True),
        ("1", "2", False),
        ("1 2", "1", False),
        ("0.3333333", "0.333333", True),
        ("0.34", "0.333333", False),
        ("1.0", "1", False),
        ("nan", "0.5", False),
    ],
)
def test_outputs_are_compared_token_by_token(printed: Any, expected: Any, same: Any) -> None:
    assert same_output(printed, expected) is same
