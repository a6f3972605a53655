"""Who hears of rows that are being read or tokenized, however deep in the reading of data that happens."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Seconds before the first line, and between two; small data is read before the first.
FIRST, EVERY = 1.0, 10.0

Say = Callable[[str], None]
_SAY: ContextVar[Say | None] = ContextVar("say", default=None)


@contextmanager
def telling(say: Say) -> Iterator[None]:
    """While the block runs, `say` is told now and then how many rows have been read or tokenized."""
    token = _SAY.set(say)
    try:
        yield
    finally:
        _SAY.reset(token)


class Count:
    """A count of what is done to rows, such as "rows read", told to whoever listens."""

    def __init__(self, what: str) -> None:
        self._what, self._done, self._due = what, 0, time.monotonic() + FIRST

    def add(self, rows: int) -> None:
        """Counts some more."""
        self._done += rows
        say = _SAY.get()
        if say is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY
            say(f"{self._what}: {self._done:,}")
