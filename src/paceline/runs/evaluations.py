"""Results of evaluations in a run's eval/ folder: each kind of file has one type, one writer and one reader.

mtbench.json, mtbench-answers.jsonl, mtbench-judgments.jsonl, mtbench-pairs.jsonl
SUITE.json, SUITE-answers.jsonl, SUITE-verdicts.jsonl        SUITE is rust, problems, …
forgetting.json
"""

import math
import re
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from paceline.runs.files import JsonObject
from paceline.runs.losses import LossSummary, Measured
from paceline.runs.records import Record, read_record
from paceline.runs.stored_intervals import RatingDifference, StoredDifference, StoredInterval
from paceline.stats.intervals import SHARE, reach_of_alike
from paceline.stats.verdict import Verdict, verdict

# The rating of a reply that holds none.
FAILED = -1.0


class Answer(Record):
    """A run's answer to a prompt. `sample` numbers several answers to one; `finish` is stop or length.

    `asked` is the digest of all that decides the answer: the prompt's tokens, the sampling, adapter and base.
    """

    run: str
    id: str
    sample: int
    messages: list[dict[str, Any]]
    answer: str
    tokens: int
    finish: str
    asked: str = ""

    @property
    def question(self) -> str:
        """The last thing that was said to the run."""
        return str(self.messages[-1]["content"])


class TurnAnswer(Record):
    """A run's answer to one turn (from 0) of a question; `asked` as an `Answer` has it."""

    run: str
    id: str
    turn: int
    question: str
    answer: str
    tokens: int
    finish: str
    asked: str = ""


class Judgment(Record):
    """The grade of one answer: a rating from 1 to 10 or FAILED, and for reward models the raw score."""

    run: str
    id: str
    category: str
    turn: int
    rating: Measured
    raw: float | None = None
    reply: str

    @property
    def is_valid(self) -> bool:
        """Whether the judge's reply held a rating; those that do not are counted apart."""
        return self.rating != FAILED and math.isfinite(self.rating)

    @property
    def score(self) -> float:
        """What runs are compared by: a reward model's raw score, which its rating does not order, else the
        rating."""
        return self.rating if self.raw is None else self.raw


class PairJudgment(Record):
    """A run's answer to one turn beside the base's, as a judge saw them in both orders.

    `verdicts` are A, B or C (no difference), first with the run's answer as A, then as B; "" where the reply
    held none. A win or a loss is one that both orders agree on, all else is a tie (arXiv:2306.05685, sec.
    3.4).
    """

    run: str
    id: str
    category: str
    turn: int
    verdicts: tuple[str, str]
    replies: tuple[str, str]

    @property
    def outcome(self) -> Literal["win", "tie", "loss", "failed"]:
        """What became of the run's answer."""
        if "" in self.verdicts:
            return "failed"
        return {("A", "B"): "win", ("B", "A"): "loss"}.get(self.verdicts, "tie")  # type: ignore[return-value]

    @property
    def is_swayed(self) -> bool:
        """Whether the two orders contradict each other, as where a judge goes by the place."""
        return "" not in self.verdicts and self.verdicts not in (("A", "B"), ("B", "A"), ("C", "C"))

    @property
    def score(self) -> float:
        """1 for a win, 1/2 for a tie, 0 for a loss."""
        return {"win": 1.0, "tie": 0.5, "loss": 0.0}[self.outcome]


class CodeVerdict(Record):
    """What became of one answer that was run: `compiled` is None where there is nothing to compile."""

    run: str
    id: str
    sample: int
    finish: str
    kind: str
    compiled: bool | None
    passed: bool
    output: str


class EvaluationResult(Record):
    """The result of one kind of evaluation."""

    kind: ClassVar[str]


class PairwiseScores(Record):
    """A run's answers beside the base's: wins plus half of the ties, as a share, and how many of each.

    `swayed` counts ties whose two orders contradict each other; `failed` comparisons are left out.
    """

    win_rate: StoredInterval
    wins: int
    ties: int
    losses: int
    swayed: int
    failed: int

    @property
    def verdict(self) -> Verdict:
        """Whether the run's answers and the base's differ: a share of 1/2 is that of equals."""
        rate = self.win_rate
        if not rate.n or (rate.value in SHARE and reach_of_alike(0.5, rate.n) >= 0.5):
            return "tie"
        return verdict(rate.low - 0.5, rate.high - 0.5, "higher", covers_seeds=False)


class MTBenchScores(Record):
    """One run's mean ratings: overall, by turn ("1", "2") and by category; `failed` grades are left out.

    `cut` answers ended at the token limit (None: a result of an earlier version, which did not count them).
    `raw` is a reward model's mean raw score. `change` is the paired difference from the bare base: of the raw
    scores where there are any, since the squashed ratings do not keep their order. `withheld` says why
    nothing is said of a change, where too many answers were cut.
    """

    average: StoredInterval
    failed: int
    cut: int | None = None
    turns: dict[str, StoredInterval]
    categories: dict[str, StoredInterval]
    raw: float | None = None
    change: RatingDifference | None = None
    pairwise: PairwiseScores | None = None
    withheld: str = ""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_squashed_change(cls, fields: object) -> object:
        """Earlier versions, which did not count cut answers, took a reward model's change from ratings."""
        if isinstance(fields, dict) and fields.get("raw") is not None and fields.get("cut") is None:
            return {**fields, "change": None}
        return fields


class JudgeUsage(Record):
    """What new replies of a judge took; `cost` is None where no price is known."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None


class MTBenchSummary(EvaluationResult):
    """MT-Bench of several runs, by name; the bare base's is `base`. `protocol` is how they were asked."""

    kind: ClassVar[str] = "mtbench"

    judge: str
    protocol: str = ""
    comparable_with_published: bool
    questions: int
    runs: dict[str, MTBenchScores]
    judge_spent: JudgeUsage | None = None


class CodeScores(Record):
    """One run's pass rates over executable tasks: `cut` answers ended at the token limit.

    `pass_at_k` is there where tasks were answered `k` > 1 times; on disk it is named pass@K, and `pass_at_1`
    pass@1. `change` is the paired difference of pass@1 from the bare base. `withheld` says why nothing is
    said of a change, where too many answers were cut.
    """

    pass_at_1: StoredInterval
    cut: int
    compile_rate: StoredInterval | None
    kinds: dict[str, StoredInterval]
    k: int = 1
    pass_at_k: StoredInterval | None = None
    change: StoredDifference | None = None
    withheld: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, fields: object) -> object:
        if not isinstance(fields, dict) or "pass@1" not in fields:
            return fields
        others = {name: value for name, value in fields.items() if not name.startswith("pass@")}
        several = {int(m[1]): fields[m[0]] for name in fields if (m := re.fullmatch(r"pass@(\d+)", name))}
        others["pass_at_1"] = several.pop(1)
        for k, interval in several.items():
            others |= {"k": k, "pass_at_k": interval}
        return others

    @model_serializer(mode="wrap")
    def _write_names(self, handler: SerializerFunctionWrapHandler) -> JsonObject:
        fields = handler(self)
        first, several, k = fields.pop("pass_at_1"), fields.pop("pass_at_k"), fields.pop("k")
        return {"pass@1": first, **fields, **({f"pass@{k}": several} if several is not None else {})}


class CodeSummary(EvaluationResult):
    """Runs on executable tasks. `left_out` counts tasks that cannot tell right from wrong, by reason.

    `run_a_minute_a_core` is how many of the tasks' own programs a core ran in a minute, `protocol` how runs
    were asked.
    """

    kind: ClassVar[str] = "code"

    suite: str
    protocol: str = ""
    tasks: int
    left_out: dict[str, int]
    samples: int
    run_a_minute_a_core: float
    runs: dict[str, CodeScores]

    @property
    def drawn(self) -> int:
        """Tasks that were asked for: those that count and those left out."""
        return self.tasks + sum(self.left_out.values())


class RunForgetting(Record):
    """One run's loss on general rows against the bare base's, and how far it moved (`run.kl`)."""

    rows: int
    source: str
    base: LossSummary
    run: LossSummary
    change: StoredDifference


class ForgettingSummary(EvaluationResult):
    """What several runs forgot, by name."""

    kind: ClassVar[str] = "forgetting"

    runs: dict[str, RunForgetting]


class FailedEvaluation(EvaluationResult):
    """An evaluation that could not be done, of which runs, and why. The same command tries it again."""

    kind: ClassVar[str] = "failed"

    evaluation: str
    runs: tuple[str, ...]
    reason: str


def read_mtbench(folder: Path) -> MTBenchSummary | None:
    """MT-Bench in a run's eval folder; None if it was not done."""
    path = folder / "mtbench.json"
    return read_record(path, MTBenchSummary) if path.is_file() else None


def read_code(folder: Path) -> dict[str, CodeSummary]:
    """{suite: result} of the executable tasks in a run's eval folder."""
    suites = sorted(path.name.removesuffix("-verdicts.jsonl") for path in folder.glob("*-verdicts.jsonl"))
    paths = {suite: folder / f"{suite}.json" for suite in suites}
    return {suite: read_record(path, CodeSummary) for suite, path in paths.items() if path.is_file()}


def read_forgetting(folder: Path) -> RunForgetting | None:
    """What the run of an eval folder forgot; None if that was not measured."""
    path = folder / "forgetting.json"
    return read_record(path, RunForgetting) if path.is_file() else None
