"""The benchmark's questions from files."""

import json
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import PacelineError
from paceline.evaluate.mtbench.questions import load_questions


def test_references_and_a_part_spread_over_the_categories(tmp_path: Path, file: Any) -> None:
    reference = {"question_id": 903, "choices": [{"turns": ["r1", "r2"]}]}
    (tmp_path / "reference_answer_x.jsonl").write_text(json.dumps(reference))
    assert load_questions(str(tmp_path))[3].reference == ("r1", "r2")
    assert [q.category for q in load_questions(str(tmp_path), 6)] == [
        "writing",
        "math",
        "reasoning",
        "coding",
        "writing",
        "math",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1: broken JSON"),
        ('{"turns": ["x"]}', "line 1: no 'question_id' in it"),
        ("", "no question in it"),
    ],
)
def test_questions_that_are_none(tmp_path: Path, text: Any, said: Any) -> None:
    (tmp_path / "q.jsonl").write_text(text)
    with pytest.raises(PacelineError) as caught:
        load_questions(str(tmp_path / "q.jsonl"))
    assert said in str(caught.value)
