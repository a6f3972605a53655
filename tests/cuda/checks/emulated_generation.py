"""Answers on a CUDA device that is not there: drawn, ruled, forked, by adapters of all kinds, and served."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any

import pytest
import torch
from emulation import Card, counting

from helpers import MakeBase, MakeRecipe
from paceline.data.chat import load_chat
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Generator, Request, Sampling
from paceline.evaluate.serving.engine import Asked, Engine
from paceline.evaluate.serving.rules import Rules
from paceline.model.adapter import Adapter
from paceline.model.base import Base, load_base
from paceline.model.quantization import BaseFormat

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "head": {"target_modules": ["down_proj", "lm_head", "embed_tokens"]},
    "rows": {"trainable_token_indices": [9, 31]},
}


def _adapters(base: Base, recipe: MakeRecipe) -> list[Adapter | None]:
    made: list[Adapter | None] = [None]
    for seed, fields in enumerate(KINDS.values()):
        adapter = base.new_adapter(recipe(lora_r=4, **fields))
        adapter.initialize(seed)
        moved = torch.empty(adapter.parameters.shape).normal_(
            std=0.05, generator=torch.Generator().manual_seed(seed)
        )
        adapter.parameters.add_(moved.to(base.device))
        made.append(adapter)
    return made


def test_greedy_answers_are_the_cpus(card: Card, recipe: MakeRecipe, tiny_base: MakeBase) -> None:
    answers = []
    for device in (CUDA, CPU):
        base = load_base(tiny_base(), device, BaseFormat(dtype="bfloat16"))
        adapters = _adapters(base, recipe)[:2]
        requests = [
            Request([9, 20 + i, 31], adapters[i % 2], Sampling(max_new_tokens=6), key=(i,)) for i in range(8)
        ]
        list(Generator(base, set()).run(requests))
        answers.append([request.tokens for request in requests])
    same = sum(ours == theirs for ours, theirs in zip(*answers, strict=True))
    assert same >= 6  # near ties fall to either side in bf16


def test_drawn_ruled_and_forked_answers_are_the_cpus(
    card: Card, recipe: MakeRecipe, tiny_base: MakeBase
) -> None:
    """In fp32, where both have the same numbers; the device is waited for once a token."""
    card.capability = (7, 5)
    answers = []
    for device in (CUDA, CPU):
        base = load_base(tiny_base(), device)
        requests = []
        for number, adapter in enumerate(_adapters(base, recipe)):
            drawn = Sampling(temperature=0.8, top_p=0.9, max_new_tokens=5, seed=3)
            first = Request([9, 31, 40 + number], adapter, drawn, key=(number, 0))
            first.twins = [Request(first.prompt, adapter, drawn, key=(number, 1))]
            ruled = Request(
                [31, 9], adapter, Sampling(max_new_tokens=4), rules=Rules(presence=1.0, frequency=0.5, top=3)
            )
            requests += [first, ruled]
        generator = Generator(base, set())
        generator.add(requests)
        while generator.busy:
            with counting() as counts:
                advanced = generator.step()
            noting = sum(request.rules is not None for request in advanced)
            assert sum(counts.waits.values()) <= (1 + noting if device == CUDA else 0), counts.waits
        whole = [one for request in requests for one in (request, *request.twins)]
        noted = [request.rules.chosen for request in requests if isinstance(request.rules, Rules)]
        answers.append(([one.tokens for one in whole], noted))
    (ours, noted), (theirs, expected) = answers
    assert ours == theirs
    assert len({tuple(tokens) for tokens in ours}) > 6  # adapters and draws matter
    for one, other in zip(chain(*noted), chain(*expected), strict=True):
        assert one.token == other.token
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert [token for token, _ in one.likeliest] == [token for token, _ in other.likeliest]


def test_the_server_s_engine_answers_as_on_a_cpu(
    card: Card, recipe: MakeRecipe, tiny_base: MakeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this thread: the device is there for it alone."""
    card.capability = (7, 5)
    told: list[dict[int, tuple[str, str | None]]] = []
    for device in (CUDA, CPU):
        base = load_base(tiny_base(), device)
        adapters = _adapters(base, recipe)
        chat = load_chat(tiny_base())
        engine = Engine(AdapterSet(base, chat, {f"{i}": one for i, one in enumerate(adapters)}))
        said: dict[int, tuple[str, str | None]] = {}

        def put(
            asked: Asked,
            text: str,
            finish: str | None,
            *rest: object,
            said: dict[int, tuple[str, str | None]] = said,
            engine: Engine = engine,
            many: int = len(adapters),
        ) -> None:
            said[asked.index] = said.get(asked.index, ("", None))[0] + text, finish
            if sum(end is not None for _, end in said.values()) == many:
                engine.ask(None)  # type: ignore[arg-type]  # as `stop` does

        monkeypatch.setattr(Asked, "put", put)
        loop = asyncio.new_event_loop()
        for number, adapter in enumerate(adapters):
            sampling = Sampling(temperature=0.7, max_new_tokens=6, seed=1)
            request = Request([9, 31, 50], adapter, sampling, key=(number,), rules=Rules(presence=0.5))
            engine.ask([Asked(request, ["zzz"], loop, index=number)])
        engine._run()
        loop.close()
        told.append(said)
    assert told[0] == told[1]
    assert {finish for _, finish in told[0].values()} <= {"length", "stop"}
