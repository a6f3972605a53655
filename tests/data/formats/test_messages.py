"""Ready conversations, T-Wix's among them."""

import json
from typing import Any

import pytest

from paceline.data.formats import messages, twix
from paceline.errors import DataError

TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def read(*turns: Any, **columns: Any) -> Any:
    return messages.FORMAT.conversation({"messages": list(turns), **columns})


USER = {"role": "user", "content": "q"}


def test_messages_stay_as_they_are_in_parts_or_as_json() -> None:
    assert read(*TALK).messages == TALK
    assert messages.FORMAT.conversation({"messages": json.dumps(TALK)}).messages == TALK
    parts = [{"type": "text", "text": "q"}, {"type": "text", "text": "!"}]
    assert read({"role": "user", "content": parts}).messages == [{"role": "user", "content": "q!"}]


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([{"role": "robot", "content": "x"}], "turn 1: unknown role 'robot'"),
        ("text", "is not a list of turns"),
        ("{}", "is not a list of turns"),
        (["x"], "is not a list of turns"),
        (None, "is missing or null"),
        ([{"role": "user", "content": None}], "turn 1: the content of the user is null"),
        (
            [USER, {"role": "assistant", "content": None, "tool_calls": []}],
            "turn 2: the content of the assis",
        ),
        ([{"role": "user", "content": 7}], "the content of the user is a number, not text"),
        ([{"role": "user", "content": {"a": 1}}], "the content of the user is an object, not text"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "a part of type 'image_url'",
        ),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "a part of type 'input_audio'"),
        ([{"role": "user", "content": [{"type": "text", "text": None}]}], "holds no text of its own"),
        ([{"role": "assistant", "content": "a", "weight": 0.5}], "weight is 0.5"),
        ([{"role": "assistant", "content": "a", "train": "yes"}], "train is 'yes'"),
        ([{"role": "assistant", "content": "a", "mask": True}], "`mask` may mean"),
        ([{"role": "assistant", "content": "a", "train": True, "weight": 0}], "contradict each other"),
        ([{"role": "user", "content": "q", "train": True}], "asks to learn a turn of the user"),
        ([{"role": "user", "content": "q", "reasoning": "hm"}], "reasoning in a turn of the user"),
        (
            [{"role": "user", "content": "q", "tool_calls": [{"name": "f"}]}],
            "tool calls in a turn of the user",
        ),
        ([{"role": "assistant", "content": "a", "reasoning": "x", "thinking": "y"}], "different thoughts"),
        ([{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}], "not valid JSON"),
        (
            [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[]"}]}],
            "f are a list, not an object",
        ),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "a call has no name"),
        ([{"role": "assistant", "tool_calls": 3}], "a number, where calls were expected"),
        ([{"role": "user", "content": "a", "value": "b"}], "content and value hold different texts"),
        (
            [
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "a"}],
                    "reasoning_content": "b",
                }
            ],
            "hold different thoughts",
        ),
    ],
)
def test_what_is_no_conversation_is_refused(turns: Any, message: Any) -> None:
    with pytest.raises(DataError, match=message):
        messages.FORMAT.conversation({"messages": turns})


@pytest.mark.parametrize(
    ("flag", "learned"),
    [
        ({}, True),
        ({"weight": 1.0}, True),
        ({"weight": 0}, False),
        ({"train": False}, False),
        ({"training": True}, True),
        ({"loss": 0}, False),
        ({"masked": True}, False),
        ({"masked": False, "train": True}, True),
    ],
)
def test_flags_say_which_turns_are_learned(flag: Any, learned: bool) -> None:
    assert read(USER, {**TALK[1], **flag}).supervised == (False, learned)


def test_calls_tools_thoughts_and_unknown_keys() -> None:
    call = {"function": {"name": "f", "arguments": '{"a": null}'}}
    turn = {"role": "assistant", "reasoning": "hm", "tool_calls": [call], "cost": 3, "index": None}
    found = read(USER, turn, tools=[{"name": "f", "parameters": {"properties": {"a": {}, "b": None}}}])
    assert found.messages[1] == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "hm",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": None}}}],
    }
    assert found.tools == [
        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {}}}}}
    ]
    assert found.unused == ("cost",)
    for tools in ("[", "3", [{"description": "x"}]):
        with pytest.raises(DataError, match="tools: "):
            read(USER, tools=tools)


def test_the_task_is_the_rows_own_or_twixs_subset() -> None:
    assert messages.FORMAT.task({"messages": TALK}) == "all"
    assert messages.FORMAT.task({"messages": TALK, "task": "sums"}) == "sums"
    assert twix.FORMAT.task({"messages": TALK, "subset": "reasoning"}) == "reasoning"
