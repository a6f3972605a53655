"""Rows become messages."""

from pathlib import Path

import pytest

from paceline.config.load import load_study
from paceline.data.formats import FORMATS, problem_text, recognise
from paceline.data.strandset import TASKS, parse_fields
from paceline.errors import PacelineError


def test_strandset_reads_both_notations():
    python, json_text = "{'code': 'let x = \"1\";\\n', 'note': None}", '{"code": "let x = \\"1\\";\\n"}'
    assert parse_fields(python) == parse_fields(json_text) == {"code": 'let x = "1";\n'}
    assert parse_fields("just text") == {"text": "just text"}
    assert parse_fields("{'broken") == {"text": "{'broken"}
    assert parse_fields(None) == {}


@pytest.mark.parametrize("task", [*TASKS, "lifetime_annotation"])
def test_every_strandset_category_even_an_unknown_one_gives_a_conversation(task):
    wanted = TASKS[task][1] if task in TASKS else ("answer",)
    row = {
        "task_category": task,
        "input_data": {"code": "fn f() {}"},
        "output_data": {field: f"the {field}" for field in wanted},
    }
    system, user, assistant = FORMATS["strandset"].messages(row)
    assert [system["role"], user["role"], assistant["role"]] == ["system", "user", "assistant"]
    assert "```rust\nfn f() {}\n```" in user["content"]
    assert all(f"the {field}" in assistant["content"] for field in wanted)


def test_the_curriculum_of_the_rust_study_covers_every_category_once():
    study = load_study(Path(__file__).parents[2] / "studies" / "qwen3-0.6b-rust-next.yaml")
    listed = [task for tasks in study.runs[0].recipe.phases.values() for task in tasks]
    assert sorted(listed) == sorted(TASKS)


def test_a_problem_is_built_from_what_the_row_has():
    text = problem_text(
        {
            "title": "A+B",
            "description": "Add.",
            "time_limit": "1 s",
            "examples": [{"input": "1 2\n", "output": "3\n"}],
            "note": None,
            "input_format": "Two numbers.",
        }
    )
    assert (
        text
        == "# A+B\n\nTime limit: 1 s\n\nAdd.\n\n## Input\nTwo numbers.\n\n## Example 1\nInput:\n```\n1 2\n```\nOutput:\n```\n3\n```"
    )


def test_ready_messages_win_over_raw_fields():
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert FORMATS["codeforces"].messages({"title": "t", "description": "d", "messages": talk}) == talk


def test_columns_that_fit_nothing_are_refused_with_what_is_known():
    with pytest.raises(
        PacelineError, match=r"no format has the columns foo, bar \(known: .*alpaca: instruction, output"
    ):
        recognise(["foo", "bar"], "auto", "x.jsonl")
    with pytest.raises(PacelineError, match="format alpaca needs column 'instruction'"):
        recognise(["prompt", "completion"], "alpaca", "x.jsonl")


def test_an_unknown_role_is_refused():
    with pytest.raises(PacelineError, match="unknown role 'robot'"):
        FORMATS["messages"].messages({"messages": [{"role": "robot", "content": "x"}]})
