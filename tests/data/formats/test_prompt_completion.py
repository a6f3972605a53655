"""Prompts and completions, as texts or as messages."""

import pytest

from paceline.data.formats.prompt_completion import FORMAT
from paceline.errors import DataError

TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def test_texts_and_messages_give_the_same_conversation() -> None:
    assert FORMAT.conversation({"prompt": "q", "completion": "a"}).messages == TALK
    assert FORMAT.conversation({"prompt": TALK[:1], "completion": TALK[1:]}).messages == TALK


def test_a_system_text_comes_from_its_column_or_the_prompt() -> None:
    system = {"role": "system", "content": "s"}
    for row in (
        {"prompt": "q", "completion": "a", "system": "s"},
        {"prompt": [system, TALK[0]], "completion": "a"},
        {"prompt": [system, TALK[0]], "completion": "a", "system": "s"},
    ):
        assert FORMAT.conversation(row).messages == [system, *TALK]
    with pytest.raises(DataError, match="both column 'system' and the first turn hold a system text"):
        FORMAT.conversation({"prompt": [system, TALK[0]], "completion": "a", "system": "another"})
