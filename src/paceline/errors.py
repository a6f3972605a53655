"""The one exception that is meant for the user's eyes."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: its message says what is wrong, where, and what to do. The command line prints it and exits with 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean X?` for the closest known name, or an empty string."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {found[0]!r}?" if found else ""
