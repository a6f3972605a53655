"""ShareGPT's rows, and those that borrow its column for other keys."""

from paceline.data.formats.sharegpt import FORMAT


def test_its_roles_are_translated() -> None:
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    read = FORMAT.conversation({"conversations": turns}).messages
    assert [(m["role"], m["content"]) for m in read] == [("system", "s"), ("user", "q"), ("assistant", "a")]


def test_role_and_content_are_understood_too() -> None:
    turns = [{"role": "user", "content": "q"}]
    assert FORMAT.conversation({"conversations": turns}).messages == turns
