"""The loss mask covers the assistant's tokens and the end of each turn, whatever template and text."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.data.chat import Chat, load_tokenizer
from paceline.errors import PacelineError

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
    (encoded,) = chat.encode([messages])
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


def test_last_turn_with_no_thought_learns_the_empty_thought_that_the_template_writes() -> None:
    assert supervised(chat_with(), [turn("system", "S"), USER, ANSWER]) == [
        "<think>\n\n</think>\n\nAnswer.<|im_end|>"
    ]


def test_every_turn_is_supervised_and_earlier_thoughts_are_gone() -> None:
    talk = [
        USER,
        turn("assistant", "<think>\nhm\n</think>\n\nOne."),
        turn("user", "More?"),
        turn("assistant", "<think>\nwell\n</think>\n\nTwo."),
    ]
    assert supervised(chat_with(), talk) == ["One.<|im_end|>", "<think>\nwell\n</think>\n\nTwo.<|im_end|>"]


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
    assert supervised(chat_with(), talk) == ["Answer.<|im_end|>", "<think>\n\n</think>\n\nAnswer.<|im_end|>"]


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
    (ours,) = chat.encode([talk])
    assert ours.ids.tolist() == theirs["input_ids"]
    # a token over the border of a turn holds characters that the model is given: ours leaves it out, theirs
    # counts it in
    differing = np.flatnonzero(ours.mask != np.asarray(theirs["assistant_masks"]))
    text = chat.render(talk)
    offsets = chat.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    spans = chat.assistant_spans(talk, text)
    assert all(
        any(
            offsets[i][0] < start < offsets[i][1] or offsets[i][0] < end < offsets[i][1]
            for start, end in spans
        )
        for i in differing
    )


@settings(max_examples=150, deadline=None)
@given(talks)
def test_qwen_style_template_supervises_each_answer_and_its_end_and_nothing_else(talk: Any) -> None:
    chat = chat_with()
    text = chat.render(talk)
    spans = chat.assistant_spans(talk, text)
    assert len(spans) == len(talk) // 2
    assert all(text[start:end].endswith("<|im_end|>") for start, end in spans)
    assert all(text[:start].endswith("<|im_start|>assistant\n") for start, _ in spans)
    assert [end for _, end in spans[:-1]] <= [start for start, _ in spans[1:]]
    for (start, end), message in zip(spans, talk[1::2], strict=True):
        assert message["content"].split("</think>")[-1].strip("\n") in text[start:end]


def test_a_tokenizer_without_template_is_refused_with_advice() -> None:
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = None
    with pytest.raises(PacelineError, match=r"no chat template; put a `chat_template.jinja`"):
        Chat(tokenizer)
