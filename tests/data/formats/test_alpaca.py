"""Alpaca's rows."""

from paceline.data.formats.alpaca import FORMAT


def test_an_input_follows_the_instruction_and_a_system_text_comes_first() -> None:
    row = {"instruction": "Translate.", "input": "chat", "output": "cat"}
    assert [m["content"] for m in FORMAT.conversation(row).messages] == ["Translate.\n\nchat", "cat"]
    assert [m["content"] for m in FORMAT.conversation({**row, "input": ""}).messages] == ["Translate.", "cat"]
    assert FORMAT.conversation({**row, "system": "Be brief."}).messages[0] == {
        "role": "system",
        "content": "Be brief.",
    }
