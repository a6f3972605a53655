"""A language model in this process as the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paceline.config.evaluation import MTBench
from paceline.data.chat import load_chat, load_tokenizer
from paceline.evaluate.adapters import BASE, AdapterSet
from paceline.evaluate.generate import Request, Sampling
from paceline.evaluate.mtbench.judges.judge import Grade, GradingCase, judge_model
from paceline.evaluate.mtbench.protocol import read_rating
from paceline.model.base import load_base
from paceline.runs.evaluations import FAILED

MAX_REPLY_TOKENS = 1024


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
        judge = AdapterSet(load_base(model), load_chat(model), {BASE: None})
        return cls(judge, f"local:{model}")

    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        """Answers all prompts in one batch."""
        sampling = Sampling(max_new_tokens=MAX_REPLY_TOKENS)
        requests = [
            Request(self.adapter_set.prompt(case.prompt, thinking=False), None, sampling, (number,))
            for number, case in enumerate(cases)
        ]
        for _ in self.adapter_set.generator().run(requests):
            done()
        replies = [self.adapter_set.text(request.tokens) for request in requests]
        ratings = [
            FAILED if request.finish == "length" else read_rating(reply)
            for request, reply in zip(requests, replies, strict=True)
        ]
        return [Grade(rating=rating, reply=reply) for rating, reply in zip(ratings, replies, strict=True)]
