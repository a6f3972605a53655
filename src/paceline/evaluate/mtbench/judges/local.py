"""A language model in this process as the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from paceline.config.evaluation import MTBench
from paceline.data.chat import load_chat, load_tokenizer
from paceline.data.formats import Messages
from paceline.evaluate.adapters import BASE, AdapterSet, sequences_to_repeat
from paceline.evaluate.generate import Request, Sampling
from paceline.evaluate.mtbench.judges.judge import Grade, GradingCase, Reply, grade_of, judge_model
from paceline.model.base import load_base

MAX_REPLY_TOKENS = 1024
# Judges in memory, by name: the runs that train together share theirs.
_LOADED: WeakValueDictionary[str, AdapterSet] = WeakValueDictionary()


@dataclass
class LocalJudge:
    """Asks a model greedily."""

    adapter_set: AdapterSet
    name: str
    comparable: bool = True
    usage: None = None

    @classmethod
    def check(cls, settings: MTBench) -> None:
        """A model is named, and its tokenizer can be loaded."""
        load_tokenizer(judge_model(settings))

    @classmethod
    def open(cls, settings: MTBench, adapter_set: AdapterSet, cache: Path) -> LocalJudge:
        model = judge_model(settings)
        if (judge := _LOADED.get(model)) is None:
            base = load_base(model)
            judge = AdapterSet(base, load_chat(model), {BASE: None}, sequences_to_repeat(base))
            _LOADED[model] = judge
        return cls(judge, f"local:{model}")

    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        return [grade_of(reply) for reply in self.ask([case.prompt for case in cases], done)]

    def ask(self, prompts: Sequence[Messages], done: Callable[[], None]) -> list[Reply]:
        """Answers all prompts in one batch."""
        sampling = Sampling(max_new_tokens=MAX_REPLY_TOKENS)
        requests = [
            Request(self.adapter_set.prompt(prompt, thinking=False), None, sampling, (number,))
            for number, prompt in enumerate(prompts)
        ]
        for _ in self.adapter_set.generator().run(requests):
            done()
        return [
            Reply(self.adapter_set.text(request.tokens), request.finish == "length") for request in requests
        ]
