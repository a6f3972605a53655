"""Ready conversations, T-Wix's among them."""

from typing import Any

import pytest

from paceline.data.formats import messages, twix
from paceline.errors import DataError

TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def test_messages_stay_as_they_are_and_a_null_content_is_empty() -> None:
    assert messages.FORMAT.messages({"messages": TALK}) == TALK
    assert messages.FORMAT.messages({"messages": [{"role": "user", "content": None}]})[0]["content"] == ""


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([{"role": "robot", "content": "x"}], "unknown role 'robot'"),
        ("text", "is not a list of turns"),
        (None, "is missing or null"),
    ],
)
def test_what_is_no_conversation_is_refused(turns: Any, message: Any) -> None:
    with pytest.raises(DataError, match=message):
        messages.FORMAT.messages({"messages": turns})


def test_the_task_is_the_rows_own_or_twixs_subset() -> None:
    assert messages.FORMAT.task({"messages": TALK}) == "all"
    assert messages.FORMAT.task({"messages": TALK, "task": "sums"}) == "sums"
    assert twix.FORMAT.task({"messages": TALK, "subset": "reasoning"}) == "reasoning"
