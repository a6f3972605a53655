"""Regular expressions of files that anybody may have written."""

import math
import re

import regex  # type: ignore[import-untyped]

# An expression is unrolled when it is compiled: bounded in its length and in what its repeats multiply to.
MOST_CHARACTERS = 1_000
MOST_REPEATS = 10_000
_REPEAT = re.compile(r"\{(\d*)(?:,(\d*))?\}")


def compile_expression(expression: str) -> regex.Pattern[str]:
    """An expression that may be matched with a time limit (`timeout=`).

    Raises:
        ValueError: it is none, or is made to need much memory.
    """
    if len(expression) > MOST_CHARACTERS:
        raise ValueError(f"an expression of over {MOST_CHARACTERS:,} characters ({len(expression):,})")
    counts = [max(int(one or 1) for one in found) for found in _REPEAT.findall(expression)]
    if math.prod(max(1, count) for count in counts) > MOST_REPEATS:
        raise ValueError(f"{expression!r} repeats over {MOST_REPEATS:,} times; write a simpler expression")
    try:
        return regex.compile(expression)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{expression[:200]!r} is no regular expression: {error}") from error
