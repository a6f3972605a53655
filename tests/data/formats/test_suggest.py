"""Which columns are probably a question and its answer."""

import pytest

from paceline.data.formats.registry import recognise
from paceline.data.formats.suggest import suggest_columns
from paceline.errors import DataError


@pytest.mark.parametrize(
    ("columns", "mapping"),
    [
        (["q", "a"], {"prompt": "q", "completion": "a"}),
        (["id", "User Prompt", "ModelResponse"], {"prompt": "User Prompt", "completion": "ModelResponse"}),
        (["prompt", "reply"], {"completion": "reply"}),
        (["chat_turns", "source"], {"messages": "chat_turns"}),
        (["body"], {"text": "body"}),
        (["alpha", "beta"], {}),
        (["equation", "aside"], {}),  # holds a word's letters, not the word
    ],
)
def test_names_suggest_a_mapping(columns: list[str], mapping: dict[str, str]) -> None:
    assert suggest_columns(columns) == mapping


def test_a_refusal_gives_the_mapping_that_would_mend_it() -> None:
    with pytest.raises(DataError, match=r"columns q, reply; .*--columns '\{prompt: q, completion: reply\}'"):
        recognise(["q", "reply"], "auto", "rows.jsonl")
