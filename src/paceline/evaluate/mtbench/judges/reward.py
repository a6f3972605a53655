"""A reward model as the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paceline.config.evaluation import MTBench
from paceline.data.chat import Chat
from paceline.errors import EvaluationError
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.mtbench.judges.judge import Grade, GradingCase, judge_model
from paceline.model.weight_files import fetch_weights

MAX_TOKENS = 4096


@dataclass
class RewardJudge:
    """A sequence-classification model with one logit, read on the question and the answer alone."""

    model: Any
    tokenizer: Any
    name: str
    comparable: bool = True
    usage: None = None

    @classmethod
    def check(cls, settings: MTBench) -> None:
        """A model is named, and its configuration has one logit."""
        from transformers import AutoConfig

        model = judge_model(settings)
        try:
            config = AutoConfig.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise _not_loaded(model, error) from error
        if config.num_labels != 1:
            raise EvaluationError(f"reward model {model!r} has {config.num_labels} logits; one is expected")

    @classmethod
    def open(cls, settings: MTBench, adapter_set: AdapterSet, cache: Path) -> RewardJudge:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        model = judge_model(settings)
        try:
            folder = fetch_weights(model)
            loaded = AutoModelForSequenceClassification.from_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise _not_loaded(model, error) from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(loaded.eval().to(device), tokenizer, f"reward:{model}")

    @torch.no_grad()
    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        """Scores one case after the other."""
        grades = []
        for case in cases:
            turns = [
                {"role": "user", "content": case.question},
                {"role": "assistant", "content": case.answer},
            ]
            text = Chat(self.tokenizer).render(turns)
            ids = self.tokenizer(
                text, return_tensors="pt", add_special_tokens=False, truncation=True, max_length=MAX_TOKENS
            ).to(self.model.device)
            raw = float(self.model(**ids).logits[0, 0])
            grades.append(Grade(rating=squash(raw), raw=raw))
            done()
        return grades


def squash(raw: float) -> float:
    """Maps a reward s to 1..10 as a Russian MT-Bench script does, clipped to that range.

    1 + 9 (s + 5) / 10 below 0, 1 + 9 s from 0 to 1, 1 + 9 min(1, s / 5) above. It is not monotonic at 0 and
    at 1: read the raw score beside it.
    """
    value = 1 + 9 * (raw + 5) / 10 if raw < 0 else 1 + 9 * raw if raw <= 1 else 1 + 9 * min(1.0, raw / 5)
    return max(1.0, min(10.0, value))


def _not_loaded(model: str, error: Exception) -> EvaluationError:
    return EvaluationError(f"reward model {model!r} cannot be loaded: {str(error).splitlines()[0]}")
