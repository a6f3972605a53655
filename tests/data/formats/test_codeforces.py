"""Problems of competitive programming."""

import pytest

from paceline.data.formats.codeforces import FORMAT, problem_messages, problem_text
from paceline.errors import DataError


def test_a_problem_is_built_from_what_the_row_has() -> None:
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
    assert text == (
        "# A+B\n\nTime limit: 1 s\n\nAdd.\n\n## Input\nTwo numbers.\n\n"
        "## Example 1\nInput:\n```\n1 2\n```\nOutput:\n```\n3\n```"
    )


def test_ready_messages_win_over_raw_fields() -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert FORMAT.conversation({"title": "t", "description": "d", "messages": talk}).messages == talk


def test_a_problem_without_an_answer_is_refused() -> None:
    with pytest.raises(DataError, match="neither `messages` nor a `description`"):
        problem_messages({"title": "t", "description": "d"})
