"""JSON whose values stay as they stand in the file, and what of them may become text."""

import json
import math
import re
from decimal import Decimal
from typing import Any

from paceline.errors import DataError

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# Python refuses to read longer integers; they are kept by their digits.
_LONGEST_INT = 4000


class JsonNumber(float):
    """A number that keeps its digits: 1.0 stays 1.0, 1e5 stays 1e5, -0 stays -0."""

    digits: str

    def __new__(cls, digits: str) -> "JsonNumber":
        number = super().__new__(cls, digits)
        number.digits = digits
        return number

    def __str__(self) -> str:
        return self.digits

    __repr__ = __str__

    def __reduce__(self) -> tuple[type["JsonNumber"], tuple[str]]:
        return JsonNumber, (self.digits,)


def read_json(text: str) -> Any:
    """A JSON value, its numbers to the digit, control characters within strings as they are.

    Raises:
        ValueError: broken JSON (then a JSONDecodeError, with its place), a key twice in an object, NaN or
            Infinity, half of a surrogate pair.
        RecursionError: nested too deeply.
    """
    value = json.loads(
        text,
        strict=False,
        parse_float=JsonNumber,
        parse_int=_integer,
        parse_constant=_refuse_constant,
        object_pairs_hook=_object,
    )
    if _SURROGATE.search(text):
        try:
            write_json(value).encode()
        except UnicodeEncodeError as error:
            raise ValueError("half of a surrogate pair, which is no character") from error
    return value


def write_json(value: Any) -> str:
    """A value as JSON text on one line, numbers by their digits.

    Raises:
        DataError: something in it has no JSON form, such as a date.
    """
    if isinstance(value, JsonNumber):
        return value.digits
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(
                f"{json.dumps(str(k), ensure_ascii=False)}: {write_json(v)}" for k, v in value.items()
            )
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(write_json, value)) + "]"
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"a value of type {type(value).__name__} has no JSON form") from error


def text_of(value: Any, what: str = "the value") -> str:
    """What a value is as text: text as it is, a number as it stands in the file, objects and lists as JSON.

    Args:
        what: names the value in an error, such as "column 'output'".

    Raises:
        DataError: null; a type whose text is not in the file: a date, bytes, a float of a typed column.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, JsonNumber | bool | int | dict | list):
        return write_json(value)
    kind = "null" if value is None else f"of type {type(value).__name__}"
    raise DataError(f"{what} is {kind}, not text; write it as text")


def plain_numbers(value: Any, what: str) -> Any:
    """A value as a template takes it, which writes numbers as Python does: 19.90 as 19.9, 1e5 as 100000.0.

    Args:
        what: names the value in an error.

    Raises:
        DataError: a number that would not be the same one.
    """
    if isinstance(value, JsonNumber):
        number = float(value)
        if not math.isfinite(number) or Decimal(value.digits) != Decimal(repr(number)):
            raise DataError(f"{what}: the number {value.digits} has more digits than a template keeps")
        return number
    if isinstance(value, dict):
        return {key: plain_numbers(inner, what) for key, inner in value.items()}
    return [plain_numbers(inner, what) for inner in value] if isinstance(value, list) else value


def own_keys(value: Any) -> Any:
    """A typed value without the nulls that a column's type adds to objects that lack a key."""
    if isinstance(value, dict):
        return {key: own_keys(inner) for key, inner in value.items() if inner is not None}
    return [own_keys(inner) for inner in value] if isinstance(value, list) else value


def _integer(digits: str) -> int | JsonNumber:
    return JsonNumber(digits) if digits == "-0" or len(digits) > _LONGEST_INT else int(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} twice in one object")
    return found
