"""A packed batch: the sequences of all runs end to end in one token dimension, without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from paceline.model.adapter import Adapter
from paceline.model.generation_cache import CacheLayout
from paceline.model.lora_weights import LinearGroup

# A CPU's GEMM gives a row the same bits whatever rows stand beside it only from 16 rows up; shorter batches
# are
# filled up to this.
MIN_TOKENS = 32


@dataclass(frozen=True)
class Segment:
    """The tokens `start:stop` of a packed batch: consecutive sequences of one run.

    `adapter` is None for tokens that see the bare base. `dropout_key` makes the dropout masks; None while
    evaluating.
    """

    start: int
    stop: int
    adapter: Adapter | None
    dropout_key: tuple[int, ...] | None = None


class LoRAApplier(Protocol):
    """Another way to add the low-rank products than segment by segment (see `batched_lora`)."""

    def add(self, group: LinearGroup, flat: Tensor, outs: list[Tensor], segments: Sequence[Segment]) -> None:
        """Adds every adapter's product to its rows of `outs`.

        Shapes: `flat` (T, in), `outs` (T, out) each.
        """
        ...


@dataclass(frozen=True)
class Generation:
    """What a batch carries while generating: each sequence's past, and the adapters side by side."""

    cache: CacheLayout
    lora: LoRAApplier


@dataclass(frozen=True, kw_only=True)
class PackedBatch:
    """Tokens of many sequences.

    Shapes: `input_ids`, `positions` and `labels` are (1, T). A label is the id of the next token, or -100
    where it is not supervised. `lengths` are the lengths of the sequences, in order; they sum to T.
    `boundaries` (sequences + 1,) int32 are their cumulative sums, where the CUDA attention kernel reads them.
    """

    input_ids: Tensor
    positions: Tensor
    labels: Tensor
    lengths: list[int]
    segments: list[Segment]
    boundaries: Tensor
    generation: Generation | None = None

    @cached_property
    def loss_rows(self) -> LossRows:
        """The rows that a loss can read, and the batch that they make for layers that work row by row."""
        supervised = self.labels[0] >= 0
        chosen = torch.ones_like(supervised)
        segments, length = [], 0
        for segment in self.segments:
            rows = supervised[segment.start : segment.stop]
            # never fewer than MIN_TOKENS rows of a segment, by a rule that looks at the segment alone: its
            # bits must
            # not depend on the rest
            missing = MIN_TOKENS - int(rows.sum())
            rows = rows | ((~rows).cumsum(0) <= missing)
            chosen[segment.start : segment.stop] = rows
            count = int(rows.sum())
            segments.append(replace(segment, start=length, stop=length + count))
            length += count
        return LossRows(chosen.nonzero()[:, 0], replace(self, segments=segments))


@dataclass(frozen=True)
class LossRows:
    """Rows of a packed batch, in order, and the same batch with segments that count only these rows."""

    rows: Tensor
    batch: PackedBatch


def pack_sequences(
    sequences: Sequence[tuple[Tensor, Tensor]],
    segments: list[Segment],
    device: torch.device,
    starts: Sequence[int] | None = None,
    generation: Generation | None = None,
) -> PackedBatch:
    """Lays (input ids, labels) of sequences end to end and fills up to `MIN_TOKENS`.

    Args:
        starts: the position of each sequence's first token; None: 0 for all.
    """
    lengths = [len(ids) for ids, _ in sequences]
    starts = list(starts or [0] * len(lengths))
    missing = MIN_TOKENS - sum(lengths)
    if missing > 0:
        filler = torch.zeros(missing, dtype=torch.int64), torch.full((missing,), -100)
        sequences, lengths, starts = [*sequences, filler], [*lengths, missing], [*starts, 0]
    positions = [torch.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    return PackedBatch(
        input_ids=torch.cat([ids for ids, _ in sequences])[None].to(device),
        positions=torch.cat(positions)[None].to(device),
        labels=torch.cat([labels for _, labels in sequences])[None].to(device),
        lengths=lengths,
        segments=segments,
        boundaries=torch.tensor([0, *lengths]).cumsum(0).to(torch.int32).to(device),
        generation=generation,
    )


@dataclass(frozen=True)
class ForwardContext:
    """The batch that a forward or backward works on, and outputs that one linear made for others.

    `outputs` holds what the first linear of a group computed for the others, by (group, place in it); it dies
    with the context, whatever ends it.
    """

    batch: PackedBatch
    outputs: dict[tuple[int, int], Tensor] = field(default_factory=dict)


_context: ForwardContext | None = None


def current_context() -> ForwardContext | None:
    """What is under way; None outside the engine, where a patched model behaves as it came."""
    return _context


def current_batch() -> PackedBatch | None:
    """The batch whose forward or backward is under way."""
    return _context.batch if _context else None


@contextmanager
def use_batch(batch: PackedBatch, within: PackedBatch | None = None) -> Iterator[None]:
    """Makes `batch` the current one.

    A plain global: autograd's own threads must see it when they recompute a layer.

    Args:
        within: the batch that is current now; a batch is never entered inside another by mistake.

    Raises:
        RuntimeError: another batch than `within` is current.
    """
    global _context
    if current_batch() is not within:
        raise RuntimeError("a packed batch is entered while another one is under way")
    before, _context = _context, ForwardContext(batch)
    try:
        yield
    finally:
        _context = before
