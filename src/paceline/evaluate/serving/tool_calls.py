"""Tools of a request: whether the chat template takes them, and the calls that an answer holds."""

from __future__ import annotations

import json
import uuid
from functools import partial
from typing import Any

from paceline.config.fields import Fields
from paceline.data.formats import Messages
from paceline.data.formats.tools import read_calls
from paceline.data.tool_texts import write_arguments
from paceline.errors import DataError
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.serving.body import RequestError

# The form of Hermes and Qwen: JSON {name, arguments} between these.
OPEN, CLOSE = "<tool_call>", "</tool_call>"
_PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": "zq7xkjv",
        "description": "zq7xkjw",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
_PROBE_CALL = {"type": "function", "function": {"name": "zq7xkjv", "arguments": {"place": "zq7xkjx"}}}


def read_answer(text: str) -> tuple[str, list[Fields]]:
    """What an answer says beside its calls, and the calls. One that is malformed stays in the text."""
    said, calls, place = "", list[Fields](), 0
    while (start := text.find(OPEN, place)) >= 0:
        call, end = _read_call(text, start + len(OPEN))
        said += text[place : start if call else end]
        calls += [call] if call else []
        place = end
    said += text[place:]
    return (said.rstrip() if calls else said), calls


def _read_call(text: str, start: int) -> tuple[Fields | None, int]:
    """The call between two marks and the place after it; None, and where to look on, for what is none."""
    space = len(text[start:]) - len(text[start:].lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(text, start + space)
        rest = text[end:].lstrip()
        if isinstance(value, dict) and rest.startswith(CLOSE):
            return read_calls(value)[0], len(text) - len(rest) + len(CLOSE)
    except (ValueError, RecursionError, DataError):
        pass
    return None, start


def to_openai(call: Fields) -> Fields:
    """A call as OpenAI writes it: with an id of its own, and its arguments as JSON text."""
    function: Any = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def refuse_without_tools(adapter_set: AdapterSet) -> None:
    """Refuses a chat template that takes no tools, or writes calls in a form that is not read back.

    Raises:
        RequestError: which of the two.
    """
    question: Messages = [{"role": "user", "content": "?"}]
    turns: Messages = [*question, {"role": "assistant", "content": "", "tool_calls": [_PROBE_CALL]}]
    try:
        adapter_set.prompt(question, False, [_PROBE_TOOL])
        _, text = write_arguments(turns, partial(adapter_set.chat.render, tools=[_PROBE_TOOL]))
    except DataError as error:
        message = "the model's chat template takes no tools"
        raise RequestError(message, "tools", "unsupported_parameter") from error
    tokens = adapter_set.chat.tokenizer(text, add_special_tokens=False)["input_ids"]
    if read_calls(_PROBE_CALL)[0] not in read_answer(adapter_set.text(tokens))[1]:
        message = f"the model's chat template writes calls in another form than {OPEN}"
        raise RequestError(message, "tools", "unsupported_parameter")
