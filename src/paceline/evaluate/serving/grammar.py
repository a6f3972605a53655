"""Answers that are JSON, of a schema or any object, by llguidance: it says which tokens may come next."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from paceline.config.fields import Fields
from paceline.errors import MissingExtra
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.serving.body import RequestError

# White space has an end, so that an answer has one; what a schema may not change, it cannot loosen.
OPTIONS: Any = {"whitespace_pattern": r"[ \n]{0,20}", "whitespace_flexible": True, "lenient": False}


class Grammars:
    """Makes matchers for the tokenizer of an adapter set."""

    def __init__(self, adapter_set: AdapterSet) -> None:
        self._adapter_set = adapter_set

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise MissingExtra("response_format", "llguidance", "serve") from error
        ends = sorted(self._adapter_set.stop_tokens())
        return from_tokenizer(
            self._adapter_set.chat.tokenizer, n_vocab=self._adapter_set.base.head.shape[0], eos_token=ends
        )

    def matcher(self, schema: Fields) -> Any:
        """llguidance's matcher of the texts that are JSON of this schema.

        Raises:
            RequestError: a schema that is none, or has what cannot be guaranteed.
            MissingExtra: llguidance is not installed.
        """
        tokenizer = self._tokenizer
        from llguidance import LLMatcher

        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=OPTIONS)
            matcher = LLMatcher(tokenizer, grammar, log_level=0)
        except ValueError as error:
            raise _refused(str(error)) from error
        if matcher.is_error():
            raise _refused(matcher.get_error())
        return matcher


def _refused(why: str) -> RequestError:
    line = next(iter(why.splitlines()), "")[:300]
    return RequestError(
        f"response_format: this schema cannot be kept to ({line})", "response_format", "invalid_value"
    )
