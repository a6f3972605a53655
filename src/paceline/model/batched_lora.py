"""The low-rank products of many adapters at once, for generation, where each has a few rows of the batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from paceline.model.adapter import Adapter
from paceline.model.batch import MIN_TOKENS
from paceline.model.dora import direction_norm, without_bias
from paceline.model.lora_weights import LinearGroup
from paceline.model.memory import upload
from paceline.model.segment import Segment

# Adapters of one product have at most this many ranks together: a CPU's GEMM then sums over them in one go
# (some do up to 256, some fewer), so other adapters' zeros change no bit.
MAX_GEMM_RANK = 128
# Ranks are padded with zeros to a multiple of this: a GEMM takes the columns that fill no whole vector by
# another way, with other bits.
RANK_MULTIPLE = 16


# From so many rows of one adapter on, its own product is faster than one with the columns of all. Not on a
# GPU, where it is a launch more.
OWN_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Matrices of one group side by side.

    Shapes: `a` (columns, in), `owner` (columns, whose each is) and `scale` (columns,), `b` (out, its columns)
    for each targeted linear, with the columns that it has.
    """

    a: Tensor
    owner: Tensor
    scale: Tensor
    b: dict[int, tuple[slice, Tensor]]


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """One chunk's matrices for one group: of all adapters, and of each alone (on a CPU).

    `gains` (out,) are DoRA's factors of a linear's outputs by adapter and linear, which `b` holds already.
    """

    together: _Columns
    own: dict[int, _Columns]
    gains: dict[tuple[int, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Rows of a chunk that are multiplied at once: those of one adapter, or with the columns of all.

    `owners` (rows, 1) are whose each row is, or -1. `factors` (rows, columns) hold the scales of each row's
    own columns and zeros elsewhere, for groups with the same columns.
    """

    segments: list[Segment]
    rows: slice
    owners: Tensor
    adapter: int | None
    factors: dict[int, Tensor] = field(default_factory=dict)

    def factor(self, columns: _Columns) -> Tensor:
        """What the products with A are multiplied by."""
        if self.adapter is not None:
            return columns.scale
        if id(columns.owner) not in self.factors:
            own = self.owners == columns.owner
            self.factors[id(columns.owner)] = torch.where(own, columns.scale, 0.0)
        return self.factors[id(columns.owner)]


class BatchedLoRA:
    """One product with the A of all adapters, other adapters' columns set to zero, and one with the B of all.

    The way of S-LoRA and Punica (arXiv:2311.03285, arXiv:2310.18547) with plain GEMMs. Where an adapter has
    many rows, as of its prompts, they are multiplied with its own matrices alone: to the same bits.
    """

    def __init__(self, adapters: Iterable[Adapter]) -> None:
        self._chunks: list[list[Adapter]] = []
        for adapter in adapters:
            full = not self._chunks or sum(a.rank for a in self._chunks[-1]) + adapter.rank > MAX_GEMM_RANK
            if full:
                self._chunks.append([])
            self._chunks[-1].append(adapter)
        self._weights: dict[tuple[int, int], _Weights | None] = {}
        self._patterns: dict[tuple[tuple[int, float], ...], tuple[Tensor, Tensor]] = {}
        self._pieces: dict[tuple[int, int], list[_Piece]] = {}

    def begin_batch(self) -> None:
        """Forgets which rows of the last batch were whose."""
        self._pieces = {}

    def add(self, group: LinearGroup, flat: Tensor, outs: list[Tensor], segments: Sequence[Segment]) -> None:
        """Adds every adapter's product to its rows. Shapes: `flat` (T, in), `outs` (T, out) each."""
        for number, chunk in enumerate(self._chunks):
            place = number, id(segments)  # a batch has its list, its loss rows may have another
            if place not in self._pieces:
                self._pieces[place] = list(_cut(segments, chunk, flat))
            if not self._pieces[place]:
                continue
            if (number, group.index) not in self._weights:
                self._weights[number, group.index] = _concatenate(chunk, group, flat, self._patterns)
            weights = self._weights[number, group.index]
            if weights is not None:
                for piece in self._pieces[place]:
                    _multiply(group, flat, outs, piece, weights)


def _multiply(group: LinearGroup, flat: Tensor, outs: list[Tensor], piece: _Piece, weights: _Weights) -> None:
    """Adds the products of a piece to its rows."""
    columns = weights.together if piece.adapter is None else weights.own.get(piece.adapter)
    if columns is None:
        return
    low = (flat[piece.rows] @ columns.a.t()).mul_(piece.factor(columns))
    if weights.gains:
        for segment in piece.segments:
            _apply_gains(group, outs, segment, weights.gains)
    for target, (place, b) in columns.b.items():
        outs[target][piece.rows].addmm_(low[:, place], b.t())


def _cut(segments: Sequence[Segment], chunk: list[Adapter], flat: Tensor) -> Iterator[_Piece]:
    """The pieces of a chunk's rows. A segment with many rows is one; others are multiplied together."""
    few: list[Segment] = []
    for segment in segments:
        if segment.adapter not in chunk:
            continue
        if flat.is_cuda or segment.stop - segment.start < OWN_ROWS:
            few.append(segment)
            continue
        if few:
            yield _together(few, chunk, flat)
            few = []
        rows, number = slice(segment.start, segment.stop), chunk.index(segment.adapter)
        yield _Piece(segments=[segment], rows=rows, owners=flat.new_empty(0), adapter=number)
    if few:
        yield _together(few, chunk, flat)


def _together(inside: list[Segment], chunk: list[Adapter], flat: Tensor) -> _Piece:
    """The rows that several segments' product takes, at least MIN_TOKENS."""
    stop = max(inside[-1].stop, min(flat.shape[0], inside[0].start + MIN_TOKENS))
    start = max(0, min(inside[0].start, stop - MIN_TOKENS))
    owners = torch.full((stop - start, 1), -1)
    for segment in inside:
        owners[segment.start - start : segment.stop - start] = chunk.index(segment.adapter)  # type: ignore[arg-type]
    return _Piece(segments=inside, rows=slice(start, stop), owners=upload(owners, flat.device), adapter=None)


def _apply_gains(
    group: LinearGroup, outs: list[Tensor], segment: Segment, gains: dict[tuple[int, int], Tensor]
) -> None:
    """Multiplies the base's own outputs, without their bias, by DoRA's factors."""
    for (adapter, linear), factor in gains.items():
        if adapter == id(segment.adapter):
            rows = outs[linear][segment.start : segment.stop]
            frozen = without_bias(rows, group.linears[linear])
            rows.sub_(frozen).addcmul_(frozen, factor)


def _concatenate(
    chunk: list[Adapter],
    group: LinearGroup,
    like: Tensor,
    patterns: dict[tuple[tuple[int, float], ...], tuple[Tensor, Tensor]],
) -> _Weights | None:
    """The matrices of all adapters of a chunk; None where none of them targets the group.

    Args:
        patterns: owners and scales of columns, one pair of tensors for all groups that have the same.
    """
    halves: dict[tuple[int, int], tuple[Tensor, Tensor, float]] = {}
    gains: dict[tuple[int, int], Tensor] = {}
    for linear in range(len(group.linears)):
        for number, adapter in enumerate(chunk):
            weights = adapter.weights.get(group.index)
            if not weights or linear not in weights.targets:
                continue
            target = weights.targets.index(linear)
            a, half = adapter.product(group.names[linear])
            missing = -a.shape[0] % RANK_MULTIPLE
            if weights.magnitude:
                factor = weights.magnitude[target] / direction_norm(weights, target, group.linears[linear])
                gains[id(adapter), linear] = factor.to(like.dtype)
                half = half * factor[:, None]
            a, half = pad(a, (0, 0, 0, missing)).to(like.dtype), pad(half, (0, missing)).to(like.dtype)
            halves[linear, number] = a, half, weights.scales[target]
    if not halves:
        return None
    apart: dict[int, dict[tuple[int, int], tuple[Tensor, Tensor, float]]] = {}
    for (linear, number), matrices in () if like.is_cuda else halves.items():
        apart.setdefault(number, {})[linear, number] = matrices
    return _Weights(
        together=_side_by_side(halves, like, patterns),
        own={number: _side_by_side(part, like, patterns) for number, part in apart.items()},
        gains=gains,
    )


def _side_by_side(
    halves: dict[tuple[int, int], tuple[Tensor, Tensor, float]],
    like: Tensor,
    patterns: dict[tuple[tuple[int, float], ...], tuple[Tensor, Tensor]],
) -> _Columns:
    """A's of (linear, adapter) one under another, and a linear's B's side by side."""
    pattern: list[tuple[int, float]] = []
    b: dict[int, tuple[slice, Tensor]] = {}
    for linear in dict.fromkeys(linear for linear, _ in halves):
        start, matrices = len(pattern), []
        for (place, number), (a, half, factor) in halves.items():
            if place == linear:
                pattern += [(number, factor)] * len(a)
                matrices.append(half)
        b[linear] = slice(start, len(pattern)), torch.cat(matrices, dim=1)
    if (key := tuple(pattern)) not in patterns:
        numbers, scales = zip(*pattern, strict=True)
        owner = upload(torch.tensor(numbers), like.device)
        patterns[key] = owner, upload(torch.tensor(scales, dtype=like.dtype), like.device)
    owner, scale = patterns[key]
    return _Columns(a=torch.cat([a for a, _, _ in halves.values()]), owner=owner, scale=scale, b=b)
