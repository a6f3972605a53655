"""What a request's fields do with its logits: penalties, a grammar, the log probabilities that are noted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paceline.evaluate.serving.token_bytes import TokenBytes
from paceline.model.memory import upload
from paceline.runs.files import JsonObject

LEAST = -9999.0  # what OpenAI writes for a token that cannot be


@dataclass(frozen=True)
class Chosen:
    """One token of an answer with its log probability, and the likeliest tokens at its place with theirs."""

    token: int
    logprob: float
    likeliest: list[tuple[int, float]]

    def to_json(self, token_bytes: TokenBytes) -> JsonObject:
        """As OpenAI writes it."""
        top = [_entry(token, logprob, token_bytes) for token, logprob in self.likeliest]
        return {**_entry(self.token, self.logprob, token_bytes), "top_logprobs": top}


def _entry(token: int, logprob: float, token_bytes: TokenBytes) -> JsonObject:
    raw = token_bytes(token)
    return {"token": raw.decode(errors="replace"), "logprob": max(logprob, LEAST), "bytes": list(raw)}


@dataclass
class Rules:
    """The rules of one answer, with what they remember of it.

    Args:
        presence: is taken from the logit of every token that the answer has already.
        frequency: is taken as often as it has it.
        top: how many of the likeliest tokens are noted beside the chosen one; None: nothing is noted.
        grammar: llguidance's matcher of what the answer may be, at its beginning.
    """

    presence: float = 0.0
    frequency: float = 0.0
    top: int | None = None
    grammar: Any = None
    chosen: list[Chosen] = field(default_factory=list)
    failed: str = ""  # what the grammar cannot go on with
    _counts: Counter[int] = field(default_factory=Counter)
    _logprobs: Tensor | None = None

    def __post_init__(self) -> None:
        self._matcher = self.grammar and self.grammar.deep_copy()

    def again(self) -> Rules:
        """The same for another answer."""
        return Rules(self.presence, self.frequency, self.top, self.grammar)

    def change(self, logits: Tensor) -> Tensor:
        """The row to choose from.

        What is noted is of the model's own row: before temperature, penalties and grammar, as in vLLM.
        """
        if self.top is not None:
            self._logprobs = logits.double().log_softmax(0)
        if self._counts and (self.presence or self.frequency):
            tokens = upload(torch.tensor(list(self._counts)), logits.device)
            counts = upload(torch.tensor(list(self._counts.values()), dtype=logits.dtype), logits.device)
            logits = logits.clone()
            logits[tokens] -= self.presence + self.frequency * counts
        if self._matcher is not None:
            allowed = upload(torch.from_numpy(self._allowed(len(logits))), logits.device)
            logits = logits.masked_fill(~allowed, -torch.inf)
        return logits

    def take(self, token: int) -> None:
        self._counts[token] += 1
        if self._matcher is not None and not self.failed and not self._matcher.consume_token(token):
            self.failed = _first_line(self._matcher.get_error())
        if self.top is not None:
            assert self._logprobs is not None
            values, tokens = self._logprobs.topk(self.top)
            # read at once: a GPU is waited for once a token, and doubles hold ids exactly
            own, *rest = torch.cat([self._logprobs[token, None], values, tokens.double()]).tolist()
            likeliest = list(zip(map(int, rest[self.top :]), rest[: self.top], strict=True))
            self.chosen.append(Chosen(token, own, likeliest))

    def _allowed(self, size: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of the vocabulary may come next; all of it once the grammar has failed."""
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            self.failed = self.failed or _first_line(self._matcher.get_error())
            return np.ones(size, bool)
        return np.unpackbits(mask, count=size, bitorder="little").astype(bool)


def _first_line(message: str) -> str:
    return next(iter(message.splitlines()), "")[:300] or "the grammar has no way on"
