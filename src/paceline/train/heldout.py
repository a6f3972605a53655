"""Held-out loss, example by example."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from paceline.data.groups import GROUP_OF
from paceline.data.tokens import TokenDataset
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.flat import Slice, using
from paceline.model.loss import SoftTarget, slice_losses
from paceline.train.pieces import bounds, cut, join
from paceline.train.states import FrozenStates


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

    def summary(self) -> dict[str, Any]:
        """Mean loss a token, perplexity, token accuracy and KL over all tokens, and the same for each task and task group."""
        groups = [GROUP_OF.get(task, "") for task in self.task]
        return {**self._figures(np.ones(len(self.row), dtype=bool)), "tasks": self._by(self.task), "groups": self._by(groups)}

    def _by(self, labels: list[str]) -> dict[str, Any]:
        return {label: self._figures(np.asarray([other == label for other in labels])) for label in sorted(set(labels) - {""})}

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
            source=[s for s, kept in zip(self.source, chosen, strict=True) if kept], task=[task] * int(chosen.sum()), **arrays
        )

    def save(self, path: Path) -> None:
        """Writes the table as Parquet."""
        columns = {name: getattr(self, name) for name in ("source", "row", "task", "tokens", "loss", "correct", "kl")}
        scratch = path.with_name(f".{path.name}.partial")
        pq.write_table(pa.table(columns), scratch)
        scratch.replace(path)

    @classmethod
    def read(cls, path: Path) -> "ExampleLosses":
        """Reads what `save` wrote."""
        table = pq.read_table(path)
        arrays = {name: table.column(name).to_numpy() for name in ("row", "tokens", "loss", "correct", "kl")}
        return cls(source=table.column("source").to_pylist(), task=table.column("task").to_pylist(), **arrays)


@torch.no_grad()
def held_out_losses(
    base: Base, adapter: Adapter | None, dataset: TokenDataset, examples: NDArray[np.int64], max_length: int,
    anchor: FrozenStates | None = None,
) -> ExampleLosses:  # fmt: skip
    """Losses of an adapter (None: of the bare base) on examples, and with an anchor the KL(adapter ‖ base) at their supervised positions."""
    kept: list[int] = []
    figures: list[tuple[int, float, int, float]] = []
    for piece in cut(dataset, examples, max_length):
        (start, stop) = bounds([piece])[0]
        batch = join([piece], [Slice(start, stop, adapter)], base.device)
        with using(batch):
            hidden = base.hidden(batch)
        soft = [SoftTarget(*anchor.of(dataset, piece, None), anchor.base.head, 0.0, False)] if anchor else []
        losses = slice_losses(hidden, base.head, batch, batch.slices[0], soft=soft)
        sizes = [sequence.supervised for sequence in piece.sequences]
        divergence = losses.divergences[0] if soft else torch.full_like(losses.loss, torch.nan)
        columns = [values.double().cpu().split(sizes) for values in (losses.loss, losses.correct, divergence)]
        for sequence, loss, correct, kl in zip(piece.sequences, *columns, strict=True):
            kept.append(sequence.example)
            figures.append((sequence.supervised, float(loss.sum()), int(correct.sum()), float(kl.sum())))
    tokens, loss, correct, kl = (np.asarray(column) for column in zip(*figures, strict=True))
    sources = [dataset.sources[part] for part in dataset.parts[kept]]
    tasks = dataset.tasks
    return ExampleLosses(sources, dataset.column("row")[kept], [tasks[i] for i in kept], tokens, loss, correct, kl)
