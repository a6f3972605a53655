"""Executed tasks: references pass, mutants fail, answers are judged by what they do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.config.evaluation import CodeTasks
from paceline.errors import PacelineError
from paceline.evaluate.code import rust
from paceline.evaluate.code.extract import code_of
from paceline.evaluate.code.load import load_suite
from paceline.evaluate.code.problems import same_output
from paceline.evaluate.code.run import Rate, pass_at_k, summarise
from paceline.evaluate.code.suite import validate


@pytest.mark.parametrize("suite", ["rust", "problems"])
def test_the_embedded_suites_tell_right_from_wrong(suite):
    tasks, sandbox = load_suite(CodeTasks(suite=suite, n=14))
    valid = validate(tasks, sandbox)
    assert len(valid.tasks) >= 10, valid.left_out
    assert not any(task.check(sandbox, "I do not know.").passed for task in valid.tasks[:3])


def test_a_rust_answer_that_does_not_compile_is_told_apart():
    tasks, sandbox = load_suite(CodeTasks(suite="rust", n=200))
    task = next(task for task in tasks if task.kind == "code_generation")
    broken = task.check(sandbox, "```rust\nfn nonsense( {\n```")
    assert (broken.compiled, broken.passed) == (False, False)
    assert "error" in broken.output
    wrong = task.check(sandbox, task.reference.replace("{", "{ loop {} ", 1))
    assert (wrong.compiled, wrong.passed) == (True, False)


def test_generated_tests_must_fail_on_broken_code():
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


def test_a_solution_in_cpp():
    tasks, sandbox = load_suite(CodeTasks(suite="problems", n=400))
    task = next(task for task in tasks if task.row["title"] == "Tickets of 5")
    code = "#include <iostream>\nint main() { long n, s = 0, x; std::cin >> n; while (n--) { std::cin >> x; if (x % 5 == 0) s += x; } std::cout << s << std::endl; }"
    assert task.check(sandbox, f"<think>```python\nwrong\n```</think>\n```cpp\n{code}\n```").passed
    refused = task.check(sandbox, f"```cpp\n{code[:-1]}\n```")
    assert (refused.compiled, refused.passed) == (False, False)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("```rust\nfn a() {}\n```", "fn a() {}"),
        ("text\n```python\nx\n```\n```rust\nfn b() {}\n```\nmore", "fn b() {}"),
        ("<think>\n```rust\nfn no() {}\n```\n</think>\n\nfn c() {}", "fn c() {}"),
        ("```rust\nfn cut() {", "fn cut() {"),
        ("fn bare() {}", "fn bare() {}"),
    ],
)
def test_code_is_taken_out_of_answers(answer, code):
    assert code_of(answer, "rust", "rs") == code


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
def test_outputs_are_compared_token_by_token(printed, expected, same):
    assert same_output(printed, expected) is same


@given(st.integers(1, 12), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_hit(samples, data):
    passed, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    rng = np.random.default_rng(0)
    hits = np.arange(samples) < passed
    draws = np.mean([hits[rng.permutation(samples)[:k]].any() for _ in range(400)])
    assert pass_at_k(samples, passed, k) == pytest.approx(draws, abs=0.12)


def test_rates_and_kinds():
    verdicts = [
        {
            "id": f"t{i}",
            "kind": "ab"[i % 2],
            "sample": s,
            "passed": (i + s) % 3 == 0,
            "compiled": i != 1,
            "finish": "length" if i == 0 else "stop",
        }
        for i in range(6)
        for s in range(2)
    ]
    found = summarise(verdicts, 2)
    assert found["pass@1"]["value"] == pytest.approx(4 / 12)
    assert found["pass@2"]["value"] == pytest.approx(4 / 6)
    assert found["compile_rate"]["value"] == pytest.approx(10 / 12)
    assert found["cut"] == 2
    assert set(found["kinds"]) == {"a", "b"}
    assert Rate.of(0, 10).low == 0
    assert 0.25 < Rate.of(0, 10).high < 0.35


def test_without_rustc_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(rust.shutil, "which", lambda name: None)
    with pytest.raises(PacelineError, match=r"needs rustc; install it from https://rustup.rs"):
        load_suite(CodeTasks(suite="rust", n=3))
