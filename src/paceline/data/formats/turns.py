"""Turns as files and requests have them, as the turns that chat templates take."""

from collections.abc import Mapping
from typing import Any

from paceline.config.fields import Fields
from paceline.data.formats.row_format import ROLES, Conversation, Messages, Row, kind_of, required
from paceline.data.formats.tools import read_calls, read_tools
from paceline.data.text import read_json, write_json
from paceline.errors import DataError

# What other data sets call the roles.
_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function": "tool",
}
_REASONING = ("reasoning_content", "reasoning", "thinking")
# Flags that say whether a turn is learned: {key: whether a true one says yes}.
_FLAGS = {"weight": True, "train": True, "training": True, "loss": True, "masked": False}
_KNOWN = {"role", "from", "content", "value", "tool_calls", "function_call", "tool_call_id", "name"}
_KNOWN |= {*_REASONING, *_FLAGS}


def read_conversation(row: Row, column: str, tools: str = "tools", system: str = "system") -> Conversation:
    """A column that holds turns, with the row's tools and its system text, if it has any.

    Raises:
        DataError: not a list of turns; a turn that cannot be read, with its number.
    """
    turns = list_of_turns(required(row, column), f"column {column!r}")
    if row.get(system):
        if not isinstance(row[system], str):
            raise DataError(f"column {system!r} holds {kind_of(row[system])}, not text")
        turns = with_system(turns, row[system], system)
    return read_turns(turns, read_tools(row.get(tools)))


def with_system(turns: list[Fields], text: str, column: str = "system") -> list[Fields]:
    """Turns that begin with a system text from a column.

    Raises:
        DataError: they begin with another one.
    """
    if not turns or _role(turns[0]) != "system":
        return [{"role": "system", "content": text}, *turns]
    if turns[0].get("content", turns[0].get("value")) != text:
        raise DataError(f"both column {column!r} and the first turn hold a system text")
    return turns


def list_of_turns(value: Any, where: str) -> list[Fields]:
    """A list of mappings, or one written as JSON; DataError for anything else."""
    if isinstance(value, str):
        value = json_value(value, where)
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise DataError(f"{where} is not a list of turns")
    return value


def json_value(text: str, where: str) -> Any:
    """What the JSON text of turns holds.

    Raises:
        DataError: it is no JSON.
    """
    try:
        return read_json(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not a list of turns, and no JSON text of one ({error})") from error


def is_text_of_turns(text: str) -> bool:
    """Whether a text is the JSON text of turns, with their roles."""
    if not text.lstrip().startswith("["):
        return False
    try:
        turns = read_json(text)
    except (ValueError, RecursionError):
        return False
    return bool(turns) and all(isinstance(turn, dict) and {"role", "from"} & set(turn) for turn in turns)


def read_turns(turns: list[Fields], tools: list[Fields] | None = None) -> Conversation:
    """Raw turns as a conversation.

    Raises:
        DataError: a turn that cannot be read, with its number.
    """
    messages: Messages = []
    supervised, unused = [], dict[str, None]()
    for number, turn in enumerate(turns, 1):
        try:
            messages.append(_message(turn))
            supervised.append(_is_learned(turn, messages[-1]["role"]))
        except DataError as error:
            raise DataError(f"turn {number}: {error}") from error
        unused |= {key: None for key, value in turn.items() if key not in _KNOWN and value is not None}
    return Conversation(messages, tuple(supervised), tools, unused=tuple(unused))


def _role(turn: Mapping[str, Any]) -> str:
    role = turn.get("role") if turn.get("role") is not None else turn.get("from")
    return _ROLES.get(str(role), str(role)) if role is not None else "None"


def _message(turn: Fields) -> dict[str, Any]:
    role = _role(turn)
    if role not in ROLES:
        raise DataError(f"unknown role {role!r}; known: {', '.join(sorted(ROLES))}")
    content = _content(turn)
    calls = turn.get("tool_calls") or turn.get("function_call")
    if "function_call" in (turn.get("role"), turn.get("from")):
        calls, content = content, None
    message: dict[str, Any] = {"role": role, "content": ""}
    if calls:
        if role != "assistant":
            raise DataError(f"tool calls in a turn of the {role}")
        message["tool_calls"] = read_calls(calls)
    elif content is None:
        raise DataError(f"the content of the {role} is null")
    thought, thought_in_parts = _reasoning(turn, role), ""
    if content is not None:
        message["content"], thought_in_parts = _text(content, role)
    if thought := _one_of(thought, thought_in_parts):
        message["reasoning_content"] = thought
    for key in ("tool_call_id", "name"):
        if turn.get(key) is not None:
            message[key] = turn[key]
    return message


def _content(turn: Fields) -> Any:
    given = [turn[key] for key in ("content", "value") if turn.get(key) is not None]
    if len(given) > 1 and given[0] != given[1]:
        raise DataError("content and value hold different texts")
    return given[0] if given else None


def _one_of(thought: str, in_parts: str) -> str:
    if thought and in_parts and thought.strip() != in_parts.strip():
        raise DataError("the parts of the content and another field hold different thoughts")
    return thought or in_parts


def _reasoning(turn: Fields, role: str) -> str:
    given = {key: turn[key] for key in _REASONING if turn.get(key)}
    for key, value in given.items():
        if not isinstance(value, str):
            raise DataError(f"{key} holds {kind_of(value)}, not text")
        if role != "assistant":
            raise DataError(f"{key} in a turn of the {role}")
    if len(set(given.values())) > 1:
        raise DataError(f"{' and '.join(given)} hold different thoughts")
    return next(iter(given.values()), "")


def _text(content: Any, role: str) -> tuple[str, str]:
    """What a content says, and what it thinks: text as it is, text parts joined."""
    if isinstance(content, str):
        return content, ""
    if role == "tool" and isinstance(content, dict):
        return write_json(content), ""  # a result as an object
    if not isinstance(content, list):
        raise DataError(f"the content of the {role} is {kind_of(content)}, not text")
    if role == "tool" and not all(isinstance(part, dict) and "type" in part for part in content):
        return write_json(content), ""
    said: dict[str, list[str]] = {"text": [], "thinking": []}
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else kind_of(part)
        if (
            kind not in said
            or not isinstance(part.get(kind), str)
            or (kind != "text" and role != "assistant")
        ):
            raise DataError(
                f"the content of the {role} has a part of type {kind!r}; only text can be trained on"
                if kind not in said
                else f"a part of type {kind!r} of the {role} holds no text of its own"
            )
        said[kind].append(part[kind])
    return "".join(said["text"]), "".join(said["thinking"])


def _is_learned(turn: Fields, role: str) -> bool:
    """Whether a turn's flags, if it has any, let it be learned."""
    if turn.get("mask") is not None:
        raise DataError("`mask` may mean learned or left out; say `train: true` or `train: false`")
    said: dict[str, bool] = {}
    for key, yes in _FLAGS.items():
        value = turn.get(key)
        if value is None:
            continue
        if value not in (0, 1):
            raise DataError(f"{key} is {value!r}; a turn is learned (1, true) or not (0, false)")
        said[key] = bool(value) is yes
    if len(set(said.values())) > 1:
        raise DataError(f"{' and '.join(said)} contradict each other")
    learned = next(iter(said.values()), role == "assistant")
    if learned and role != "assistant":
        raise DataError(f"{next(iter(said))} asks to learn a turn of the {role}; only the assistant's can be")
    return learned
