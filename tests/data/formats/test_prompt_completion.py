"""Prompts and completions, as texts or as messages."""

from paceline.data.formats.prompt_completion import FORMAT

TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def test_texts_and_messages_give_the_same_conversation() -> None:
    assert FORMAT.conversation({"prompt": "q", "completion": "a"}).messages == TALK
    assert FORMAT.conversation({"prompt": TALK[:1], "completion": TALK[1:]}).messages == TALK
