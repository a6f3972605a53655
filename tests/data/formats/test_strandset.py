"""Strandset-Rust's rows."""

from pathlib import Path
from typing import Any

import pytest

from paceline.config.load import load_study
from paceline.data.formats.strandset import TASKS, parse_fields, to_messages
from paceline.errors import DataError


def test_fields_are_read_in_both_notations() -> None:
    python, json_text = "{'code': 'let x = \"1\";\\n', 'note': None}", '{"code": "let x = \\"1\\";\\n"}'
    assert parse_fields(python) == parse_fields(json_text) == {"code": 'let x = "1";\n'}
    numbers = '{"bound": 1.10, "large": 1e5, "nested": {"id": 12345678901234567890.0}}'
    assert parse_fields(numbers) == {
        "bound": "1.10",
        "large": "1e5",
        "nested": '{"id": 12345678901234567890.0}',
    }
    assert parse_fields("just text") == {"text": "just text"}
    assert parse_fields("{'broken") == {"text": "{'broken"}
    assert parse_fields(None) == {}


@pytest.mark.parametrize("task", [*TASKS, "lifetime_annotation"])
def test_every_category_even_an_unknown_one_gives_a_conversation(task: Any) -> None:
    answer = TASKS[task][1] if task in TASKS else ("answer",)
    row = {
        "task_category": task,
        "input_data": {"code": "fn f() {}"},
        "output_data": {field: f"the {field}" for field in answer},
    }
    system, user, assistant = to_messages(row)
    assert [system["role"], user["role"], assistant["role"]] == ["system", "user", "assistant"]
    assert "```rust\nfn f() {}\n```" in user["content"]
    assert all(f"the {field}" in assistant["content"] for field in answer)


def test_a_row_without_its_fields_is_refused() -> None:
    with pytest.raises(DataError, match="column 'output_data' is missing or null"):
        to_messages({"task_category": "code_review", "input_data": "{}", "output_data": None})


def test_the_curriculum_of_the_rust_study_covers_every_category_once() -> None:
    study = load_study(Path(__file__).parents[3] / "studies" / "qwen3-0.6b-rust-next.yaml")
    listed = [task for tasks in study.runs[0].recipe.phases.values() for task in tasks]
    assert sorted(listed) == sorted(TASKS)
