"""Generation for many adapters at once: one flat batch holds the new tokens of every sequence.

Sequences come and go (continuous batching). A prompt enters as a whole, then one token a forward. Where
`Base.repeats_answers`, the greedy answer to a prompt has the same bits whatever shares its batch: attention
goes sequence by sequence, and products have at least MIN_TOKENS rows (see `model.flat`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from paceline.errors import EvaluationError
from paceline.evaluate.draw import Draw, choose_tokens
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.batch import MIN_TOKENS, Generation, PackedBatch, pack_new_tokens, use_batch
from paceline.model.batched_lora import BatchedLoRA
from paceline.model.ends import change_logits
from paceline.model.generation_cache import CachePool, SequenceCache
from paceline.model.memory import upload
from paceline.model.segment import Segment


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; temperature 0 is greedy. `seed` and a request's key seed the draw."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    seed: int = 0


class TokenRules(Protocol):
    """What one request does with its logits, and with the token that is chosen."""

    def change(self, logits: Tensor) -> Tensor:
        """The row (vocabulary,) to choose from, on the device; the model's own stays as it is."""
        ...

    def take(self, token: int) -> None:
        """Is told the token that the answer goes on with; never one that ends it."""
        ...


@dataclass(eq=False)
class Request:
    """One answer to be generated. `key` names it.

    `tokens` are filled in, without the stop token; `finish` becomes stop or length. `twins` are other answers
    to the same prompt by the same adapter: they begin with this one, from its prefill.
    """

    prompt: list[int]
    adapter: Adapter | None
    sampling: Sampling
    key: tuple[int | str, ...] = ()
    tokens: list[int] = field(default_factory=list)
    finish: str | None = None
    rules: TokenRules | None = None
    twins: list[Request] = field(default_factory=list)
    _cache: SequenceCache = field(default_factory=SequenceCache)
    _random: np.random.Generator | None = None

    def new_tokens(self) -> list[int]:
        """What the model has not seen yet: the whole prompt, then the last token."""
        return self.tokens[-1:] if self._cache.length else [*self.prompt, *self.tokens]

    def longest(self) -> int:
        """The tokens that there may be at the end."""
        return len(self.prompt) + self.sampling.max_new_tokens

    def random(self) -> np.random.Generator:
        """What draws the next token: one number a token."""
        if self._random is None:
            self._random = np.random.default_rng([self.sampling.seed, *"/".join(map(str, self.key)).encode()])
            self._random.random(len(self.tokens))
        return self._random

    def draw(self) -> Draw | None:
        """How the next token is drawn; None: greedily."""
        wanted = self.sampling
        if wanted.temperature == 0:
            return None
        return Draw(wanted.temperature, wanted.top_p, self.random().random())

    def begin_again(self) -> None:
        """Forgets keys and values: what was said so far is read again as a part of the prompt."""
        self._cache, self._random = SequenceCache(), None

    def seed(self) -> int:
        """A number for another engine's draw, of the sampling's seed and the key."""
        return int(self.random().integers(2**31))


# Tokens of one forward's prompts, and sequences under way: what a CPU's caches and a GPU's memory bear.
PROMPT_TOKENS = {"cpu": 2048, "cuda": 16384}
SEQUENCES = {"cpu": 48, "cuda": 256}
# The share of the free memory that keys and values may have: buckets are up to a half larger than what is in
# them, and a forward needs some.
CACHE_SHARE = 0.5


class Generator:
    """Answers requests over one base."""

    def __init__(self, base: Base, stop: set[int], sequences: int | None = None) -> None:
        self.base, self.stop = base, stop
        self._most = sequences or SEQUENCES[base.device.type]
        self._prompt_tokens = PROMPT_TOKENS[base.device.type]
        self._memory = base.free_bytes() * CACHE_SHARE
        self._waiting: deque[Request] = deque()
        self._active: list[Request] = []
        self._adapters: dict[Adapter, None] = {}
        self._batched_lora = BatchedLoRA([])
        self._pool = CachePool()

    def add(self, requests: Iterable[Request]) -> None:
        """Puts requests in line."""
        arrived = list(requests)
        self._waiting.extend(arrived)
        if new := [r.adapter for r in arrived if r.adapter is not None and r.adapter not in self._adapters]:
            self._adapters |= dict.fromkeys(new)
            self._batched_lora = BatchedLoRA(self._adapters)

    def run(self, requests: Iterable[Request]) -> Iterator[Request]:
        """Finished requests, in the order in which they finish."""
        self.add(requests)
        while self.busy:
            yield from (request for request in self.step() if request.finish)

    def drop(self, request: Request) -> None:
        """Lets a request go, whatever it still had to say."""
        self._active = [other for other in self._active if other is not request]
        if request in self._waiting:
            self._waiting.remove(request)
        self._pool.release(request._cache)

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._active)

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """One forward: lets requests in, gives every active one its next token, and returns them.

        Out of memory it returns none: all begin again, half as many at once.

        Raises:
            EvaluationError: out of memory with a single request.
        """
        self._admit()
        # sequences of one adapter stand together; the sort is stable
        order = {
            id(adapter): place for place, adapter in enumerate(dict.fromkeys(r.adapter for r in self._active))
        }
        moved = sorted(self._active, key=lambda request: order[id(request.adapter)])
        chosen = self.base.unless_out_of_memory(lambda: self._next_tokens(moved))
        if chosen is None:
            self._halve()
            return []
        for request in moved:
            self._fork(request)
        advanced = [request for request, _ in chosen]
        for request, token in chosen:
            self._take(request, token)
            if request.finish:
                self.drop(request)
        return advanced

    def _fork(self, request: Request) -> None:
        """Lets the twins of a request go on from its prefill; they are next in line."""
        twins, request.twins = request.twins, []
        for twin in twins:
            twin._cache = request._cache.fork()
        self._waiting.extendleft(reversed(twins))

    def _next_tokens(self, requests: list[Request]) -> list[tuple[Request, int]]:
        """One forward's tokens, of twins too; the ids are all that leaves the device."""
        batch, last = self._batch(requests)
        with use_batch(batch):
            hidden = self.base.hidden(batch)
        for request in requests:
            request._cache.length += len(request.new_tokens())
        logits = self._logits(hidden[last], requests)
        speaking = [(place, one) for place, own in enumerate(requests) for one in (own, *own.twins)]
        if len(speaking) > len(requests) or any(request.rules for request in requests):
            rows = ((logits[place], one.rules) for place, one in speaking)
            logits = torch.stack([rules.change(row) if rules else row for row, rules in rows])
        ids: list[int] = choose_tokens(logits, [one.draw() for _, one in speaking]).tolist()
        return [(one, token) for (_, one), token in zip(speaking, ids, strict=True)]

    def _halve(self) -> None:
        """Puts all that are under way in line again, with their tokens; half as many go on at once."""
        if len(self._active) == 1:
            size = len(self._active[0].prompt) + len(self._active[0].tokens)
            raise EvaluationError(
                f"out of memory with a single conversation of {size:,} tokens; lower max_new_tokens, or take "
                "a smaller base"
            )
        self._most = max(1, len(self._active) // 2)
        self._prompt_tokens //= 2
        for request in self._active:
            request.begin_again()
        self._waiting.extendleft(reversed(self._active))
        self._active, self._pool = [], CachePool()

    def _admit(self) -> None:
        room = self._prompt_tokens
        while self._waiting and (not self._active or (room > 0 and self._fits(self._waiting[0]))):
            request = self._waiting.popleft()
            room -= len(request.new_tokens())
            self._active.append(request)

    def _fits(self, request: Request) -> bool:
        """Whether keys and values of all have room to their ends, with another request beside them."""
        tokens = sum(one.longest() for one in [*self._active, request])
        return len(self._active) < self._most and tokens * self._pool.token_bytes <= self._memory

    def _batch(self, requests: list[Request]) -> tuple[PackedBatch, Tensor]:
        """The packed batch of all new tokens, and the rows of the last ones."""
        new = [request.new_tokens() for request in requests]
        segments: list[Segment] = []
        caches: list[tuple[int, int, SequenceCache]] = []
        stop = 0
        for request, tokens in zip(requests, new, strict=True):
            start, stop = stop, stop + len(tokens)
            caches.append((start, stop, request._cache))
            if segments and segments[-1].adapter is request.adapter:
                start = segments.pop().start
            segments.append(Segment(start, stop, request.adapter))
        device, starts = self.base.device, [request._cache.length for request in requests]
        self._batched_lora.begin_batch()
        generation = Generation(self._pool.assign_buckets(caches, device), self._batched_lora)
        batch = pack_new_tokens(new, starts, segments, device, generation)
        return batch, upload(torch.tensor([stop - 1 for _, stop, _ in caches]), device)

    def _logits(self, rows: Tensor, requests: list[Request]) -> Tensor:
        """(requests, vocabulary) in fp32; at least MIN_TOKENS rows are multiplied."""
        padded = torch.nn.functional.pad(rows, (0, 0, 0, max(0, MIN_TOKENS - len(rows))))
        logits = (padded @ self.base.head.t())[: len(rows)].float()
        for adapter in dict.fromkeys(request.adapter for request in requests):
            places = [place for place, request in enumerate(requests) if request.adapter is adapter]
            own = slice(places[0], places[-1] + 1)  # requests of one adapter stand together
            change_logits(adapter, rows[own], logits[own])
        return logits

    def _take(self, request: Request, token: int) -> None:
        if token in self.stop:
            request.finish = "stop"
            return
        request.tokens.append(token)
        if request.rules is not None:
            request.rules.take(token)
        if len(request.tokens) >= request.sampling.max_new_tokens:
            request.finish = "length"
