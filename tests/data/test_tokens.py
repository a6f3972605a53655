"""From a file to a token data set."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline.config.data import Data
from paceline.data.chat import Chat, load_tokenizer
from paceline.data.formats import BUILT_IN
from paceline.data.tokens import load_tokens
from paceline.errors import DataError

USER, ANSWER = {"role": "user", "content": "Question?"}, {"role": "assistant", "content": "Answer."}
ROWS = {
    "messages": {"messages": [USER, ANSWER]},
    "twix": {"messages": [USER, ANSWER], "subset": "general"},
    "prompt-completion": {"prompt": "Question?", "completion": "Answer."},
    "alpaca": {"instruction": "Question?", "input": "Text.", "output": "Answer."},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "Question?"}, {"from": "gpt", "value": "Answer."}]
    },
    "strandset": {
        "crate_name": "c",
        "task_category": "code_summarization",
        "input_data": "{'code': 'fn f() {}'}",
        "output_data": '{"summary": "Answer."}',
        "test": "",
    },
    "conversation": {"conversation": [USER, ANSWER]},
    "question-answer": {"question": "Question?", "answer": "Answer."},
    "text": {"text": "Answer."},
    "codeforces": {"title": "T", "description": "Question?", "generation": "Answer."},
}


@pytest.fixture(scope="module")
def chat() -> Any:
    return Chat(load_tokenizer("embedded"))


@pytest.mark.parametrize("name", [row_format.name for row_format in BUILT_IN])
def test_every_format_from_a_file_to_a_mask(name: str, tmp_path: Path, chat: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(ROWS[name]) + "\n" for _ in range(3)))
    tokens = load_tokens(Data(source=str(path)), chat)
    assert tokens.format == name
    ids, mask = tokens.example(0)
    if name == "text":
        assert chat.tokenizer.decode(ids[mask == 1]) == "Answer.<|im_end|>"
        return
    assert chat.tokenizer.decode(ids[mask == 1]) == "Answer.<|im_end|>"
    assert chat.tokenizer.decode(ids[mask == 0]).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n\n")


def test_loss_on_all_supervises_every_token_of_the_same_examples(sums: str, chat: Any) -> None:
    answers, everything = (load_tokens(Data(source=sums, n=20), chat, on) for on in ("assistant", "all"))
    assert everything.loss_on == "all"
    for index in range(20):
        ids, mask = everything.example(index)
        assert ids.tolist() == answers.example(index)[0].tolist()
        assert mask.all()
    assert (everything.first == 0).all()
    assert (everything.supervised == everything.lengths).all()
    assert (answers.supervised < answers.lengths).all()


def test_the_small_columns_say_what_the_examples_are(sums: str, chat: Any) -> None:
    tokens = load_tokens(Data(source=sums, n=20), chat)
    for index in range(20):
        ids, mask = tokens.example(index)
        assert tokens.lengths[index] == len(ids)
        assert tokens.first[index] == int(np.argmax(mask))
        assert tokens.supervised[index] == mask.sum()
    assert tokens.counts == {sums: 20}
    assert set(tokens.tasks) == {"all"}


def test_a_row_that_cannot_be_read_is_numbered(tmp_path: Path, chat: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"prompt": "q", "completion": "a"}) + '\n{"prompt": "q", "completion": null}\n'
    )
    with pytest.raises(DataError, match="line 2: column 'completion' is missing or null"):
        load_tokens(Data(source=str(path)), chat)
