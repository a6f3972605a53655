"""Losses of held-out examples, one row an example: what every comparison of runs is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


@dataclass(frozen=True)
class ExampleLosses:
    """Losses of held-out examples.

    Shapes: (examples,) each. `source` and `row` say which example it is, `tokens` its supervised tokens, `loss` their summed loss in nats,
    `correct` how many of them were the model's first choice, `kl` the summed KL divergence from the bare base in nats (NaN: not measured).
    """

    source: list[str]
    row: NDArray[np.int64]
    task: list[str]
    tokens: NDArray[np.int64]
    loss: NDArray[np.float64]
    correct: NDArray[np.int64]
    kl: NDArray[np.float64]

    def summary(self, phases: Mapping[str, Sequence[str]] = {}) -> dict[str, Any]:
        """Mean loss a token, perplexity, token accuracy and KL over all tokens, and the same for each task and each phase of a curriculum."""
        phase_of = {task: phase for phase, tasks in phases.items() for task in tasks}
        by_phase = self._by([phase_of.get(task, "") for task in self.task])
        figures = {**self._figures(np.ones(len(self.row), dtype=bool)), "tasks": self._by(self.task)}
        return {**figures, "phases": by_phase} if phases else figures

    def _by(self, labels: list[str]) -> dict[str, Any]:
        return {
            label: self._figures(np.asarray([other == label for other in labels]))
            for label in sorted(set(labels) - {""})
        }

    def _figures(self, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        tokens = int(self.tokens[chosen].sum())
        loss = float(self.loss[chosen].sum() / tokens)
        accuracy = float(self.correct[chosen].sum() / tokens)
        figures = {
            "examples": int(chosen.sum()), "tokens": tokens, "loss": loss, "perplexity": float(np.exp(loss)), "token_accuracy": accuracy,
        }  # fmt: skip
        kl = float(self.kl[chosen].sum() / tokens)
        return figures if np.isnan(kl) else {**figures, "kl": kl}

    def of_task(self, task: str) -> "ExampleLosses":
        """The examples of one task."""
        chosen = np.asarray([other == task for other in self.task], dtype=bool)
        arrays = {name: getattr(self, name)[chosen] for name in ("row", "tokens", "loss", "correct", "kl")}
        return ExampleLosses(
            source=[s for s, kept in zip(self.source, chosen, strict=True) if kept],
            task=[task] * int(chosen.sum()),
            **arrays,
        )

    def save(self, path: Path) -> None:
        """Writes the table as Parquet."""
        columns = {
            name: getattr(self, name) for name in ("source", "row", "task", "tokens", "loss", "correct", "kl")
        }
        scratch = path.with_name(f".{path.name}.partial")
        pq.write_table(pa.table(columns), scratch)
        scratch.replace(path)

    @classmethod
    def read(cls, path: Path) -> "ExampleLosses":
        """Reads what `save` wrote."""
        table = pq.read_table(path)
        arrays = {name: table.column(name).to_numpy() for name in ("row", "tokens", "loss", "correct", "kl")}
        return cls(source=table.column("source").to_pylist(), task=table.column("task").to_pylist(), **arrays)
