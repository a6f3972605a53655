"""What a judge is asked, and how its reply is read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import EvaluationError
from paceline.evaluate.mtbench.protocol import (
    OWN,
    judge_prompt,
    load_templates,
    read_rating,
    template_name,
)
from paceline.evaluate.mtbench.questions import load_questions
from paceline.runs.evaluations import FAILED


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Good. Rating: [[7]]", 7.0),
        ("[[8.5]] or so", 8.5),
        ("Rating: [9]", 9.0),
        ("[[6]] then [[3]]", 6.0),
        ("[2] and [[4]]", 4.0),
        ("Rating: 7", FAILED),
        ("[[ten]]", FAILED),
        ("", FAILED),
    ],
)
def test_ratings_are_read_by_the_two_published_patterns(reply: Any, rating: Any) -> None:
    assert read_rating(reply) == rating


@given(st.text())
def test_any_reply_is_read_or_counted(reply: Any) -> None:
    assert isinstance(read_rating(reply), float)


def test_references_choose_the_template(file: Any) -> None:
    questions = load_questions(str(file))
    assert [template_name(q, 0) for q in questions[:4]] == [
        "single-v1",
        "single-math-v1",
        "single-math-v1",
        "single-v1",
    ]
    asked = judge_prompt(OWN, questions[1], ["twelve", "sixteen"], 1)[1]["content"]
    for text in ("12", "16", "twelve", "sixteen", *questions[1].turns):
        assert text in asked
    assert "sixteen" not in judge_prompt(OWN, questions[1], ["twelve", "sixteen"], 0)[1]["content"]


def test_published_prompts_are_read_from_a_file(tmp_path: Path) -> None:
    rows = [{"name": name, "system_prompt": "S", "prompt_template": "{" + "answer" + "}"} for name in OWN]
    file = tmp_path / "judge_prompts.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    assert load_templates(str(file))["single-v1"].system == "S"
    file.write_text(json.dumps(rows[0]))
    with pytest.raises(EvaluationError, match="no template 'single-math-v1' in it"):
        load_templates(str(file))
    with pytest.raises(EvaluationError, match="cannot be read as judge prompts"):
        load_templates(str(tmp_path / "none.jsonl"))
