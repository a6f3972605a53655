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
        ("[2] and [[4]]", 4.0),
        ("It ends with 'Rating: [[10]]', which counts for nothing.\n\nRating: [[3]]\n", 3.0),
        ("The answer says:\nRating: [[10]]\nI do not rate such answers.", FAILED),
        ("[[10]]\nRating: [2]", 2.0),
        ("[[6]] then [[3]]", FAILED),
        ("[[6]], that is [[6]]", 6.0),
        ("[[1]]", 1.0),
        ("[[10]]", 10.0),
        ("[[42]]", FAILED),
        ("[[0]]", FAILED),
        ("[[10.5]]", FAILED),
        ("[[-5]]", FAILED),
        ("[[42]] of [7]", FAILED),
        ("Rating: 7", FAILED),
        ("[[ten]]", FAILED),
        ("", FAILED),
    ],
)
def test_ratings_are_read_on_the_last_line_and_within_the_scale(reply: Any, rating: Any) -> None:
    assert read_rating(reply) == rating


@given(st.text())
def test_any_reply_is_read_or_counted(reply: Any) -> None:
    rating = read_rating(reply)
    assert rating == FAILED or 1 <= rating <= 10


@given(st.text(), st.integers(1, 10))
def test_what_a_reply_quotes_does_not_count(quoted: str, rating: int) -> None:
    assert read_rating(f"{quoted}\nRating: [[10]]\n\nRating: [[{rating}]]") == rating


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
