"""Where a run's examples come from, how many are used, which are removed and which are held out."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from paceline.config.strict import Strict

# The name of a row format, or auto. Formats are registered in `paceline.data.formats`, which refuses
# unknown names.
Format = str


@dataclass(frozen=True)
class Source:
    """Rows of one data set, with nothing left open: where they are, how they are read, and which of them.

    Args:
        source: hub data set id, file or folder.
        subset: only rows whose column `subset` says this; None: all.
        ratio: share of the mixture; 1 where there is no other part.
        revision: branch, tag or commit of a hub data set.
        stream_rows: stream the first so many rows from the hub; None: download it whole.
        max_bad_rows: most rows that may be bad, a number or a share in percent.
        columns: (what the format calls a column, what the rows call it), for those that differ.
    """

    source: str
    config: str | None = None
    split: str = "train"
    format: Format = "auto"
    subset: str | None = None
    ratio: float = 1.0
    revision: str | None = None
    stream_rows: int | None = None
    max_bad_rows: int | str = "5%"
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """What tells this part of a mixture from the others."""
        return self.subset or self.source


class MixtureComponent(Strict):
    """One part of a mixture. What it leaves out is as in the data it belongs to."""

    ratio: float = Field(gt=0, le=1, description="share of the rows that are used")
    source: str | None = Field(None, description="hub data set id, file or folder")
    config: str | None = Field(None, description="configuration of a hub data set that has several")
    split: str | None = Field(None, description="split of the source")
    format: Format | None = Field(None, description="format of the rows")
    subset: str | None = Field(None, description="only rows whose column `subset` says this")
    revision: str | None = Field(None, description="branch, tag or commit of a hub data set")
    columns: dict[str, str] | None = Field(None, description="{column of the format: column of the rows}")

    def source_within(self, whole: Source) -> Source:
        """This part, with what it leaves out taken from the data that it belongs to (except the subset)."""
        return replace(
            whole,
            source=self.source or whole.source,
            config=self.config or (whole.config if self.source is None else None),
            split=self.split or whole.split,
            format=self.format or whole.format,
            subset=self.subset,
            ratio=self.ratio,
            revision=self.revision or (whole.revision if self.source is None else None),
            columns=whole.columns if self.columns is None else tuple(self.columns.items()),
        )


def _share_or_count(value: Any) -> Any:
    """A share as percent, such as 5% for 0.05; a whole number is a count."""
    if isinstance(value, str) and not value.strip().endswith("%"):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a share such as 5%, or a number of rows")
    if isinstance(value, int):
        if value < 0:
            raise ValueError("a share such as 5%, or a number of rows from 0")
        return value
    share = float(value.strip()[:-1]) if isinstance(value, str) else value * 100
    if not 0 <= share < 100:
        raise ValueError("a share from 0% and under 100%, or a number of rows")
    return f"{share:g}%"


def _zero_is_none(value: Any) -> Any:
    return None if value in (0, "0") else value


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
    outliers: Annotated[float | None, BeforeValidator(_zero_is_none)] = Field(
        3.0,
        gt=0,
        description="interquartile ranges of log length beyond the quartiles that make a length odd; 0: any",
    )
    max_repetition: Annotated[float | None, BeforeValidator(_zero_is_none)] = Field(
        0.8, gt=0, le=1, description="largest share of an answer's 5-grams that repeat earlier ones; 0: any"
    )


class Data(Strict):
    """Where the examples come from, how many are used, and which are held out."""

    source: str = Field(
        description="hub data set id, or a JSONL, JSON, Parquet, CSV or TSV file, folder or pattern"
    )
    config: str | None = Field(None, description="configuration of a hub data set that has several")
    split: str = Field("train", description="split of the source")
    format: Format = Field("auto", description="format of the rows; auto: recognised from the columns")
    columns: dict[str, str] | None = Field(
        None,
        description="columns under other names: {prompt: q, completion: a}; weight: a column of numbers that "
        "scale a row's loss",
    )
    thinking: Literal["every", "last", "none"] = Field(
        "every",
        description="where a template drops earlier thoughts: an example for every answer, or the last "
        "answer alone; none: learn to answer without a thought",
    )
    chat_template: str | None = Field(
        None, description="chat template in place of the base's: a file, or chatml"
    )
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
    revision: str | None = Field(None, description="branch, tag or commit of a hub data set")
    stream: bool = Field(False, description="stream the first n rows from the hub, download no more")
    max_bad_rows: Annotated[int | str, BeforeValidator(_share_or_count)] = Field(
        "5%", description="most rows that may be unusable and dropped: a share such as 5%, or a number"
    )
    clean: Clean | None = Field(None, description="what is removed before training")
    packing: bool = Field(
        False,
        description="join texts (format text) and cut them into examples of max_length tokens, so that "
        "nothing is cut off; held-out texts stay apart, each in windows",
    )
    eval_ratio: float = Field(0.1, gt=0, lt=1, description="share of the distinct examples that is held out")
    seed: int = Field(
        42, ge=0, description="seed of the sample and of the split, the same for every run of a study"
    )
    resample: int | None = Field(
        None,
        ge=0,
        description="seed by which as many training rows are drawn anew from all that are not held out",
    )

    @model_validator(mode="after")
    def _agree(self) -> "Data":
        if self.n is not None and self.sample_ratio is not None:
            raise ValueError("n and sample_ratio both say how many rows to use; give one of them")
        if self.stream and self.n is None:
            raise ValueError("stream needs n, the number of rows to stream")
        if self.mix_reasoning_ratio is not None and (self.mix is not None or self.subset != "both"):
            raise ValueError("mix_reasoning_ratio needs subset: both, and no mix beside it")
        if self.packing and any("weight" in dict(part.columns) for part in self.parts()):
            raise ValueError(
                "packing joins texts of different weights into one example; leave out one of both"
            )
        if self.mix is not None:
            if self.subset not in (None, "both"):
                raise ValueError("a mixture's subsets are named in its parts; remove data.subset")
            if abs((total := sum(part.ratio for part in self.mix)) - 1) > 1e-6:
                raise ValueError(f"the ratios of data.mix sum to {total:g}; they must sum to 1")
        return self

    def parts(self) -> tuple[Source, ...]:
        """The parts of the mixture, in order; a plain source is a mixture of one."""
        whole = Source(
            self.source,
            self.config,
            self.split,
            self.format,
            None if self.subset == "both" else self.subset,
            revision=self.revision,
            stream_rows=self.n if self.stream else None,
            max_bad_rows=self.max_bad_rows,
            columns=tuple((self.columns or {}).items()),
        )
        if self.mix_reasoning_ratio is not None:
            share = self.mix_reasoning_ratio
            return (
                replace(whole, subset="general", ratio=1 - share),
                replace(whole, subset="reasoning", ratio=share),
            )
        if self.mix is not None:
            return tuple(part.source_within(whole) for part in self.mix)
        return (whole,)
