"""Standard output and standard error that may be gone: a closed pipe or terminal, a full disk."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

# What stands for signs that an output's encoding has not.
_PLAIN = {
    "→": "->",
    "←": "<-",
    "×": "x",
    "Δ": "d",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "±": "+-",
    "‖": "||",
}


class OutputError(Exception):
    """What was to be printed could not be; what the command did is done."""


class _CheckedOutput(TextIOWrapper):
    """Standard output whose errors are no longer the system's: typer and rich would end with exit code 1."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise _lost(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _lost(error) from error


class _QuietErrors(TextIOWrapper):
    """Standard error that nobody need read: what cannot be written there ends no training."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            return _discard(self, len(text))

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _discard(self, 0)


@contextmanager
def checked_output() -> Iterator[None]:
    """Notices what cannot be printed, up to the last line; what standard error loses is lost.

    Signs that an output's encoding has not (Windows, `LANG=C`) are printed as plain ones.

    Raises:
        OutputError: standard output is closed or full.
    """
    before = sys.stdout, sys.stderr
    # a test's streams, and none at all, stay as they are
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        sys.stdout = _wrapped(_CheckedOutput, sys.stdout)
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        sys.stderr = _wrapped(_QuietErrors, sys.stderr)
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OutputError:
        _discard(sys.stdout, 0)
        raise
    finally:
        for stream, old in zip((sys.stdout, sys.stderr), before, strict=True):
            if stream is not old and isinstance(stream, TextIOWrapper):
                stream.detach()
        sys.stdout, sys.stderr = before


def _plain_signs(error: UnicodeError) -> tuple[str, int]:
    """Signs that cannot be encoded, as plain ones: `->` for an arrow, `e` for é, else `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    plain = [_PLAIN.get(sign) or unicodedata.normalize("NFKD", sign) for sign in missing]
    return "".join(text.encode("ascii", "ignore").decode() or "?" for text in plain), error.end


codecs.register_error("paceline.plain", _plain_signs)


def _wrapped(kind: type[TextIOWrapper], stream: object) -> TextIOWrapper:
    if not isinstance(stream, TextIOWrapper):
        raise TypeError(f"{stream!r} is no stream of the system's")
    return kind(stream.buffer, stream.encoding, "paceline.plain", line_buffering=True)


def _discard(stream: object, written: int) -> int:
    """Sends what is still buffered, and all that follows, nowhere: else Python fails at it as it ends."""
    if isinstance(stream, TextIOWrapper):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
    return written


def _lost(error: OSError) -> OutputError:
    return OutputError(
        f"the output cannot be written ({error.strerror}); what the command did is done, and runs are safe: "
        "the same command shows it again"
    )
