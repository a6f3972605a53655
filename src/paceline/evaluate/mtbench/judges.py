"""Who grades: a model behind an API, a local model, a reward model, or the bare base."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from paceline.config.evaluation import MTBench
from paceline.data.chat import Chat, load_tokenizer
from paceline.data.formats import Messages
from paceline.errors import EvaluationError, MissingExtra
from paceline.evaluate.adapters import BASE, AdapterSet
from paceline.evaluate.generate import Request, Sampling
from paceline.evaluate.mtbench.protocol import FAILED, read_rating
from paceline.model.base import load_base
from paceline.model.batch import Segment, pack_sequences, use_batch
from paceline.runs.files import write_json


@dataclass(frozen=True)
class Grade:
    """A rating from 1 to 10, or FAILED where the reply held none; what the judge said, and for reward models the raw score."""

    rating: float
    reply: str
    raw: float | None = None


@dataclass(frozen=True)
class GradingCase:
    """One answer to be graded: the judge's prompt, and the bare question and answer for judges that read these alone."""

    prompt: Messages
    question: str
    answer: str


class Judge(Protocol):
    """`name` goes into the result; `comparable` says whether its scores may stand beside published ones."""

    name: str
    comparable: bool

    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        """A grade for every case, in order; `done` is called after each."""
        ...


@dataclass
class OpenAIJudge:
    """Any server that speaks OpenAI's chat API. The key comes from the environment only (OPENAI_API_KEY).

    Rate limits, server faults and cut connections are tried again with growing pauses by the openai client. Every reply is kept on disk under the hash of what was asked,
    so a broken run pays for nothing twice. `spent` counts the tokens of replies that were not on disk.
    """

    model: str
    url: str | None
    cache: Path
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 8
    comparable: bool = True
    spent: dict[str, int] = field(
        default_factory=lambda: {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
    )
    name: str = "openai"
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.name = f"openai:{self.model}"

    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        client = self._client()
        self.cache.mkdir(parents=True, exist_ok=True)

        def one(case: GradingCase) -> Grade:
            reply = self._ask(client, case.prompt)
            done()
            return Grade(read_rating(reply), reply)

        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(one, cases))

    def _client(self) -> Any:
        try:
            import openai
        except ImportError as error:
            raise MissingExtra("the judge `openai`", "its client", "judge") from error
        if not os.environ.get("OPENAI_API_KEY") and self.url is None:
            raise EvaluationError(
                "the judge `openai` needs a key in the environment variable OPENAI_API_KEY, or --judge-url of a server that wants none"
            )
        return openai.OpenAI(
            api_key=os.environ.get("OPENAI_API_KEY", "none"),
            base_url=self.url,
            max_retries=self.retries,
            timeout=self.timeout,
        )

    def _ask(self, client: Any, prompt: Messages) -> str:
        import openai

        asked = {"model": self.model, "messages": prompt, "temperature": 0, "max_tokens": 2048}
        stored = (
            self.cache
            / f"{hashlib.sha256(json.dumps([self.url, asked], sort_keys=True).encode()).hexdigest()}.json"
        )
        if stored.is_file():
            return str(json.loads(stored.read_text())["reply"])
        for attempt in range(self.retries + 1):
            try:
                found = client.chat.completions.create(**asked)
                reply = found.choices[0].message.content
                break
            except (
                openai.AuthenticationError,
                openai.PermissionDeniedError,
                openai.NotFoundError,
                openai.BadRequestError,
            ) as error:
                raise EvaluationError(
                    f"the judge refuses: {error.status_code} {error.message}; check --judge-model, --judge-url and the key"
                ) from error
            except (
                openai.APIResponseValidationError,
                json.JSONDecodeError,
                AttributeError,
                IndexError,
                TypeError,
            ) as error:
                if attempt == self.retries:  # replies that are no replies are worth another try as well
                    raise EvaluationError(
                        f"the judge's replies cannot be read ({type(error).__name__}); what was graded is kept, the same command goes on"
                    ) from error
            except openai.OpenAIError as error:
                raise EvaluationError(
                    f"the judge cannot be reached ({type(error).__name__}); what was graded is kept, the same command goes on"
                ) from error
        usage = getattr(found, "usage", None)
        with self._counting:
            self.spent["calls"] += 1
            self.spent["prompt_tokens"] += getattr(usage, "prompt_tokens", 0) or 0
            self.spent["completion_tokens"] += getattr(usage, "completion_tokens", 0) or 0
        write_json(stored, {"asked": asked, "reply": reply or ""})
        return str(reply or "")


@dataclass
class LocalJudge:
    """A language model in this process, asked greedily."""

    adapter_set: AdapterSet
    name: str
    comparable: bool = True

    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        requests = [
            Request(
                self.adapter_set.prompt(case.prompt, False), None, Sampling(max_new_tokens=1024), (place,)
            )
            for place, case in enumerate(cases)
        ]
        for _ in self.adapter_set.generator().run(requests):
            done()
        replies = [self.adapter_set.text(request.tokens) for request in requests]
        return [Grade(read_rating(reply), reply) for reply in replies]


@dataclass
class RewardJudge:
    """A sequence-classification reward model with one logit, read on the question and the answer alone."""

    model: Any
    tokenizer: Any
    name: str
    comparable: bool = True

    @torch.no_grad()
    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        found = []
        for case in cases:
            turns = [
                {"role": "user", "content": case.question},
                {"role": "assistant", "content": case.answer},
            ]
            text = self.tokenizer.apply_chat_template(turns, tokenize=False)
            ids = self.tokenizer(
                text, return_tensors="pt", add_special_tokens=False, truncation=True, max_length=4096
            ).to(self.model.device)
            raw = float(self.model(**ids).logits[0, 0])
            found.append(Grade(squash(raw), "", raw))
            done()
        return found


def squash(raw: float) -> float:
    """A reward to 1..10 as a Russian MT-Bench script has it: 1 + 9 (s + 5) / 10 under 0, 1 + 9 s up to 1, 1 + 9 min(1, s / 5) above; clipped.

    Not monotonic at 0 and at 1: read the raw score beside it.
    """
    value = 1 + 9 * (raw + 5) / 10 if raw < 0 else 1 + 9 * raw if raw <= 1 else 1 + 9 * min(1.0, raw / 5)
    return max(1.0, min(10.0, value))


@dataclass
class SimpleJudge:
    """The frozen base itself: the expected digit from its next-token distribution after the judge's prompt. No judge model, no published scale."""

    adapter_set: AdapterSet
    name: str = "simple"
    comparable: bool = False

    @torch.no_grad()
    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        tokenizer = self.adapter_set.chat.tokenizer
        digits = [tokenizer(str(digit), add_special_tokens=False)["input_ids"][-1] for digit in range(1, 10)]
        found = []
        for case in cases:
            opening = tokenizer("Rating: [[", add_special_tokens=False)["input_ids"]
            ids = torch.tensor([*self.adapter_set.prompt(case.prompt, False)[-4000:], *opening])
            labels = torch.full_like(ids, -100)
            labels[-1] = 0
            batch = pack_sequences(
                [(ids, labels)], [Segment(0, len(ids), None)], self.adapter_set.base.device
            )
            with use_batch(batch):
                last = self.adapter_set.base.hidden(batch)[len(ids) - 1]
            weights = (self.adapter_set.base.head[digits] @ last).float().softmax(0)
            found.append(Grade(float(weights @ torch.arange(1.0, 10.0, device=weights.device)), ""))
            done()
        return found


def open_judge(wanted: MTBench, adapter_set: AdapterSet, cache: Path) -> Judge:
    """The judge that the settings name; an API's replies are kept in `cache`.

    Raises:
        EvaluationError: a model that is missing or cannot be loaded.
    """
    if wanted.judge == "simple":
        return SimpleJudge(adapter_set)
    model = wanted.judge_model
    if model is None:
        raise EvaluationError(f"the judge {wanted.judge!r} needs judge_model (--judge-model)")
    if wanted.judge == "openai":
        return OpenAIJudge(model, wanted.judge_url, cache)
    if wanted.judge == "reward":
        return _reward(model)
    return LocalJudge(
        AdapterSet(load_base(model), Chat(load_tokenizer(model)), {BASE: None}), f"local:{model}"
    )


def _reward(model: str) -> RewardJudge:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        loaded = AutoModelForSequenceClassification.from_pretrained(model)
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"reward model {model!r} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    if loaded.config.num_labels != 1:
        raise EvaluationError(
            f"reward model {model!r} has {loaded.config.num_labels} logits; one is expected"
        )
    return RewardJudge(
        loaded.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, f"reward:{model}"
    )


def valid(grade: Grade) -> bool:
    """Whether a grade is one: failed parses are counted apart."""
    return grade.rating != FAILED and math.isfinite(grade.rating)
