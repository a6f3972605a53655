"""Answers that are JSON, of a schema or any object, by llguidance: it says which tokens may come next."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cached_property, lru_cache
from typing import Any

from paceline.config.fields import Fields
from paceline.errors import MissingExtra
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.serving.body import ANY_OBJECT, RequestError

# White space has an end, so that an answer has one. A schema cannot loosen these.
OPTIONS: Any = {"whitespace_pattern": r"[ \n]{0,20}", "whitespace_flexible": True, "lenient": False}
LARGEST_DIVISOR = 10_000  # `multipleOf` takes a state for each remainder
SCHEMAS = 64  # kept ready
# Patterns that must hold together can take for ever to read: first in a process with an end to its time (s)
# and memory.
READ = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
from llguidance import LLMatcher
sys.stdout.write(LLMatcher.validate_grammar(sys.stdin.read()))
"""


class Grammars:
    """Makes matchers for the tokenizer of an adapter set. For one thread, which may take its time."""

    def __init__(self, adapter_set: AdapterSet) -> None:
        self._adapter_set = adapter_set
        self._made = lru_cache(SCHEMAS)(self._make)

    def matcher(self, schema: Fields) -> Any:
        """llguidance's matcher of the texts that are JSON of this schema.

        Raises:
            RequestError: a schema that is none, or has what cannot be guaranteed; no llguidance.
        """
        return self._made(json.dumps(schema))

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            message = str(MissingExtra("response_format", "llguidance", "serve"))
            raise RequestError(message, "response_format", "unsupported_parameter") from error
        ends = sorted(self._adapter_set.stop_tokens())
        rows = self._adapter_set.base.head.shape[0]
        return from_tokenizer(self._adapter_set.chat.tokenizer, n_vocab=rows, eos_token=ends)

    def _make(self, schema: str) -> Any:
        tokenizer = self._tokenizer
        from llguidance import LLMatcher

        if _largest_divisor(json.loads(schema)) > LARGEST_DIVISOR:
            raise _refused(f"multipleOf is over {LARGEST_DIVISOR}")
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=OPTIONS)
        except ValueError as error:
            raise _refused(str(error)) from error
        if schema != json.dumps(ANY_OBJECT):
            _read_apart(grammar)
        matcher = LLMatcher(tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise _refused(matcher.get_error())
        return matcher


def _read_apart(grammar: str) -> None:
    """Refuses a grammar that takes too long or too much memory to read, or cannot be."""
    done = subprocess.run([sys.executable, "-c", READ], input=grammar, capture_output=True, text=True)
    if done.returncode or done.stdout:
        raise _refused(done.stdout or "it takes too long to read")


def _largest_divisor(schema: Any) -> float:
    """The largest `multipleOf` anywhere in a schema."""
    if isinstance(schema, list):
        return max(map(_largest_divisor, schema), default=0)
    if not isinstance(schema, dict):
        return 0
    own = schema.get("multipleOf")
    inner = max(map(_largest_divisor, schema.values()), default=0)
    return max(own, inner) if isinstance(own, int | float) else inner


def _refused(why: str) -> RequestError:
    line = next(iter(why.splitlines()), "")[:300]
    return RequestError(
        f"response_format: this schema cannot be kept to ({line})", "response_format", "invalid_value"
    )
