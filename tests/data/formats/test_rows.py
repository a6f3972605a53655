"""Columns under other names, earlier turns beside the answer, and what no row may have."""

from typing import Any

import pytest

from paceline.data.formats import find_format, read_row, recognise, renamed
from paceline.errors import DataError


def turns(row: Any, name: str, **names: str) -> list[tuple[str, str]]:
    conversation, _ = read_row(find_format(name), row, names)
    return [(message["role"], message["content"]) for message in conversation.messages]


def test_history_and_system_become_turns() -> None:
    row = {"instruction": "i", "output": "o", "history": [["q", "a"]], "system": "s"}
    expected = [("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "i"), ("assistant", "o")]
    assert turns(row, "alpaca") == expected
    assert turns({**row, "history": None, "system": ""}, "alpaca") == expected[3:]
    as_turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert (
        turns({"question": "i", "answer": "o", "history": as_turns, "system": "s"}, "question-answer")
        == expected
    )
    talk = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert turns({"conversations": talk, "system": "s"}, "sharegpt") == expected[:3]
    assert turns({"conversations": talk, "system": None}, "sharegpt") == expected[1:3]


def test_turns_of_the_prompt_are_given_and_not_learned() -> None:
    prompt = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    row = {"prompt": [*prompt, prompt[0]], "completion": [prompt[1]]}
    conversation, _ = read_row(find_format("prompt-completion"), row, {})
    assert conversation.supervised == (False, False, False, True)


def test_columns_have_other_names_and_those_that_were_read_are_known() -> None:
    row = {"q": "x", "a": "y", "completion": "other", "id": 3, "task": None}
    names = {"prompt": "q", "completion": "a"}
    assert renamed(row, names, "f") == ["prompt", "completion", "id", "task"]
    conversation, task = read_row(find_format("prompt-completion"), row, names)
    assert [message["content"] for message in conversation.messages] == ["x", "y"]
    assert (task, conversation.columns) == ("all", {"q", "a", "task"})
    with pytest.raises(DataError, match="data 'f': columns: prompt is to be 'w', and the rows have q, a"):
        renamed(row, {"prompt": "w"}, "f")


@pytest.mark.parametrize(
    ("row", "name", "said"),
    [
        (
            {"prompt": "q", "completion": "a", "weight": 0.3},
            "prompt-completion",
            "'weight' is 0.3, and nothing reads it",
        ),
        ({"prompt": "q", "completion": 0.5}, "prompt-completion", "column 'completion' is of type float"),
        ({"prompt": "q", "completion": [1]}, "prompt-completion", "holds a list, but not of turns"),
        ({"instruction": "q", "output": "a", "history": [["x"]]}, "alpaca", "not a list of pairs of texts"),
        ({"instruction": "q", "output": "a", "history": 3}, "alpaca", "column 'history' is not a list"),
        ({"question": "q", "answer": None}, "question-answer", "column 'answer' is missing or null"),
        (
            {"conversations": [{"from": "system", "value": "a"}], "system": "b"},
            "sharegpt",
            "both column 'system' and the first turn",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(row: Any, name: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_row(find_format(name), row, {})
    assert read_row(find_format("text"), {"text": "a", "weight": 1}, {})


@pytest.mark.parametrize(("value", "weight"), [(2, 2.0), (0, 0.0), (0.25, 0.25), ("1.5", 1.5)])
def test_a_mapped_column_is_the_rows_weight(value: Any, weight: float) -> None:
    row = {"prompt": "q", "completion": "a", "w": value}
    conversation, _ = read_row(find_format("prompt-completion"), row, {"weight": "w"})
    assert conversation.weight == weight
    assert "w" in conversation.columns


@pytest.mark.parametrize(
    "value", [-1, float("nan"), float("inf"), 1e39, 10**400, "heavy", "", True, None, [1]]
)
def test_what_is_no_weight_is_refused(value: Any) -> None:
    row = {"text": "a", "weight": value}
    with pytest.raises(DataError, match=r"column 'weight' is .*, and a row's weight is a number from 0"):
        read_row(find_format("text"), row, {"weight": "weight"})


def test_preference_pairs_are_refused_with_advice() -> None:
    with pytest.raises(DataError, match="preference pairs"):
        recognise(["prompt", "chosen", "rejected"], "auto", "x")
