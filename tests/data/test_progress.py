"""Rows that take their time are told of, from the first second."""

import json
import uuid
from pathlib import Path

import pytest

from paceline.config.data import Data
from paceline.data import progress
from paceline.data.chat import load_chat
from paceline.data.tokens import load_tokens


def test_reading_and_tokenizing_are_told_with_their_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FIRST", 0)
    monkeypatch.setattr(progress, "EVERY", 0)
    rows = tmp_path / "rows.jsonl"
    new = uuid.uuid4().hex  # rows that an earlier run of the tests has cached are not tokenized again
    texts = ({"prompt": f"{new} {i}?", "completion": str(i)} for i in range(1200))
    rows.write_text("".join(json.dumps(text) + "\n" for text in texts))
    said: list[str] = []
    with progress.telling(said.append):
        load_tokens(Data(source=str(rows)), load_chat("embedded"))
    load_tokens(Data(source=str(rows), n=10), load_chat("embedded"))  # nobody listens any more
    assert said == [
        "rows read: 1,000",
        "rows read: 1,200",
        "rows tokenized: 500",
        "rows tokenized: 1,000",
        "rows tokenized: 1,200",
    ]
