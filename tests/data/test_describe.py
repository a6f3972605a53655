"""The summary of a data set."""

import pytest

from paceline.config.data import Data
from paceline.data.chat import Chat, load_tokenizer
from paceline.data.describe import describe
from paceline.data.tokens import load_tokens
from paceline.errors import DataError


def test_figures_and_an_example(sums: str) -> None:
    chat = Chat(load_tokenizer("embedded"))
    tokens = load_tokens(Data(source=sums), chat)
    summary = describe(tokens, chat, 3)
    assert (summary.rows, summary.format, summary.dropped, summary.tasks) == (
        240,
        "prompt-completion",
        0,
        {"all": 240},
    )
    assert summary.length["p50"] <= summary.length["p95"] <= summary.length["max"] == tokens.lengths.max()
    assert summary.fits[2048] == 1.0
    assert list(summary.examples) == ["plain"] == list(summary.kinds)
    example = summary.examples["plain"]
    assert "".join(text for text, _ in example) == chat.tokenizer.decode(tokens.example(3)[0])
    assert [supervised for _, supervised in example] == [False, True, False]
    with pytest.raises(DataError, match="--example 241: there are 240 examples"):
        describe(tokens, chat, 240)
