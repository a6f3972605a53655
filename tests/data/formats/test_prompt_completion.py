"""Prompts and completions, as texts or as messages."""

from paceline.data.formats.prompt_completion import FORMAT

TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def test_texts_and_messages_give_the_same_conversation() -> None:
    assert FORMAT.messages({"prompt": "q", "completion": "a"}) == TALK
    assert FORMAT.messages({"prompt": TALK[:1], "completion": TALK[1:]}) == TALK
