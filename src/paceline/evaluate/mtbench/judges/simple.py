"""The bare base as the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from paceline.config.evaluation import MTBench
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.mtbench.judges.judge import Grade, GradingCase
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.segment import Segment

MAX_PROMPT_TOKENS = 4000


@dataclass
class SimpleJudge:
    """The digit that the frozen base expects after the judge's prompt: no judge model, no published scale."""

    adapter_set: AdapterSet
    name: str = "simple"
    comparable: bool = False
    usage: None = None

    @classmethod
    def check(cls, settings: MTBench) -> None:
        """Nothing can be missing."""

    @classmethod
    def open(cls, settings: MTBench, adapter_set: AdapterSet, cache: Path) -> SimpleJudge:
        return cls(adapter_set)

    @torch.no_grad()
    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        """The mean digit under the base's next-token distribution, one case after the other."""
        tokenizer, base = self.adapter_set.chat.tokenizer, self.adapter_set.base
        digits = [tokenizer(str(digit), add_special_tokens=False)["input_ids"][-1] for digit in range(1, 10)]
        opening = tokenizer("Rating: [[", add_special_tokens=False)["input_ids"]
        grades = []
        for case in cases:
            prompt = self.adapter_set.prompt(case.prompt, thinking=False)[-MAX_PROMPT_TOKENS:]
            ids = torch.tensor([*prompt, *opening])
            labels = torch.full_like(ids, -100)
            labels[-1] = 0
            batch = pack_sequences([(ids, labels)], [Segment(0, len(ids), None)], base.device)
            with use_batch(batch):
                last = base.hidden(batch)[len(ids) - 1]
            weights = (base.head[digits] @ last).float().softmax(0)
            grades.append(Grade(rating=float(weights @ torch.arange(1.0, 10.0, device=weights.device))))
            done()
        return grades
