"""Tools and tool calls, in the forms that data sets have, as chat templates take them."""

from json import JSONDecodeError
from typing import Any

from paceline.config.fields import Fields
from paceline.data.formats.row_format import kind_of
from paceline.data.text import plain_numbers, read_json
from paceline.errors import DataError


def read_tools(value: Any) -> list[Fields] | None:
    """The row's tools as a list of {type: function, function: {name, …}}; None where it has none.

    Raises:
        DataError: no list of tools; a tool without a name; a key twice, a number that is not kept.
    """
    if value is None or value in ("", []):
        return None
    tools: Any = _parsed(value, "tools")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"tools: {kind_of(tools)}, where a list of tools was expected")
    return [_tool(plain_numbers(without_nulls(tool), "tools")) for tool in tools] or None


def _tool(tool: Fields) -> Fields:
    whole = tool if isinstance(tool.get("function"), dict) else {"type": "function", "function": tool}
    function: Any = whole["function"]
    if not isinstance(function.get("name"), str):
        raise DataError("tools: a tool has no name")
    return {"type": "function", **whole}


def read_calls(value: Any) -> list[Fields]:
    """Tool calls as OpenAI has them, with their arguments as objects.

    They are OpenAI's own, or {name, arguments}, one or a list, or the JSON text of these.

    Raises:
        DataError: what is no call; arguments that are no JSON object, or one with a key twice or a number
            that is not kept.
    """
    calls = _parsed(value, "tool_calls")
    calls = [calls] if isinstance(calls, dict) else calls
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise DataError(f"tool_calls: {kind_of(calls)}, where calls were expected")
    return [_call(call) for call in calls]


def _call(call: Fields) -> Fields:
    function = call.get("function") if isinstance(call.get("function"), dict) else call
    assert function is not None
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise DataError("tool_calls: a call has no name")
    arguments = function.get("arguments", function.get("parameters"))
    arguments = {} if arguments in (None, "") else _parsed(arguments, f"the arguments of {name}")
    if not isinstance(arguments, dict):
        raise DataError(f"the arguments of {name} are {kind_of(arguments)}, not an object")
    arguments = plain_numbers(arguments, f"the arguments of {name}")
    identity = {"id": call["id"]} if call.get("id") is not None else {}
    return {**identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _parsed(value: Any, what: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return read_json(value)
    except JSONDecodeError as error:
        raise DataError(f"{what}: not valid JSON ({error})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what}: {error}") from error


def without_nulls(value: Any) -> Any:
    """A schema without the nulls that Parquet and Arrow put where another row's schema has a key."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if v is not None or k in ("default", "const")}
        return {key: without_nulls(inner) for key, inner in kept.items()}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
