"""Held-out loss, example by example."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from paceline.data.tokens import TokenDataset
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.flat import Slice, using
from paceline.model.loss import slice_losses
from paceline.train.pieces import bounds, cut, join


@dataclass(frozen=True)
class ExampleLosses:
    """Losses of held-out examples.

    Shapes: (examples,) each. `row` is the example's place in the source, `tokens` its supervised tokens, `loss` their summed loss in nats,
    `correct` how many of them were the model's first choice.
    """

    row: NDArray[np.int64]
    task: list[str]
    tokens: NDArray[np.int64]
    loss: NDArray[np.float64]
    correct: NDArray[np.int64]

    def summary(self) -> dict[str, Any]:
        """Mean loss a token, perplexity and token accuracy over all tokens, and the same for each task."""
        by_task = {task: self._figures(np.asarray([t == task for t in self.task])) for task in sorted(set(self.task))}
        return {**self._figures(np.ones(len(self.row), dtype=bool)), "tasks": by_task}

    def _figures(self, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        tokens = int(self.tokens[chosen].sum())
        loss = float(self.loss[chosen].sum() / tokens)
        accuracy = float(self.correct[chosen].sum() / tokens)
        return {
            "examples": int(chosen.sum()),
            "tokens": tokens,
            "loss": loss,
            "perplexity": float(np.exp(loss)),
            "token_accuracy": accuracy,
        }

    def save(self, path: Path) -> None:
        """Writes the table as Parquet."""
        columns = {"row": self.row, "task": self.task, "tokens": self.tokens, "loss": self.loss, "correct": self.correct}
        scratch = path.with_name(f".{path.name}.partial")
        pq.write_table(pa.table(columns), scratch)
        scratch.replace(path)

    @classmethod
    def read(cls, path: Path) -> "ExampleLosses":
        """Reads what `save` wrote."""
        table = pq.read_table(path)
        arrays = {name: table.column(name).to_numpy() for name in ("row", "tokens", "loss", "correct")}
        return cls(task=table.column("task").to_pylist(), **arrays)


@torch.no_grad()
def held_out_losses(
    base: Base, adapter: Adapter | None, dataset: TokenDataset, examples: NDArray[np.int64], max_length: int,
    observe: Callable[[int], None] = lambda tokens: None,
) -> ExampleLosses:  # fmt: skip
    """Losses of an adapter (None: of the bare base) on examples. `observe` is told the tokens of every forward."""
    kept: list[int] = []
    figures: list[tuple[int, float, int]] = []
    for piece in cut(dataset, examples, max_length):
        (start, stop) = bounds([piece])[0]
        batch = join([piece], [Slice(start, stop, adapter)], base.device)
        with using(batch):
            hidden = base.hidden(batch)
        losses = slice_losses(hidden, base.head, batch, batch.slices[0])
        sizes = [sequence.supervised for sequence in piece.sequences]
        for sequence, loss, correct in zip(piece.sequences, losses.loss.cpu().split(sizes), losses.correct.cpu().split(sizes), strict=True):
            kept.append(sequence.example)
            figures.append((sequence.supervised, float(loss.double().sum()), int(correct.sum())))
        observe(piece.tokens)
    tokens, loss, correct = zip(*figures, strict=True)
    tasks = dataset.tasks
    return ExampleLosses(dataset.column("row")[kept], [tasks[i] for i in kept], np.asarray(tokens), np.asarray(loss), np.asarray(correct))
