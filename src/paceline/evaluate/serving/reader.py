"""What a body asks for, as requests to the engine."""

from __future__ import annotations

import asyncio
import secrets
from functools import cached_property
from typing import Any

from paceline.config.fields import Fields
from paceline.data.formats import list_of_turns, read_turns
from paceline.data.formats.tools import read_tools
from paceline.errors import PacelineError, nearest
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Request, Sampling
from paceline.evaluate.serving.body import Body, RequestError
from paceline.evaluate.serving.engine import Asked, Piece
from paceline.evaluate.serving.rules import Rules
from paceline.evaluate.serving.token_bytes import TokenBytes
from paceline.evaluate.serving.tool_calls import refuse_without_tools

CHARACTERS_A_TOKEN = 32  # a prompt with more is refused before it is tokenized; text has 3 to 5
LONGEST_ANSWER = 512  # tokens, where a request does not say
GREEDY_BELOW = 1e-6  # a temperature below has the likeliest token in all but name


class Reader:
    """Reads requests to one adapter set; what it learns of the tokenizer and the template, it keeps."""

    def __init__(self, adapter_set: AdapterSet) -> None:
        self.adapter_set = adapter_set
        self._takes_tools = False

    @cached_property
    def token_bytes(self) -> TokenBytes:
        return TokenBytes(self.adapter_set.chat.tokenizer)

    def read(self, body: Body, matcher: Any, loop: asyncio.AbstractEventLoop) -> list[Asked]:
        """The answers that a body asks for, under way: `n`, the first with the others as its twins.

        Args:
            matcher: llguidance's, for a body that asks for JSON.

        Raises:
            RequestError: an unknown model, messages that make no prompt, more than the model's context, tools
                that cannot be served.
        """
        adapters = self.adapter_set.adapters
        if body.model not in adapters:
            close, known = nearest(body.model[:100], adapters), ", ".join(adapters)
            message = f"no model {body.model[:100]!r}{close}; there are {known}"
            raise RequestError(message, "model", "model_not_found", 404)
        tools = self._tools(body)
        sampling, prompt = _sampling(body), self._prompt(body, tools)
        stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
        rules, pieces = _rules(body, matcher), asyncio.Queue[Piece]()
        asked = []
        for index in range(body.n or 1):
            key = (body.model, index) if index else (body.model,)  # the first is the one of n: 1
            own = rules and rules.again()
            request = Request(prompt, adapters[body.model], sampling, key, rules=own)
            asked.append(Asked(request, stops, loop, pieces, index, own, bool(tools)))
        asked[0].request.twins = [twin.request for twin in asked[1:]]
        return asked

    def _tools(self, body: Body) -> list[Fields] | None:
        """The tools that the prompt shows, as data have them."""
        if not body.tools or body.tool_choice == "none":
            return None
        if not self._takes_tools:
            refuse_without_tools(self.adapter_set)
            self._takes_tools = True
        try:
            return read_tools(body.tools)
        except PacelineError as error:
            raise RequestError(str(error), "tools", "invalid_value") from error

    def _prompt(self, body: Body, tools: list[Fields] | None) -> list[int]:
        longest = getattr(self.adapter_set.base.model.config, "max_position_embeddings", None)
        size = len(str(body.messages)) + len(str(tools))
        if longest is not None and size > CHARACTERS_A_TOKEN * longest:
            message = f"messages are far longer than the model's {longest} tokens"
            raise RequestError(message, "messages", "context_length_exceeded")
        thinking = bool(body.chat_template_kwargs and body.chat_template_kwargs.enable_thinking)
        prompt, most = self._encode(body.messages, thinking, tools), _most(body)
        if longest is not None and len(prompt) + most > longest:
            raise RequestError(
                f"{len(prompt)} tokens of prompt and up to {most} of answer "
                f"do not fit into the model's {longest}",
                "messages",
                "context_length_exceeded",
            )
        return prompt

    def _encode(self, turns: list[dict[str, Any]], thinking: bool, tools: list[Fields] | None) -> list[int]:
        try:
            messages = read_turns(list_of_turns(turns, "messages")).messages
            prompt = self.adapter_set.prompt(messages, thinking, tools)
        except PacelineError as error:
            raise RequestError(str(error), "messages", "invalid_value") from error
        except (
            Exception
        ) as error:  # a template's code is the base's: what it cannot write is the request's fault
            message = f"messages make no prompt ({type(error).__name__})"
            raise RequestError(message, "messages", "invalid_value") from error
        if not prompt:
            raise RequestError("messages make an empty prompt", "messages", "invalid_value")
        return prompt


def _rules(body: Body, matcher: Any) -> Rules | None:
    """What the fields do with the logits; None where they do nothing."""
    presence, frequency = body.presence_penalty or 0.0, body.frequency_penalty or 0.0
    top = body.top_logprobs or 0 if body.logprobs else None
    if matcher is None and top is None and not (presence or frequency):
        return None
    return Rules(presence, frequency, top, matcher)


def _most(body: Body) -> int:
    return body.max_completion_tokens or body.max_tokens or LONGEST_ANSWER


def _sampling(body: Body) -> Sampling:
    """How the answers are drawn; without a seed, each request draws its own."""
    temperature = 1.0 if body.temperature is None else body.temperature
    return Sampling(
        0.0 if temperature < GREEDY_BELOW else temperature,
        1.0 if body.top_p is None else body.top_p,
        _most(body),
        secrets.randbits(63) if body.seed is None else body.seed % 2**64,
    )
