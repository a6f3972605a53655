"""Alpaca's rows."""

from paceline.data.formats.alpaca import FORMAT


def test_an_input_follows_the_instruction_and_a_system_text_comes_first() -> None:
    row = {"instruction": "Translate.", "input": "chat", "output": "cat"}
    assert [m["content"] for m in FORMAT.messages(row)] == ["Translate.\n\nchat", "cat"]
    assert [m["content"] for m in FORMAT.messages({**row, "input": ""})] == ["Translate.", "cat"]
    assert FORMAT.messages({**row, "system": "Be brief."})[0] == {"role": "system", "content": "Be brief."}
