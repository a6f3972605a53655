"""From a file to a token data set."""

import importlib
import json
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline.config.data import Data
from paceline.data.chat import Chat, load_tokenizer
from paceline.data.formats import BUILT_IN, registry
from paceline.data.tokens import NOT_FOUND, load_tokens
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
    assert set(tokens.tasks(np.arange(len(tokens)))) == {"all"}


def test_a_row_that_cannot_be_read_is_numbered(tmp_path: Path, chat: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"prompt": "q", "completion": "a"}) + '\n{"prompt": "q", "completion": null}\n'
    )
    with pytest.raises(DataError, match="line 2: column 'completion' is missing or null"):
        load_tokens(Data(source=str(path)), chat)


@pytest.mark.parametrize("key", ["eos_token", "bos_token"])
def test_tokens_of_another_special_token_are_not_read_from_the_cache(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "Once upon."}\n')
    ends = []
    for token in ("<|im_end|>", "<|endoftext|>"):
        tokenizer = load_tokenizer("embedded")
        tokenizer.chat_template = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"
        setattr(tokenizer, key, token)
        ids, _ = load_tokens(Data(source=str(path)), Chat(tokenizer)).example(0)
        ends.append((Chat(tokenizer).render([{"role": "user", "content": "q"}]), ids.tolist()))
    assert ends[0][0] != ends[1][0]
    if key == "eos_token":
        assert ends[0][1] != ends[1][1]


def test_tokens_of_a_format_whose_package_has_changed_are_not_read_from_the_cache(
    tmp_path: Path, chat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts count too, not only the file that reads the row."""
    package, path = tmp_path / "verses", tmp_path / "rows.jsonl"
    package.mkdir()
    path.write_text('{"verse": "Once upon."}\n')
    (package / "__init__.py").write_text("from verses.read import FORMAT")
    (package / "read.py").write_text(
        "from paceline.data.formats import Conversation, RowFormat\n"
        "from verses.ask import ask\n"
        "def read(row):\n"
        "    answer = {'role': 'assistant', 'content': row['verse']}\n"
        "    return Conversation.of([{'role': 'user', 'content': ask()}, answer])\n"
        "FORMAT = RowFormat('verses', ('verse',), read)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    points = EntryPoints([EntryPoint("verses", "verses:FORMAT", registry.GROUP)])
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
    read = []
    for question in ("First?", "Second?"):
        (package / "ask.py").write_text(f"def ask(): return {question!r}")
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.partition(".")[0] == "verses"]:
            del sys.modules[name]
        ids, _ = load_tokens(Data(source=str(path), format="verses"), chat).example(0)
        read.append(chat.tokenizer.decode(ids))
    assert ["First?" in read[0], "Second?" in read[1]] == [True, True]


def test_a_template_that_writes_the_date_writes_the_same_tomorrow() -> None:
    tokenizer = load_tokenizer("embedded")
    date = "strftime_now('%d %b %Y, %H:%M; %B %-d; %F.')"
    tokenizer.chat_template = "\n  {% if messages %}{{ " + date + " + messages[0].content }}{% endif %}"
    talk = [{"role": "user", "content": "q"}]
    assert Chat(tokenizer).render(talk) == "\n26 Jul 2024, 00:00; July 26; 2024-07-26.q"
    today = tokenizer.apply_chat_template(talk, tokenize=False)
    assert today.startswith("\n") == Chat(tokenizer).render(talk).startswith("\n")


LONE = {"messages": [{"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"}]}


def test_a_row_of_which_nothing_is_learned_is_a_bad_row(tmp_path: Path, chat: Any) -> None:
    path = tmp_path / "rows.jsonl"
    whole = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    path.write_text("".join(json.dumps(row) + "\n" for row in [whole] * 19 + [LONE]))
    tokens = load_tokens(Data(source=str(path)), chat)
    assert len(tokens) == 19
    assert [(row.where.endswith("line 20"), row.kind) for row in tokens.bad] == [(True, NOT_FOUND)]
    path.write_text(json.dumps(LONE) + "\n")
    with pytest.raises(DataError, match="line 1: what the chat template writes of the answer cannot be told"):
        load_tokens(Data(source=str(path)), chat)
    with pytest.raises(DataError, match=r"no example is left to learn from; .*line 1"):
        load_tokens(Data(source=str(path), max_bad_rows=1), chat)


def test_a_column_that_some_rows_lack_may_have_another_name(tmp_path: Path, chat: Any) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": "q", "completion": "a", "sys": "Be brief."}, {"prompt": "q", "completion": "a"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokens = load_tokens(Data(source=str(path), columns={"system": "sys"}), chat)
    assert [
        ("Be brief." in chat.tokenizer.decode(tokens.example(i)[0])) for i in np.argsort(tokens.column("row"))
    ] == [True, False]


def test_turns_in_cells_are_turns(tmp_path: Path, chat: Any) -> None:
    talk = '[{""role"": ""user"", ""content"": ""What?""}]'
    (tmp_path / "a.csv").write_text(f'prompt,completion,history\n"{talk}",Yes,"[[""q"", ""a""]]"\n')
    ids, _ = load_tokens(Data(source=str(tmp_path / "a.csv")), chat).example(0)
    text = chat.tokenizer.decode(ids)
    assert "user\nq<|im_end|>" in text
    assert "user\nWhat?<|im_end|>" in text
    assert "role" not in text


def test_rows_without_a_subset_are_read_as_conversations(tmp_path: Path, chat: Any) -> None:
    path = tmp_path / "rows.jsonl"
    whole = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    path.write_text(json.dumps({**whole, "subset": "general"}) + "\n" + json.dumps(whole) + "\n")
    tasks = load_tokens(Data(source=str(path)), chat).tasks(np.arange(2))
    assert sorted(tasks) == ["all", "general"]
