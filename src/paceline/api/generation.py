"""What adapters answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paceline.data.formats import Messages, read_prompt
from paceline.errors import ConfigError
from paceline.evaluate.adapters import AdapterSet, load_adapters
from paceline.evaluate.generate import Request, Sampling


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer. `run` names who gave it (`base`: the bare base), `tokens` counts its tokens.

    `finish` is stop where the model ended it, length where it was cut.
    """

    run: str
    messages: Messages
    text: str
    tokens: int
    finish: str

    def __str__(self) -> str:
        return self.text


def load_adapter(path: str | Path, with_base: bool = False) -> AdapterSet:
    """Loads the adapter of a finished run, or those of all finished runs of a study, and the base under them.

    Args:
        path: a run directory, a study's folder, or an adapter in PEFT's format.
        with_base: let the bare base answer too, under the name `base`.

    Raises:
        ModelError: no adapter there, or a base that cannot be loaded.
    """
    return load_adapters([Path(path)], with_base)


def generate(
    adapters: AdapterSet | str | Path,
    prompts: str | Iterable[str | Messages],
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_new_tokens: int = 512,
    seed: int = 0,
    thinking: bool = False,
) -> list[Answer]:
    """Lets every adapter answer every prompt, all at once.

    Args:
        adapters: what `load_adapter` gave, or a path for it.
        prompts: one prompt or several; each a user's text, or a conversation as a list of {role, content}.
        temperature: 0 is greedy.
        top_p: draw from the likeliest tokens that together have this probability, from 0 to 1.
        max_new_tokens: the longest answer, in tokens.
        seed: seeds the draw; an answer does not depend on which others are asked for beside it.
        thinking: let a base that can think before its answer.

    Returns:
        Adapter by adapter, each in the order of the prompts.

    Raises:
        ModelError: no adapter there, or a base that cannot be loaded.
        ConfigError: no prompt.
        DataError: a prompt that cannot be read.
    """
    adapter_set = adapters if isinstance(adapters, AdapterSet) else load_adapter(adapters)
    conversations = _conversations(prompts)
    sampling = Sampling(temperature, top_p, max_new_tokens, seed)
    requests = [
        Request(adapter_set.prompt(messages, thinking), adapter, sampling, (run, str(number), 0))
        for run, adapter in adapter_set.adapters.items()
        for number, messages in enumerate(conversations, 1)
    ]
    generator = adapter_set.generator()
    generator.add(requests)
    while generator.busy:
        generator.step()
    asked = conversations * len(adapter_set.adapters)
    return [_answer(adapter_set, *pair) for pair in zip(requests, asked, strict=True)]


def _conversations(prompts: str | Iterable[str | Messages]) -> list[Messages]:
    listed: Sequence[str | Messages] = [prompts] if isinstance(prompts, str) else list(prompts)
    if not listed:
        raise ConfigError("no prompt to answer")
    return [read_prompt({"prompt": one}).messages for one in listed]


def _answer(adapter_set: AdapterSet, request: Request, messages: Messages) -> Answer:
    return Answer(
        run=str(request.key[0]),
        messages=messages,
        text=adapter_set.text(request.tokens),
        tokens=len(request.tokens),
        finish=request.finish or "length",
    )
