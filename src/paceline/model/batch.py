"""A packed batch: the sequences of all runs end to end in one token dimension, without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from paceline.model.adapter import Adapter
from paceline.model.generation_cache import CacheLayout
from paceline.model.grouped_lora import GroupedLoRA, GroupedTables
from paceline.model.lora_weights import LinearGroup
from paceline.model.memory import upload
from paceline.model.segment import Segment
from paceline.model.shared_prefixes import Prefix, SharedRows

# A CPU's GEMM gives a row the same bits whatever rows stand beside it only from 16 rows up; shorter batches
# are filled up to this.
MIN_TOKENS = 32


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
    where it is not supervised. `lengths` are the lengths of the sequences, in order; they sum to T, unless
    sequences share rows: then `shared` says which.
    `boundaries` (sequences + 1,) int32 are their cumulative sums, where the CUDA attention kernel reads them.
    `supervised` are each segment's supervised rows of the batch, (n,). `row_numbers` (T,) number the rows
    of each run's step, for dropout on a GPU; None elsewhere. `grouped` is what a GPU's LoRA kernels serve.
    All positions are below `reach`. `casts` holds adapters' flat parameters in the base's type, while the
    batch lasts. `chosen` are the rows that a loss can read; None in the batch that they make.
    """

    input_ids: Tensor
    positions: Tensor
    labels: Tensor
    lengths: list[int]
    segments: list[Segment]
    boundaries: Tensor
    reach: int
    supervised: list[Tensor]
    chosen: LossRows | None = None
    row_numbers: Tensor | None = None
    grouped: GroupedLoRA | None = None
    generation: Generation | None = None
    shared: SharedRows | None = None
    casts: dict[int, Tensor] = field(default_factory=dict)

    @property
    def loss_rows(self) -> LossRows:
        """The rows that a loss can read, and the batch that they make for layers that work row by row."""
        assert self.chosen is not None
        return self.chosen

    def dropout_rows(self, segment: Segment) -> Tensor | None:
        """The numbers of a segment's rows, where dropout needs them."""
        return None if self.row_numbers is None else self.row_numbers[segment.start : segment.stop]

    def cast(self, adapter: Adapter, views: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
        """Views into an adapter's parameters in another type; all parameters are cast at once, one time."""
        if dtype == adapter.parameters.dtype:
            return list(views)
        if id(adapter) not in self.casts:
            self.casts[id(adapter)] = adapter.parameters.to(dtype)
        flat = self.casts[id(adapter)]
        return [flat.as_strided(view.size(), view.stride(), view.storage_offset()) for view in views]

    def supervised_rows(self, segment: Segment) -> Tensor:
        """The rows of the batch that are a segment's supervised positions, (n,)."""
        return self.supervised[self.segments.index(segment)]


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
    prefixes: Sequence[Prefix] | None = None,
) -> PackedBatch:
    """Lays (input ids, labels) of sequences end to end and fills up to `MIN_TOKENS`.

    Args:
        starts: the position of each sequence's first token; None: 0 for all.
        prefixes: what each sequence shares with those before it, which gets no rows again; None: nothing.
    """
    lengths = [len(ids) for ids, _ in sequences]
    skipped = [prefix.length for prefix in prefixes] if prefixes else [0] * len(lengths)
    sequences = [(ids[n:], labels[n:]) for (ids, labels), n in zip(sequences, skipped, strict=True)]
    starts = [start + n for start, n in zip(starts or [0] * len(lengths), skipped, strict=True)]
    missing = MIN_TOKENS - sum(len(ids) for ids, _ in sequences)
    if missing > 0:
        filler = torch.zeros(missing, dtype=torch.int64), torch.full((missing,), -100)
        sequences, lengths, starts = [*sequences, filler], [*lengths, missing], [*starts, 0]
        prefixes = [*prefixes, Prefix(0, [])] if prefixes else None
    own = [len(ids) for ids, _ in sequences]
    positions = [torch.arange(start, start + length) for start, length in zip(starts, own, strict=True)]
    rows = (
        torch.cat([ids for ids, _ in sequences]),
        torch.cat(positions),
        torch.cat([labels for _, labels in sequences]),
    )
    reach = max(start + length for start, length in zip(starts, own, strict=True))
    shared = SharedRows.of(prefixes, own) if prefixes else None
    return _assemble(rows, lengths, segments, device, reach, generation, shared)


def pack_new_tokens(
    sequences: Sequence[list[int]],
    starts: Sequence[int],
    segments: list[Segment],
    device: torch.device,
    generation: Generation,
) -> PackedBatch:
    """Lays new tokens of sequences that are being generated end to end; the last row of each is read."""
    lengths = [len(ids) for ids in sequences]
    ends = torch.tensor(lengths).cumsum(0) - 1
    pieces = zip(starts, lengths, strict=True)
    places = [place for start, length in pieces for place in range(start, start + length)]
    ids = [token for sequence in sequences for token in sequence]
    reach = max(places) + 1
    if (missing := MIN_TOKENS - len(ids)) > 0:
        ids, places, lengths = [*ids, *[0] * missing], [*places, *range(missing)], [*lengths, missing]
    labels = torch.full((len(ids),), -100)
    labels[ends] = 0
    rows = (*torch.tensor([ids, places]), labels)
    return _assemble(rows, lengths, segments, device, max(reach, missing), generation, None)


def _assemble(
    rows: Sequence[Tensor],
    lengths: list[int],
    segments: list[Segment],
    device: torch.device,
    reach: int,
    generation: Generation | None,
    shared: SharedRows | None,
) -> PackedBatch:
    """The batch of ids, positions and labels, (T,) each, that lie end to end."""
    ids, positions, labels = rows
    supervised = [(labels[s.start : s.stop] >= 0).nonzero()[:, 0] + s.start for s in segments]
    read, chosen = _choose_rows(labels, segments)
    on_gpu = device.type == "cuda"
    numbers = _number_rows(segments, len(labels)) if on_gpu else labels[:0]
    tables = [GroupedTables(own if on_gpu and generation is None else []) for own in (segments, chosen)]
    ids, positions, labels, boundaries, read, *rest = _upload_together(
        [
            ids,
            positions,
            labels,
            torch.tensor([0, *lengths]).cumsum(0),
            read,
            numbers,
            numbers[read] if on_gpu else numbers,
            *supervised,
            *tables[0].tensors,
            *tables[1].tensors,
        ],
        device,
    )
    every, some, *rest = rest
    supervised, rest = rest[: len(segments)], rest[len(segments) :]
    first = tables[0].on_device(rest[: len(tables[0].tensors)], every) if on_gpu else None
    second = tables[1].on_device(rest[len(tables[0].tensors) :], some) if on_gpu else None
    batch = PackedBatch(
        input_ids=ids[None],
        positions=positions[None],
        labels=labels[None],
        lengths=lengths,
        segments=segments,
        boundaries=boundaries.to(torch.int32),
        reach=reach,
        supervised=supervised,
        row_numbers=every if on_gpu else None,
        grouped=first,
        generation=generation,
        shared=shared,
    )
    shorter = replace(batch, segments=chosen, row_numbers=some if on_gpu else None, grouped=second)
    return replace(batch, chosen=LossRows(read, shorter))


def _choose_rows(labels: Tensor, segments: list[Segment]) -> tuple[Tensor, list[Segment]]:
    """Rows that a loss can read (and what fills up), and the segments that count only these.

    Never fewer than MIN_TOKENS rows of a segment, by a rule that looks at the segment alone: its bits must
    not depend on the rest.
    """
    supervised = labels >= 0
    stop = segments[-1].stop if segments else 0
    if bool(supervised[:stop].all()):  # as where each sequence has one new token
        return torch.arange(len(labels)), segments
    chosen = torch.ones_like(supervised)
    shorter, length = [], 0
    for segment in segments:
        rows = supervised[segment.start : segment.stop]
        missing = MIN_TOKENS - int(rows.sum())
        rows = rows | ((~rows).cumsum(0) <= missing)
        chosen[segment.start : segment.stop] = rows
        count = int(rows.sum())
        shorter.append(replace(segment, start=length, stop=length + count))
        length += count
    return chosen.nonzero()[:, 0], shorter


def _number_rows(segments: Sequence[Segment], count: int) -> Tensor:
    """Each row's number in its run's step, (count,)."""
    numbers = torch.zeros(count, dtype=torch.int64)
    for segment in segments:
        numbers[segment.start : segment.stop] = torch.arange(segment.stop - segment.start) + segment.first_row
    return numbers


def _upload_together(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors (n,) of int64 on the device, in one copy."""
    if device.type == "cpu":
        return list(tensors)
    return list(upload(torch.cat(list(tensors)), device).split([len(tensor) for tensor in tensors]))


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
