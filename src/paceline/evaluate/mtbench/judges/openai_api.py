"""A judge behind any server that speaks OpenAI's chat API."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from paceline.config.evaluation import MTBench
from paceline.data.formats import Messages
from paceline.errors import EvaluationError, MissingExtra
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.mtbench.judges.judge import Grade, GradingCase, Reply, grade_of, judge_model
from paceline.evaluate.mtbench.judges.keys import KEY_HOSTS, may_have_key
from paceline.runs.evaluations import JudgeUsage
from paceline.runs.files import read_json, write_json

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion

MAX_REPLY_TOKENS = 2048


@dataclass
class OpenAIJudge:
    """Asks a model at a server. The key comes from the environment only (OPENAI_API_KEY), and goes to OpenAI
    and to servers that the user has named (`keys.py`).

    The openai client repeats requests that a rate limit, a server's fault or a cut connection ended, with
    growing pauses. Every reply is kept on disk under the hash of what was asked, so that a stopped evaluation
    pays for nothing twice; `usage` counts the replies that were not on disk. `price` is the cost of a million
    prompt tokens and of a million reply tokens.
    """

    model: str
    url: str | None
    cache: Path
    price: tuple[float, float] | None = None
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 8
    comparable: bool = True
    _new: list[tuple[int, int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def check(cls, settings: MTBench) -> None:
        """A model is named, the client is installed, and there is a key or a server that may want none."""
        judge_model(settings)
        _check_access(settings.judge_url)

    @classmethod
    def open(cls, settings: MTBench, adapter_set: AdapterSet, cache: Path) -> OpenAIJudge:
        return cls(judge_model(settings), settings.judge_url, cache, settings.judge_price)

    @property
    def name(self) -> str:
        return f"openai:{self.model}"

    @property
    def usage(self) -> JudgeUsage:
        """Calls and tokens of the replies that were not on disk, and their cost where the price is known."""
        prompt, reply = (sum(tokens) for tokens in (zip(*self._new, strict=True) if self._new else ((), ())))
        cost = (prompt * self.price[0] + reply * self.price[1]) / 1e6 if self.price else None
        return JudgeUsage(calls=len(self._new), prompt_tokens=prompt, completion_tokens=reply, cost=cost)

    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        """Grades several cases at once."""
        return [grade_of(reply) for reply in self.ask([case.prompt for case in cases], done)]

    def ask(self, prompts: Sequence[Messages], done: Callable[[], None]) -> list[Reply]:
        """Asks several prompts at once."""
        client = self._client()
        self.cache.mkdir(parents=True, exist_ok=True)

        def ask_one(prompt: Messages) -> Reply:
            reply = self._reply(client, prompt)
            done()
            return reply

        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(ask_one, prompts))

    def _client(self) -> OpenAI:
        _check_access(self.url)
        from openai import OpenAI

        return OpenAI(
            api_key=os.environ.get("OPENAI_API_KEY", "none") if may_have_key(self.url) else "none",
            base_url=self.url,
            max_retries=self.retries,
            timeout=self.timeout,
        )

    def _advice(self) -> str:
        if "OPENAI_API_KEY" in os.environ and not may_have_key(self.url):
            host = urlsplit(self.url or "").netloc
            return (
                f"OPENAI_API_KEY was not sent to {host}, which only a file names; "
                f"if it shall have it, set {KEY_HOSTS}={host}"
            )
        return "check --judge-model, --judge-url and the key"

    def _reply(self, client: OpenAI, prompt: Messages) -> Reply:
        """The reply to a prompt, from the disk if it is there."""
        asked = {"model": self.model, "messages": prompt, "temperature": 0, "max_tokens": MAX_REPLY_TOKENS}
        key = hashlib.sha256(json.dumps([self.url, asked], sort_keys=True).encode()).hexdigest()
        stored = self.cache / f"{key}.json"
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged: asked again
            kept = read_json(stored)
            return Reply(str(kept["reply"]), kept.get("finish") == "length")
        completion, reply = self._complete(client, prompt)
        usage = getattr(completion, "usage", None)
        tokens = [getattr(usage, name, 0) or 0 for name in ("prompt_tokens", "completion_tokens")]
        with self._lock:
            self._new.append((tokens[0], tokens[1]))
        finish = getattr(completion.choices[0], "finish_reason", None)
        write_json(stored, {"asked": asked, "reply": reply, "finish": finish})
        return Reply(reply, finish == "length")

    def _complete(self, client: OpenAI, prompt: Messages) -> tuple[ChatCompletion, str]:
        """A new completion; a response that cannot be read is asked for again, as a failed one is."""
        import openai

        refusals = (
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            openai.NotFoundError,
            openai.BadRequestError,
        )
        unreadable = (
            openai.APIResponseValidationError,
            json.JSONDecodeError,
            AttributeError,
            IndexError,
            TypeError,
        )
        kept = "what was graded is kept, and the same command goes on"
        for attempt in range(self.retries + 1):
            try:
                completion = client.chat.completions.create(
                    model=self.model,
                    messages=prompt,  # type: ignore[arg-type]
                    temperature=0,
                    max_tokens=MAX_REPLY_TOKENS,
                )
                return completion, completion.choices[0].message.content or ""
            except refusals as error:
                raise EvaluationError(
                    f"the judge refuses: {error.status_code} {error.message}; {self._advice()}"
                ) from error
            except unreadable as error:
                if attempt == self.retries:
                    raise EvaluationError(
                        f"the judge's replies cannot be read ({type(error).__name__}); {kept}"
                    ) from error
            except openai.OpenAIError as error:
                raise EvaluationError(
                    f"the judge cannot be reached ({type(error).__name__}); {kept}"
                ) from error
        raise AssertionError("the last attempt returns or raises")


def _check_access(url: str | None) -> None:
    if importlib.util.find_spec("openai") is None:
        raise MissingExtra("the judge `openai`", "its client", "judge")
    if url is None and not os.environ.get("OPENAI_API_KEY"):
        raise EvaluationError(
            "eval.mtbench: the judge `openai` needs a key in the environment variable OPENAI_API_KEY, "
            "or judge_url (--judge-url), the address of a server that needs none"
        )
