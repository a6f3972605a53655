"""What is learned of a conversation, for every format and template, against transformers' own rendering.

Nothing here calls the code that places the mask: prompts come from `apply_chat_template`, answers from rows.
"""

import json
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from data.template_bases import TRAITS, chat_of
from paceline.data.chat import Chat
from paceline.data.encoding import EncodedRow, encode
from paceline.data.formats import find_format, read_row
from paceline.errors import DataError

FAMILIES = sorted(TRAITS)
# the tags of calls and thoughts among them: text that looks like a template's own
PIECES = [
    "a",
    "Z9",
    " ",
    "\n",
    "assistant\n",
    "<tool_call>",
    "é",
    "🦀",
    "fn main() {\n    x\n}",
    ".",
    "<|im_end|>",
]
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join).filter(str.strip)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=3)
systems = st.none() | texts


def stretches(chat: Any, example: Any) -> list[tuple[list[int], list[int]]]:
    """(the tokens before, the tokens) of each unbroken stretch of supervised tokens."""
    ids, mask = example.ids.tolist(), example.mask.tolist()
    starts = [i for i in range(len(ids)) if mask[i] and not (i and mask[i - 1])]
    found = []
    for start in starts:
        end = next((i for i in range(start, len(ids)) if not mask[i]), len(ids))
        found.append((ids[:start], ids[start:end]))
    return found


def encoded(chat: Any, row: Any, name: str, thinking: Any = "every") -> EncodedRow:
    conversation, _ = read_row(find_format(name), row, {})
    (one,) = encode(chat, [conversation], thinking)
    if isinstance(one, DataError):
        raise one
    return one


def learned(chat: Any, row: Any, name: str = "messages", thinking: Any = "every") -> list[list[str]]:
    """The supervised texts of each example of a row."""
    return [
        [chat.tokenizer.decode(ids) for _, ids in stretches(chat, example)]
        for example in encoded(chat, row, name, thinking).examples
    ]


def rows_of(talk: Any, system: Any) -> dict[str, Any]:
    """A talk as the rows of every format that can hold it."""
    turns = [{"role": "system", "content": system}] if system else []
    for question, answer in talk:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    shared = [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns]
    *history, (question, answer) = talk
    before = {"history": [list(pair) for pair in history], **({"system": system} if system else {})}
    return {
        "messages": {
            "messages": [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
        },
        "twix": {"messages": json.dumps(turns), "subset": "general"},
        "conversation": {"conversation": turns},
        "sharegpt": {"conversations": [t for t in shared if t["from"] != "system"], "system": system},
        "alpaca": {"instruction": question, "input": "", "output": answer, **before},
        "question-answer": {"question": question, "answer": answer, **before},
    }


def prompt_of(chat: Any, messages: Any, **options: Any) -> list[int]:
    return list(
        chat.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False, **options
        )
    )


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(talk=pairs, system=systems)
def test_a_turn_and_its_end_are_learned_after_what_a_generation_prompt_gives(
    family: str, talk: Any, system: Any
) -> None:
    chat, trait = chat_of(family), TRAITS[family]
    messages = [{"role": "system", "content": system}] if system else []
    expected = []
    for question, answer in talk:
        messages.append({"role": "user", "content": question})
        prompts = [prompt_of(chat, messages), prompt_of(chat, messages, enable_thinking=False)]
        expected.append((prompts, trait.text(answer) + trait.end))
        messages.append({"role": "assistant", "content": answer})
    for name, row in rows_of(talk, system).items():
        found = [pair for example in encoded(chat, row, name).examples for pair in stretches(chat, example)]
        assert len(found) == len(expected), name
        for (before, answer_ids), (prompts, text) in zip(found, expected, strict=True):
            assert before in prompts, name
            assert chat.tokenizer.decode(answer_ids) == text, name


THOUGHTS = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "<think>\nfirst\n</think>\n\nOne."},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "reasoning_content": "second", "content": "Two."},
]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_thought_is_learned_after_the_prompt_that_will_ask_for_it(family: str) -> None:
    chat, trait = chat_of(family), TRAITS[family]
    row = encoded(chat, {"messages": THOUGHTS}, "messages")
    found = [pair for example in row.examples for pair in stretches(chat, example)]
    assert row.kind == "multi-turn, thinking"
    assert [chat.tokenizer.decode(ids) for _, ids in found] == [
        f"<think>\nfirst\n</think>\n\nOne.{trait.end}",
        f"<think>\nsecond\n</think>\n\nTwo.{trait.end}",
    ]
    assert found[0][0] == prompt_of(chat, THOUGHTS[:1])
    assert found[1][0] == prompt_of(chat, THOUGHTS[:3])
    assert len(row.examples) == (2 if family == "qwen3" else 1)
    assert row.removed == 0


def test_last_learns_the_last_answer_of_such_rows_and_all_of_others() -> None:
    chat = chat_of("qwen3")
    assert learned(chat, {"messages": THOUGHTS}, thinking="last") == [
        ["<think>\nsecond\n</think>\n\nTwo.<|im_end|>"]
    ]
    plain = [{**turn, "content": "x", "reasoning_content": None} for turn in THOUGHTS]
    assert learned(chat, {"messages": plain}, thinking="last") == [["x<|im_end|>", "x<|im_end|>"]]
    (note,) = encoded(chat, {"messages": THOUGHTS}, "messages", "last").notes
    assert note == "only the last answer is learned, since the chat template changes earlier ones"


def test_an_empty_thought_is_learned_only_where_asked() -> None:
    chat = chat_of("qwen3")
    plain = {"prompt": "q", "completion": "a"}
    assert learned(chat, plain, "prompt-completion") == [["a<|im_end|>"]]
    assert learned(chat, plain, "prompt-completion", "none") == [["<think>\n\n</think>\n\na<|im_end|>"]]
    assert learned(chat, {"messages": THOUGHTS}, thinking="none") == [
        ["<think>\n\n</think>\n\nOne.<|im_end|>"],
        ["<think>\n\n</think>\n\nTwo.<|im_end|>"],
    ]


CALL = {
    "id": "abcdefghi",
    "type": "function",
    "function": {"name": "add_up", "arguments": '{"first": 1, "w": "ö\\n"}'},
}
TOOLS = [
    {"type": "function", "function": {"name": "add_up", "parameters": {"type": "object", "properties": {}}}}
]
TRAJECTORY = [
    {"role": "user", "content": "Sum?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "name": "add_up", "tool_call_id": "abcdefghi", "content": "4"},
    {"role": "assistant", "content": "It is 4."},
]
SHARED = [
    {"from": "human", "value": "Sum?"},
    {"from": "function_call", "value": json.dumps({"name": "add_up", "arguments": {"first": 1, "w": "ö\n"}})},
    {"from": "observation", "value": "4"},
    {"from": "gpt", "value": "It is 4."},
]
HERMES = '<tool_call>\n{"name": "add_up", "arguments": {"first": 1, "w": "ö\\n"}}\n</tool_call><|im_end|>'
WRITTEN = {
    "qwen3": HERMES,
    "qwen2_5": HERMES,
    "llama3": '{"name": "add_up", "parameters": {"first": 1, "w": "ö\\n"}}<|eot_id|>',
    "mistral": '[TOOL_CALLS][{"name": "add_up", "arguments": {"first": 1, "w": "ö\\n"}, "id": "abcdefghi"}]'
    "<|endoftext|>",
    "chatml": HERMES,
}


@pytest.mark.parametrize("family", [name for name in FAMILIES if TRAITS[name].tools])
def test_a_call_is_learned_as_the_model_would_have_to_write_it(family: str) -> None:
    chat, trait = chat_of(family), TRAITS[family]
    for name, row in {
        "messages": {"messages": TRAJECTORY, "tools": json.dumps(TOOLS)},
        "sharegpt": {"conversations": SHARED, "tools": json.dumps([TOOLS[0]["function"]])},
    }.items():
        if family == "mistral" and name == "sharegpt":
            continue  # its calls have no id, which the template refuses
        one = encoded(chat, row, name)
        assert one.kind == "multi-turn, tools"
        found = [pair for example in one.examples for pair in stretches(chat, example)]
        assert [chat.tokenizer.decode(ids) for _, ids in found] == [WRITTEN[family], f"It is 4.{trait.end}"]
        given = [{**t, "content": t["content"] or ""} for t in TRAJECTORY]
        call = {
            **CALL,
            "function": {"name": "add_up", "arguments": json.loads(CALL["function"]["arguments"])},
        }
        given[1]["tool_calls"] = [call]
        assert found[0][0] == prompt_of(chat, given[:1], tools=TOOLS)
        assert found[1][0] in (
            prompt_of(chat, given[:3], tools=TOOLS),
            prompt_of(chat, given[:3], tools=TOOLS, enable_thinking=False),
        )


@pytest.mark.parametrize("family", [name for name in FAMILIES if TRAITS[name].tools])
@pytest.mark.parametrize("echo", ["user", "tool"])
def test_a_call_stays_one_whose_arguments_stand_in_the_talk_as_python_prints_them(
    family: str, echo: str
) -> None:
    printed = "{'first': 1, 'w': 'ö\\n'}"
    talk: list[dict[str, Any]] = [{**turn} for turn in TRAJECTORY]
    talk[0 if echo == "user" else 2]["content"] += f" called with {printed}"
    one = encoded(chat_of(family), {"messages": talk, "tools": TOOLS}, "messages")
    found = [pair for example in one.examples for pair in stretches(chat_of(family), example)]
    assert chat_of(family).tokenizer.decode(found[0][1]) == WRITTEN[family]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('{"a": 1, "a": 2}', "key 'a' twice"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a": 1234567890123456789.5}', "1234567890123456789.5 has more digits than a template keeps"),
        ('{"a": 1e999}', "1e999 has more digits"),
    ],
)
def test_arguments_that_would_be_written_as_others_are_refused(arguments: str, message: str) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    turns = [TRAJECTORY[0], {"role": "assistant", "content": None, "tool_calls": [call]}]
    with pytest.raises(DataError, match=message):
        encoded(chat_of("chatml"), {"messages": turns}, "messages")
    if message.startswith("key"):
        tools = f'[{{"name": "f", "parameters": {arguments}}}]'
        with pytest.raises(DataError, match=message):
            encoded(chat_of("chatml"), {"messages": TRAJECTORY, "tools": tools}, "messages")


def test_numbers_of_calls_are_the_template_s_and_those_of_results_as_they_stand() -> None:
    chat = chat_of("chatml")
    turns = (
        '[{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f", '
        '"arguments": {"a": 19.90, "b": 1e2}}}]}, {"role": "tool", "content": {"t": 21.50, "n": 1e5}}, '
        '{"role": "assistant", "content": "ok"}]'
    )
    (example,) = encoded(chat, {"messages": turns}, "messages").examples
    text = chat.tokenizer.decode(example.ids)
    assert '{"a": 19.9, "b": 100.0}' in text
    assert '{"t": 21.50, "n": 1e5}' in text


@pytest.mark.parametrize("family", ["qwen3", "chatml"])
@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("<think>\nt\n</think>\n\nz", "z"),
        ("t, which the prompt began</think>\n\nz", "z"),
        ("Hi <think>t</think> z", "Hi z"),
        ("<think>t</think>x<think>t</think>z", "xz"),
        ("No thought < here >", "No thought < here >"),
    ],
)
def test_thinking_none_leaves_no_thought(family: str, answer: str, left: str) -> None:
    talk = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]}
    ((text,),) = learned(chat_of(family), talk, thinking="none")
    assert text.endswith(f"{left}<|im_end|>")
    assert "t," not in text.replace(left, "")
    unended = {"messages": [talk["messages"][0], {"role": "assistant", "content": "<think>t"}]}
    with pytest.raises(DataError, match="does not end"):
        learned(chat_of(family), unended, thinking="none")


def test_a_thought_that_the_prompt_begins_is_not_removed() -> None:
    chat = chat_of("chatml")
    template = chat.tokenizer.chat_template
    chat.tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    thought = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nz"}
    one = encoded(Chat(chat.tokenizer), {"messages": [{"role": "user", "content": "q"}, thought]}, "messages")
    chat.tokenizer.chat_template = template
    assert (one.removed, one.notes) == (0, [])


@pytest.mark.parametrize("family", [name for name in FAMILIES if not TRAITS[name].tools])
@pytest.mark.parametrize("part", ["tools", "calls", "results"])
def test_a_template_without_tools_is_refused_with_the_reason(family: str, part: str) -> None:
    row: dict[str, Any] = {"messages": [TRAJECTORY[0], TRAJECTORY[3]], "tools": TOOLS}
    if part != "tools":
        row = {"messages": TRAJECTORY if part == "calls" else [TRAJECTORY[0], *TRAJECTORY[2:]]}
    if (family, part) in {("phi", "results"), ("smollm3", "tools"), ("smollm3", "results")}:
        assert encoded(chat_of(family), row, "messages").examples  # it writes these
        return
    with pytest.raises(DataError, match=r"the chat template (does not write|refuses)"):
        encoded(chat_of(family), row, "messages")


def test_hermes_text_stays_text() -> None:
    chat = chat_of("chatml")
    call = '<tool_call>\n{"name": "add_up", "arguments": {}}\n</tool_call>'
    row = {
        "tools": json.dumps(TOOLS),
        "conversations": [
            {"from": "system", "value": f"<tools>{json.dumps(TOOLS)}</tools>"},
            {"from": "human", "value": "Sum?"},
            {"from": "gpt", "value": call},
            {"from": "tool", "value": "<tool_response>\n4\n</tool_response>"},
            {"from": "gpt", "value": "4."},
        ],
    }
    one = encoded(chat, row, "sharegpt")
    text = chat.tokenizer.decode(one.examples[0].ids)
    assert learned(chat, row, "sharegpt") == [[f"{call}<|im_end|>", "4.<|im_end|>"]]
    assert text.count("<tool_response>") == text.count("<tools>") == 1


def test_text_is_learned_whole_with_its_end() -> None:
    chat = chat_of("chatml")
    assert learned(chat, {"text": "Once."}, "text") == [["Once.<|endoftext|>"]]
    assert learned(chat, {"text": "Once.<|endoftext|>"}, "text") == [["Once.<|endoftext|>"]]


def test_text_has_the_tokens_that_the_tokenizer_gives_it_with_its_beginning() -> None:
    """Where a word's form depends on what stands before it, a beginning written as text would change it."""
    words = ["<s>", "</s>", "<unk>", "▁Runs", "Runs", "▁on"]
    model = tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    inner = tokenizers.Tokenizer(model)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    (example,) = encoded(Chat(tokenizer), {"text": "Runs on"}, "text").examples
    assert example.ids.tolist() == tokenizer("Runs on</s>")["input_ids"] == [0, 3, 5, 1]
    assert example.mask.tolist() == [0, 1, 1, 1]
    (example,) = encoded(Chat(tokenizer), {"text": "<s>Runs on"}, "text").examples
    assert example.ids[0] == 0
    assert example.mask.all()


def test_an_empty_answer_between_others_is_named() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}] * 1
    turns += [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    one = encoded(chat_of("chatml"), {"messages": turns}, "messages")
    assert one.notes == ["an empty answer is learned: to end the turn at once"]


def test_what_a_template_leaves_out_is_counted_and_named() -> None:
    chat = chat_of("chatml")
    chat.tokenizer.chat_template = None
    with pytest.raises(DataError, match="no chat template"):
        encoded(chat, {"messages": THOUGHTS}, "messages")
    chat_of.cache_clear()
    eats = chat_of("chatml")
    eats.tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role != 'system' %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{{ m.content.split('</think>')[-1] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    )
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "q", "name": "Ann", "id": 1},
    ]
    one = encoded(eats, {"messages": [*turns, THOUGHTS[1]]}, "messages")
    chat_of.cache_clear()
    assert one.removed == len("<think>first</think>")
    assert one.notes == [
        "key 'id' of a turn is not used",
        "key 'name' of a turn is not written by the chat template",
        "the chat template leaves out text of the turns before an answer",
        "a generation prompt does not begin the answer as the chat template writes it",
    ]
