"""What a run is evaluated by beside its held-out loss."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from paceline.config.data import Format
from paceline.config.strict import Strict


class InTrainingEval(Strict):
    """A part of the questions while the run trains, and an early stop on its score."""

    steps: int = Field(gt=0, description="steps between the checks")
    questions: int = Field(16, ge=0, description="how many questions, spread over the categories; 0: all")
    patience: int | None = Field(
        None, gt=0, description="stop after this many checks without a better score; default: never"
    )
    min_delta: float = Field(0.05, ge=0, description="how much higher a score must be to count as better")
    floor: float = Field(
        0.30, ge=0, description="with patience: stop at once when the score is this far under the base's"
    )


def _plain_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("not an address; it begins with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address with a password in it; a key belongs in OPENAI_API_KEY")
    return url


class MTBench(Strict):
    """Two-turn questions before and after training, graded answer by answer."""

    when: tuple[Literal["before", "after"], ...] = Field(
        ("before", "after"), min_length=1, description="the bare base, the trained run, or both"
    )
    lang: Annotated[str, BeforeValidator(lambda value: "ru" if value == "auto" else value)] = Field(
        "en", description="en or ru (from the hub), or a file or folder with questions in FastChat's form"
    )
    questions: int = Field(0, ge=0, description="how many questions, spread over the categories; 0: all")
    judge: str = Field("simple", description="who grades: openai, local, reward or simple")
    judge_model: str | None = Field(
        None, description="the judge's model: a name at the server, a hub id or a folder"
    )
    judge_url: Annotated[str, AfterValidator(_plain_address)] | None = Field(
        None, description="address of a server that speaks OpenAI's API"
    )
    judge_prompts: str | None = Field(
        None, description="the benchmark's judge_prompts.jsonl, for scores beside published ones"
    )
    judge_price: Annotated[
        tuple[float, float] | None, BeforeValidator(lambda v: v.split(",") if isinstance(v, str) else v)
    ] = Field(
        None,
        description="what a million prompt tokens and a million answer tokens of the judge cost, as 2.5,10",
    )
    temperature: float = Field(0.0, ge=0, description="0: greedy")
    max_new_tokens: int = Field(1024, gt=0, description="longest answer in tokens")
    thinking: bool = Field(False, description="let a base that can think before its answer")
    pairwise: bool = Field(
        False, description="let the judge also compare each answer with the base's, in both orders"
    )
    during: InTrainingEval | None = Field(None, description="a part of the questions during training")

    @property
    def protocol(self) -> str:
        """What two grades need to have in common beside their judge, in words."""
        prompts = "" if self.judge_prompts is None else f", judge prompts of {self.judge_prompts}"
        return f"{self.lang}, {_answers(self)}{prompts}"

    @model_validator(mode="after")
    def _agree(self) -> "MTBench":
        if self.pairwise and set(self.when) != {"before", "after"}:
            raise ValueError("pairwise compares a run's answers with the base's; when needs before and after")
        return self


class CodeTasks(Strict):
    """Generated code that is compiled and run."""

    suite: str = Field("rust", description="rust (compiled and tested) or problems (run on examples)")
    data: str | None = Field(None, description="rows with tests or examples; default: the embedded sample")
    n: int = Field(50, gt=0, description="tasks, drawn by the seed")
    samples: int = Field(1, gt=0, description="answers to each task, for pass@k (with a temperature)")
    temperature: float = Field(0.0, ge=0, description="0: greedy")
    top_p: float = Field(
        1.0, ge=0, le=1, description="draw from the likeliest tokens that together have this probability"
    )
    max_new_tokens: int = Field(512, gt=0, description="longest answer in tokens")
    thinking: bool = Field(False, description="let a base that can think before its answer")
    seed: int = Field(0, ge=0, description="seed of the draw of tasks and of the sampling")
    sandbox: Literal["bubblewrap", "docker"] = Field(
        "bubblewrap", description="what contains the code: bubblewrap, or docker (or podman)"
    )

    @property
    def protocol(self) -> str:
        """What two pass rates need to have in common, in words."""
        return f"{self.data or 'the embedded sample'}, {_answers(self)}, top_p {self.top_p:g}"


def _answers(asked: MTBench | CodeTasks) -> str:
    thinking = ", thinking" if asked.thinking else ""
    return f"temperature {asked.temperature:g}, {asked.max_new_tokens:,} tokens{thinking}"


class ForgettingEval(Strict):
    """Rows of another kind than the training data, for what is forgotten."""

    source: str = Field(description="hub data set id, file or folder with general conversations")
    config: str | None = Field(None, description="configuration of a hub data set that has several")
    split: str = Field("train", description="split of the source")
    format: Format = Field("auto", description="format of the rows")
    n: int = Field(200, gt=0, description="rows, drawn by a fixed seed")


class Evaluation(Strict):
    """Evaluations of a finished run, each beside the bare base."""

    mtbench: MTBench | None = Field(None, description="MT-Bench")
    code: CodeTasks | None = Field(None, description="generated code, run")
    forgetting: ForgettingEval | None = Field(None, description="loss on general rows and KL to the base")
