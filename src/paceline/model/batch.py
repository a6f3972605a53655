"""A flat batch: the sequences of all runs end to end in one token dimension."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from paceline.model.adapter import Adapter
    from paceline.model.batched_lora import BatchedLoRA
    from paceline.model.generation_cache import CacheLayout

# A CPU's GEMM gives a row the same bits whatever rows stand beside it only from 16 rows up; shorter batches are filled up to this.
MIN_TOKENS = 32


@dataclass(frozen=True)
class Segment:
    """The tokens `start:stop` of a flat batch: one piece of one run.

    `adapter` is None for tokens that see the bare base. `dropout_key` makes the dropout masks; None while evaluating.
    """

    start: int
    stop: int
    adapter: Adapter | None
    dropout_key: tuple[int, ...] | None = None


@dataclass(frozen=True)
class PackedBatch:
    """Tokens of many sequences with no padding between them.

    Shapes: `input_ids`, `positions` and `labels` are (1, T). A label is the id of the next token, or -100 where it is not supervised.
    `lengths` are the lengths of the sequences, in order; they sum to T.
    """

    input_ids: Tensor
    positions: Tensor
    labels: Tensor
    lengths: list[int]
    segments: list[Segment]
    boundaries: (
        Tensor  # (sequences + 1,) int32: cumulative lengths, where the CUDA attention kernel reads them
    )
    cache_layout: CacheLayout | None = None  # while generating: what each sequence has seen before
    batched_lora: BatchedLoRA | None = None  # while generating: the adapters side by side

    @cached_property
    def loss_rows(self) -> LossRows:
        """The rows that a loss can read, and the batch that they make for layers that look at single rows only."""
        needed = self.labels[0] >= 0
        chosen = torch.ones_like(needed)
        segments, length = [], 0
        for segment in self.segments:
            part = needed[segment.start : segment.stop]
            # never fewer than MIN_TOKENS rows of a piece, by a rule that looks at the piece alone: its bits must not depend on the rest
            missing = MIN_TOKENS - int(part.sum())
            part = part | ((~part).cumsum(0) <= missing)
            chosen[segment.start : segment.stop] = part
            rows = int(part.sum())
            segments.append(replace(segment, start=length, stop=length + rows))
            length += rows
        return LossRows(chosen.nonzero()[:, 0], replace(self, segments=segments))


@dataclass(frozen=True)
class LossRows:
    """Rows of a flat batch, in order, and the same batch with slices that count only these rows."""

    rows: Tensor
    batch: PackedBatch


_current_batch: PackedBatch | None = None


def current_batch() -> PackedBatch | None:
    """The batch whose forward or backward is under way; None outside the engine, where the model behaves as it came."""
    return _current_batch


@contextmanager
def use_batch(batch: PackedBatch) -> Iterator[None]:
    """Makes `batch` the current one. A plain global: autograd's own threads must see it when they recompute a layer."""
    global _current_batch
    before, _current_batch = _current_batch, batch
    try:
        yield
    finally:
        _current_batch = before


def pack_sequences(
    sequences: list[tuple[Tensor, Tensor]], segments: list[Segment], device: torch.device
) -> PackedBatch:
    """Lays (input ids, labels) of whole sequences end to end and fills up to `MIN_TOKENS`."""
    lengths = [len(ids) for ids, _ in sequences]
    missing = MIN_TOKENS - sum(lengths)
    if missing > 0:
        sequences = [*sequences, (torch.zeros(missing, dtype=torch.int64), torch.full((missing,), -100))]
        lengths.append(missing)
    boundaries = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return PackedBatch(
        input_ids=torch.cat([ids for ids, _ in sequences])[None].to(device),
        positions=torch.cat([torch.arange(length) for length in lengths])[None].to(device),
        labels=torch.cat([labels for _, labels in sequences])[None].to(device),
        lengths=lengths,
        segments=segments,
        boundaries=boundaries.to(device),
    )
