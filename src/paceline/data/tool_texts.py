"""Whether a chat template writes tools, calls and results, and in which form it wants their arguments."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from paceline.config.fields import Fields
from paceline.data.formats import Messages
from paceline.errors import DataError

_PYTHON = {"true": "True", "false": "False", "null": "None"}
# Arguments that no call has.
_PROBE = {"zq7xkjv": "zq7xkjw"}


def write_arguments(messages: Messages, render: Callable[[Messages], str]) -> tuple[Messages, str]:
    """The turns, and their text, with the arguments of calls in the form that the template writes as JSON.

    Most templates take an object; some put a text as it is into theirs.

    Raises:
        DataError: the template refuses the conversation.
    """
    try:
        text = render(messages)
    except DataError:
        if not any(message.get("tool_calls") for message in messages):
            raise
        text = ""
    reprs = [repr(a) for message in messages for a in map(_arguments, message.get("tool_calls") or []) if a]
    if text and not (any(shown in text for shown in reprs) and _writes_python(messages, render)):
        return messages, text
    as_text = [
        _with_arguments(message, lambda given: json.dumps(given, ensure_ascii=False)) for message in messages
    ]
    return as_text, render(as_text)


def _writes_python(messages: Messages, render: Callable[[Messages], str]) -> bool:
    """Whether the template writes arguments that are objects in Python's form, not as JSON."""
    return repr(_PROBE) in render([_with_arguments(message, lambda _: _PROBE) for message in messages])


def _arguments(call: Fields) -> Any:
    return call["function"]["arguments"]


def _with_arguments(message: Fields, change: Callable[[Any], Any]) -> Fields:
    calls = [
        {**call, "function": {**call["function"], "arguments": change(_arguments(call))}}
        for call in message.get("tool_calls") or []
    ]
    return {**message, "tool_calls": calls} if calls else message


def check_tools(
    messages: Messages,
    tools: list[Fields] | None,
    text: str,
    answers: Mapping[int, str],
    without_tools: Callable[[], str],
) -> None:
    """Refuses a conversation of whose tools, calls or results the template leaves something out.

    Args:
        answers: what is learned of each turn, where it is known.
        without_tools: renders the same without tools.
    """
    for tool in tools or []:
        name = tool["function"]["name"]
        if name not in text:
            raise DataError(f"the chat template does not write the row's tools ({name!r} is missing)")
    if tools and without_tools() == text:
        raise DataError("the chat template does not write the row's tools: the text is the same without them")
    for place, message in enumerate(messages):
        for call in message.get("tool_calls") or []:
            _check_call(call["function"], answers.get(place, text))
        if message["role"] == "tool" and not _is_in(message["content"], text):
            raise DataError("the chat template does not write the tools' results")


def _check_call(function: Fields, text: str) -> None:
    if function["name"] not in text:
        raise DataError(f"the chat template does not write tool calls ({function['name']!r} is missing)")
    arguments = function["arguments"]
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    for leaf in _leaves(arguments):
        # XML-like forms write Python's own words
        if not _is_in(leaf, text) and _PYTHON.get(leaf, leaf) not in text:
            raise DataError(
                f"the chat template does not write the arguments of tool calls ({leaf!r} of "
                f"{function['name']!r} is missing)"
            )


def _leaves(value: Any) -> Iterator[str]:
    """All keys and plain values of nested arguments as text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_in(part: str, text: str) -> bool:
    """Whether a text holds a part: as it is, or as a JSON text has it."""
    forms = (part.strip(), *(json.dumps(part, ensure_ascii=ascii)[1:-1].strip() for ascii in (True, False)))
    return any(form in text for form in forms)
