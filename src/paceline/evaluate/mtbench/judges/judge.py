"""What a judge is, and where judges are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from paceline.config.evaluation import MTBench
from paceline.data.formats import Messages
from paceline.errors import EvaluationError
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.mtbench.protocol import read_rating
from paceline.evaluate.registry import Registry
from paceline.runs.evaluations import FAILED, JudgeUsage


@dataclass(frozen=True, kw_only=True)
class Grade:
    """A rating from 1 to 10, or FAILED where the reply held none or was cut before its end.

    `reply` is what the judge wrote, `raw` a reward model's score before it is mapped to the scale.
    """

    rating: float
    reply: str = ""
    raw: float | None = None


@dataclass(frozen=True, kw_only=True)
class GradingCase:
    """One answer to be graded: the judge's prompt, and what judges without one read."""

    prompt: Messages
    question: str
    answer: str


@dataclass(frozen=True)
class Reply:
    """What a judge wrote; `was_cut` says that it came to its token limit before its end."""

    text: str
    was_cut: bool = False


class Judge(Protocol):
    """Grades answers. `name` goes into the result."""

    @property
    def name(self) -> str: ...

    @property
    def comparable(self) -> bool:
        """Whether its scores may stand beside published ones."""
        ...

    @property
    def usage(self) -> JudgeUsage | None:
        """What its new replies took; None for a judge that costs nothing."""
        ...

    def grade(self, cases: Sequence[GradingCase], done: Callable[[], None]) -> list[Grade]:
        """A grade for every case, in order; `done` is called after each."""
        ...


@runtime_checkable
class AskedJudge(Judge, Protocol):
    """A judge that answers in words, and so can compare two answers as well as grade one."""

    def ask(self, prompts: Sequence[Messages], done: Callable[[], None]) -> list[Reply]:
        """A reply to every prompt, in order; `done` is called after each."""
        ...


class JudgeKind(Protocol):
    """How a kind of judge is checked and opened; a judge's class has both as class methods."""

    def check(self, settings: MTBench) -> None:
        """Refuses, before anything is trained, settings that this judge cannot work with.

        Raises:
            PacelineError: no model named, no key, a package that is not installed.
        """
        ...

    def open(self, settings: MTBench, adapter_set: AdapterSet, cache: Path) -> Judge:
        """The judge, its model loaded. `cache` is a folder for replies that should not be paid for twice."""
        ...


JUDGES: Registry[JudgeKind] = Registry(
    "paceline.judges",
    "judge",
    {
        "openai": "paceline.evaluate.mtbench.judges.openai_api:OpenAIJudge",
        "local": "paceline.evaluate.mtbench.judges.local:LocalJudge",
        "reward": "paceline.evaluate.mtbench.judges.reward:RewardJudge",
        "simple": "paceline.evaluate.mtbench.judges.simple:SimpleJudge",
    },
)


def open_judge(settings: MTBench, adapter_set: AdapterSet, cache: Path) -> Judge:
    """The judge that the settings name, checked.

    Raises:
        PacelineError: there is no such judge, or it cannot be asked.
    """
    check_judge(settings)
    return JUDGES.get(settings.judge).open(settings, adapter_set, cache)


def check_judge(settings: MTBench) -> None:
    """Refuses a judge that cannot do what the settings ask of it.

    Raises:
        PacelineError: there is no such judge, it cannot be asked, or it cannot compare two answers.
    """
    kind = JUDGES.get(settings.judge)
    if settings.pairwise and not hasattr(kind, "ask"):
        able = ", ".join(name for name in JUDGES.names() if hasattr(JUDGES.get(name), "ask"))
        raise EvaluationError(
            f"eval.mtbench: pairwise needs a judge that compares two answers ({able}); "
            f"{settings.judge!r} grades one at a time"
        )
    kind.check(settings)


def grade_of(reply: Reply) -> Grade:
    """The grade that a reply holds; one that was cut before its end holds none."""
    return Grade(rating=FAILED if reply.was_cut else read_rating(reply.text), reply=reply.text)


def judge_model(settings: MTBench) -> str:
    """The model that a judge needs.

    Raises:
        EvaluationError: none is named.
    """
    if settings.judge_model is None:
        raise EvaluationError(f"eval.mtbench: the judge {settings.judge!r} needs judge_model (--judge-model)")
    return settings.judge_model
