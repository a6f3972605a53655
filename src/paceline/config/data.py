"""Where a run's examples come from, how many are used, which are removed and which are held out."""

from typing import Any, Literal

from pydantic import Field, model_validator

from paceline.config.strict import Strict

Format = Literal[
    "auto", "messages", "prompt-completion", "alpaca", "sharegpt", "strandset", "codeforces", "twix"
]


class MixtureComponent(Strict):
    """One part of a mixture. What it leaves out is as in the data it belongs to."""

    ratio: float = Field(gt=0, le=1, description="share of the rows that are used")
    source: str | None = Field(None, description="hub data set id, file or folder")
    config: str | None = Field(None, description="configuration of a hub data set that has several")
    split: str | None = Field(None, description="split of the source")
    format: Format | None = Field(None, description="format of the rows")
    subset: str | None = Field(None, description="only rows whose column `subset` says this")


class Clean(Strict):
    """What is removed before training. Lengths are in tokens."""

    duplicates: Literal["none", "exact", "near"] = Field(
        "near", description="which copies to remove, all but the first"
    )
    threshold: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Jaccard similarity of token 5-grams from which two examples are near duplicates",
    )
    min_answer: int = Field(2, ge=0, description="shortest answer kept, end-of-turn token included")
    max_length: int | None = Field(None, gt=0, description="longest example kept")
    outliers: float | None = Field(
        3.0,
        gt=0,
        description="remove lengths so many interquartile ranges outside the quartiles, in logarithms",
    )
    max_repetition: float | None = Field(
        0.8, gt=0, le=1, description="largest share of an answer's 5-grams that repeat earlier ones"
    )


class Data(Strict):
    """Where the examples come from, how many are used, and which are held out."""

    source: str = Field(description="hub data set id, or a JSONL, JSON, Parquet or CSV file or folder")
    config: str | None = Field(None, description="configuration of a hub data set that has several")
    split: str = Field("train", description="split of the source")
    format: Format = Field("auto", description="format of the rows; auto: recognised from the columns")
    subset: str | None = Field(None, description="only rows whose column `subset` says this; both: all")
    n: int | None = Field(None, gt=0, description="rows to use, train and eval together; default: all")
    sample_ratio: float | None = Field(
        None, gt=0, le=1, description="share of the rows to use, in place of n"
    )
    mix_reasoning_ratio: float | None = Field(
        None, gt=0, lt=1, description="share of the subset `reasoning`, the rest `general`"
    )
    mix: tuple[MixtureComponent, ...] | None = Field(
        None, min_length=1, description="parts of a mixture, with the share of each"
    )
    clean: Clean | None = Field(None, description="what is removed before training")
    eval_ratio: float = Field(0.1, gt=0, lt=1, description="share of the distinct examples that is held out")
    seed: int = Field(
        42, ge=0, description="seed of the sample and of the split, the same for every run of a study"
    )

    @model_validator(mode="after")
    def _agree(self) -> "Data":
        if self.n is not None and self.sample_ratio is not None:
            raise ValueError("n and sample_ratio both say how many rows to use; give one of them")
        if self.mix_reasoning_ratio is not None and (self.mix is not None or self.subset != "both"):
            raise ValueError("mix_reasoning_ratio needs subset: both, and no mix beside it")
        if self.mix is not None:
            if self.subset not in (None, "both"):
                raise ValueError("a mixture's subsets are named in its parts; remove data.subset")
            if abs((total := sum(part.ratio for part in self.mix)) - 1) > 1e-6:
                raise ValueError(f"the ratios of data.mix sum to {total:g}; they must sum to 1")
        return self

    def parts(self) -> list[MixtureComponent]:
        """The mixture's parts with nothing left out; a plain source is a mixture of one."""
        given: list[dict[str, Any]] = [{"ratio": 1, "subset": None if self.subset == "both" else self.subset}]
        if self.mix_reasoning_ratio is not None:
            share = self.mix_reasoning_ratio
            given = [{"ratio": 1 - share, "subset": "general"}, {"ratio": share, "subset": "reasoning"}]
        if self.mix is not None:
            given = [part.model_dump(exclude_none=True) for part in self.mix]
        own = self.model_dump(include={"source", "config", "split", "format"})
        return [MixtureComponent.model_validate(own | fields) for fields in given]
