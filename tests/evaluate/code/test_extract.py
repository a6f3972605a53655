"""Code out of answers."""

from typing import Any

import pytest

from paceline.evaluate.code.extract import code_of


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
def test_code_is_taken_out_of_answers(answer: Any, code: Any) -> None:
    assert code_of(answer, "rust", "rs") == code
