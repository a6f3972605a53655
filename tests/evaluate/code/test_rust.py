"""Rust tasks are judged by what the answers do."""

import pytest

from paceline.config.evaluation import CodeTasks
from paceline.errors import PacelineError
from paceline.evaluate.code import rust
from paceline.evaluate.code.load import load_suite

pytestmark = pytest.mark.sandbox


def test_a_rust_answer_that_does_not_compile_is_told_apart() -> None:
    tasks, sandbox = load_suite(CodeTasks(suite="rust", n=200))
    task = next(task for task in tasks if task.kind == "code_generation")
    broken = task.check(sandbox, "```rust\nfn nonsense( {\n```")
    assert (broken.compiled, broken.passed) == (False, False)
    assert "error" in broken.output
    wrong = task.check(sandbox, task.reference.replace("{", "{ loop {} ", 1))
    assert (wrong.compiled, wrong.passed) == (True, False)


def test_generated_tests_must_fail_on_broken_code() -> None:
    tasks, sandbox = load_suite(CodeTasks(suite="rust", n=400))
    task = next(
        task
        for task in tasks
        if task.kind == "test_generation" and task.check(sandbox, task.reference).passed
    )
    idle = task.check(sandbox, "```rust\n#[test]\nfn idle() { assert_eq!(1, 1); }\n```")
    assert not idle.passed
    assert "planted bug" in idle.output
    assert "no test ran" in task.check(sandbox, "```rust\nfn helper() {}\n```").output


def test_without_rustc_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rust.shutil, "which", lambda name: None)
    with pytest.raises(PacelineError, match=r"needs rustc; install it from https://rustup.rs"):
        load_suite(CodeTasks(suite="rust", n=3))
