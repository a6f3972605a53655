"""Losses of held-out examples, one row an example: what every comparison of runs is made from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict

if TYPE_CHECKING:
    import pandas as pd

from paceline.errors import RunError
from paceline.runs.digests import value_digest
from paceline.runs.files import JsonObject

_TEXTS = ("source", "task")
_NUMBERS = ("row", "tokens", "loss", "correct", "kl", "answer")
# Where the file of a table says what its columns were.
_DIGEST = b"paceline.digest"


def nan_for_null(value: object) -> object:
    """What a number that was not finite is written as, read back."""
    return math.nan if value is None else value


# A number that may not be finite: JSON has no word for that, so it is null on disk and NaN here.
Measured = Annotated[float, BeforeValidator(nan_for_null)]


class LossFigures(BaseModel):
    """Means over the supervised tokens of some examples.

    `loss` is in nats a token, `token_accuracy` a share; `kl` is the mean KL divergence from the bare base in
    nats a token (None: not measured).
    """

    model_config = ConfigDict(frozen=True)

    examples: int
    tokens: int
    loss: Measured
    perplexity: Measured
    token_accuracy: float
    kl: float | None = None


class LossSummary(LossFigures):
    """The same over all examples, by task and by phase of a curriculum."""

    tasks: dict[str, LossFigures] = {}
    phases: dict[str, LossFigures] = {}


@dataclass(frozen=True)
class ExampleLosses:
    """Losses of held-out examples. Shapes: (examples,) each.

    `source` and `row` say which example it is, `tokens` counts its supervised tokens, `loss` is their summed
    loss in nats, `correct` how many of them were the model's first choice, `kl` the summed KL divergence from
    the bare base in nats (NaN: not measured), `answer` is a digest of the supervised tokens.
    """

    source: list[str]
    row: NDArray[np.int64]
    task: list[str]
    tokens: NDArray[np.int64]
    loss: NDArray[np.float64]
    correct: NDArray[np.int64]
    kl: NDArray[np.float64]
    answer: NDArray[np.int64]

    def summary(self, phases: Mapping[str, Sequence[str]] = {}) -> LossSummary:
        """Figures over all tokens, for each task and for each phase of a curriculum ({phase: its tasks})."""
        phase_of = {task: phase for phase, tasks in phases.items() for task in tasks}
        everything = self._figures(np.ones(len(self.row), dtype=bool))
        by_phase = self._by([phase_of.get(task, "") for task in self.task])
        return LossSummary(**everything.model_dump(), tasks=self._by(self.task), phases=by_phase)

    def _by(self, labels: list[str]) -> dict[str, LossFigures]:
        every = np.asarray(labels, dtype=object)
        return {label: self._figures(every == label) for label in sorted(set(labels) - {""})}

    def _figures(self, chosen: NDArray[np.bool_]) -> LossFigures:
        tokens = int(self.tokens[chosen].sum())
        loss, kl = float(self.loss[chosen].sum() / tokens), float(self.kl[chosen].sum() / tokens)
        return LossFigures(
            examples=int(chosen.sum()),
            tokens=tokens,
            loss=loss,
            perplexity=float(np.exp(loss)),
            token_accuracy=float(self.correct[chosen].sum() / tokens),
            kl=None if np.isnan(kl) else kl,
        )

    def of_task(self, task: str) -> "ExampleLosses":
        """The examples of one task."""
        return self.at(np.flatnonzero([other == task for other in self.task]))

    def at(self, places: NDArray[np.int64]) -> "ExampleLosses":
        """The examples at some places, in that order."""
        arrays = {name: getattr(self, name)[places] for name in _NUMBERS}
        return ExampleLosses(
            source=[self.source[place] for place in places],
            task=[self.task[place] for place in places],
            **arrays,
        )

    def to_pandas(self) -> "pd.DataFrame":
        """The table: one row an example, the columns as they are here."""
        import pandas as pd

        return pd.DataFrame(self._columns())

    def _columns(self) -> JsonObject:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def save(self, path: Path) -> None:
        """Writes the table as Parquet."""
        scratch = path.with_name(f".{path.name}.partial")
        columns = self._columns()
        table = pa.table(columns)
        pq.write_table(table.replace_schema_metadata({_DIGEST: _digest(columns)}), scratch)
        scratch.replace(path)

    @classmethod
    def read(cls, path: Path) -> "ExampleLosses":
        """Reads what `save` wrote.

        Raises:
            RunError: the file is cut, empty or changed.
        """
        try:
            table = pq.ParquetFile(path).read()  # `read_table` would import pandas
            columns = {name: table.column(name).to_pylist() for name in _TEXTS}
            # a column's `to_numpy` would import pandas
            columns |= {name: np.from_dlpack(table.column(name).combine_chunks()) for name in _NUMBERS}
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise _damaged(path) from error
        if (table.schema.metadata or {}).get(_DIGEST, b"").decode() not in ("", _digest(columns)):
            raise _damaged(path)
        return cls(**columns)


def _digest(columns: JsonObject) -> str:
    """The digest of all values of a table, by column."""
    texts = {name: columns[name] for name in _TEXTS}
    numbers = {name: np.asarray(columns[name]).tobytes().hex() for name in _NUMBERS}
    return value_digest([texts, numbers])


def _damaged(path: Path) -> RunError:
    state = "damaged" if path.is_file() else "missing"
    return RunError(f"{path} is {state}; run the command that trained it again")
