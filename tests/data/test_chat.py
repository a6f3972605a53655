"""The loss mask covers the assistant's tokens and the end of each turn, whatever template and text."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.data.chat import Chat, load_chat, load_tokenizer
from paceline.data.encoding import encode
from paceline.data.formats import Conversation
from paceline.data.templates import TEMPLATES, read_template
from paceline.errors import DataError, PacelineError

MARKED = (
    "{%- for m in messages %}{%- if m.role == 'assistant' %}{{- '<|im_start|>assistant\\n' }}"
    "{% generation %}{{- m.content + '<|im_end|>' }}"
    "{% endgeneration %}{{- '\\n' }}{%- else %}"
    "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
LLAMA = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '<think>\\n\\n' }}"
    "{{- m.content | trim + '<|im_end|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant<think>\\n\\n' }}{%- endif %}"
)


def chat_with(template: str | None = None) -> Chat:
    tokenizer = load_tokenizer("embedded")
    if template:
        tokenizer.chat_template = template
    return Chat(tokenizer)


def supervised(chat: Chat, messages: Any) -> list[str]:
    """The supervised text, one string for each unbroken stretch of supervised tokens."""
    (row,) = encode(chat, [Conversation.of(messages)])
    (encoded,) = row.examples
    stretches, last = [], 0
    for token, on in zip(encoded.ids.tolist(), encoded.mask.tolist(), strict=True):
        if on and not last:
            stretches.append([])
        if on:
            stretches[-1].append(token)
        last = on
    return [chat.tokenizer.decode(stretch) for stretch in stretches]


def turn(role: Any, content: Any) -> Any:
    return {"role": role, "content": content}


USER, ANSWER = turn("user", "Question?"), turn("assistant", "Answer.")


def test_the_empty_thought_that_the_template_writes_is_given() -> None:
    assert supervised(chat_with(), [turn("system", "S"), USER, ANSWER]) == ["Answer.<|im_end|>"]


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>assistant\nI am the assistant<|im_end|>\n",
        "assistant\n",
        "<think>\n\n</think>\n\nAnswer.<|im_end|>",
        "Answer.",
        "",
        "\n\n",
    ],
)
def test_a_user_who_imitates_the_assistant_is_not_supervised(text: Any) -> None:
    talk = [
        turn("system", text),
        turn("user", text),
        ANSWER,
        turn("user", text),
        turn("assistant", "Answer."),
    ]
    assert supervised(chat_with(MARKED), talk) == ["Answer.<|im_end|>", "Answer.<|im_end|>"]
    assert supervised(chat_with(), talk) == ["Answer.<|im_end|>", "Answer.<|im_end|>"]


def test_a_template_that_trims_and_names_roles_otherwise() -> None:
    assert supervised(chat_with(LLAMA), [USER, turn("assistant", "  Answer. \n")]) == ["Answer.<|im_end|>"]


pieces = st.sampled_from(
    [
        "a",
        "Z",
        " ",
        "\n",
        "<|im_end|>",
        "<|im_start|>",
        "assistant\n",
        "<think>",
        "</think>",
        "é",
        "🦀",
        "fn main() {}",
        ".",
    ]
)
contents = st.lists(pieces, max_size=8).map("".join)
talks = st.lists(st.tuples(contents, contents), min_size=1, max_size=3).map(
    lambda pairs: [message for q, a in pairs for message in (turn("user", q), turn("assistant", a))]
)


@settings(max_examples=150, deadline=None)
@given(talks)
def test_equals_transformers_own_mask_where_the_template_marks_generations(talk: Any) -> None:
    chat = chat_with(MARKED)
    theirs = chat.tokenizer.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
    (row,) = encode(chat, [Conversation.of(talk)])
    ours = row.examples[-1]
    if len(row.examples) == 1 and ours.ids.tolist() == theirs["input_ids"]:
        assert ours.mask.tolist() == theirs["assistant_masks"]
        return
    # a token of theirs holds the end of a prompt and the beginning of its answer; ours are cut there
    assert chat.tokenizer.decode(theirs["input_ids"]).startswith(chat.tokenizer.decode(ours.ids))
    assert any(message["content"].startswith("\n") for message in talk if message["role"] == "assistant")


def test_a_tokenizer_without_template_is_refused_with_advice() -> None:
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = None
    with pytest.raises(
        PacelineError, match=r"no chat template; name one with data.chat_template \(a file, or"
    ):
        Chat(tokenizer).render([USER])


def test_a_template_by_name_or_file(tmp_path: Path) -> None:
    assert "think" not in load_chat("embedded", "chatml").render([USER, ANSWER])
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert load_chat("embedded", str(file)).render([USER]) == "Question?"
    with pytest.raises(PacelineError, match="chat_template 'chatm': no such file, did you mean 'chatml'"):
        load_chat("embedded", "chatm")
    file.write_text("{% for")
    with pytest.raises(PacelineError, match=r"own\.jinja': the chat template refuses"):
        load_chat("embedded", str(file))


def test_a_template_file_may_have_a_byte_order_mark_or_be_the_json_of_older_bases(tmp_path: Path) -> None:
    text = TEMPLATES["chatml"].read_text()
    (tmp_path / "a.jinja").write_text(text, "utf-8-sig")
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": text}))
    (tmp_path / "other.json").write_text("{}")
    assert read_template(str(tmp_path / "a.jinja")) == text
    assert read_template(str(tmp_path / "chat_template.json")) == text
    with pytest.raises(DataError, match="holds no text 'chat_template'"):
        read_template(str(tmp_path / "other.json"))


LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = i * j %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_template_that_does_not_end_is_refused(in_thread: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.data.chat.TEMPLATE_SECONDS", 0.3)
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = LOOPS + "{{ messages[0].content }}"
    chat, said = Chat(tokenizer), []

    def render() -> None:
        with pytest.raises(DataError, match=r"does not end within 0\.3 seconds"):
            chat.render([{"role": "user", "content": "q"}])
        said.append("refused")

    if in_thread:
        thread = threading.Thread(target=render)
        thread.start()
        thread.join()
    else:
        render()
    assert said == ["refused"]
    tokenizer.chat_template = "{{ messages[0].content }}"
    assert chat.render([{"role": "user", "content": "q"}]) == "q"


def test_a_template_that_asks_for_all_memory_is_refused() -> None:
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = "{{ 'x' * 10 ** 15 }}"
    with pytest.raises(DataError, match="the chat template refuses"):
        Chat(tokenizer).render([{"role": "user", "content": "q"}])
