"""The low-rank products of many adapters at once, for generation, where each has a few rows of the batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
# another
# way, with other bits.
RANK_MULTIPLE = 16


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """One chunk's matrices for one group.

    Shapes: `a` (columns, in), `owner` and `scale` (columns,), `b` (out, its columns) for each targeted
    linear, with the columns that it has; `gains` (out,) DoRA's factors of a linear's outputs by adapter and
    linear, which `b` holds already.
    """

    a: Tensor
    owner: Tensor
    scale: Tensor
    b: dict[int, tuple[slice, Tensor]]
    gains: dict[tuple[int, int], Tensor]


class BatchedLoRA:
    """One product with the A of all adapters, other adapters' columns set to zero, and one with the B of all.

    The way of S-LoRA and Punica (arXiv:2311.03285, arXiv:2310.18547) with plain GEMMs.
    """

    def __init__(self, adapters: Iterable[Adapter]) -> None:
        self._chunks: list[list[Adapter]] = []
        for adapter in adapters:
            full = not self._chunks or sum(a.rank for a in self._chunks[-1]) + adapter.rank > MAX_GEMM_RANK
            if full:
                self._chunks.append([])
            self._chunks[-1].append(adapter)
        self._weights: dict[tuple[int, int], _Weights | None] = {}
        self._rows: dict[tuple[int, int], tuple[slice, Tensor]] = {}

    def begin_batch(self) -> None:
        """Forgets which rows of the last batch were whose."""
        self._rows = {}

    def add(self, group: LinearGroup, flat: Tensor, outs: list[Tensor], segments: Sequence[Segment]) -> None:
        """Adds every adapter's product to its rows. Shapes: `flat` (T, in), `outs` (T, out) each."""
        for number, chunk in enumerate(self._chunks):
            inside = [segment for segment in segments if segment.adapter in chunk]
            if not inside:
                continue
            if (number, group.index) not in self._weights:
                self._weights[number, group.index] = _concatenate(chunk, group, flat)
            weights = self._weights[number, group.index]
            if weights is None:
                continue
            if (number, id(segments)) not in self._rows:  # a batch has its list, its loss rows have another
                self._rows[number, id(segments)] = _owned_rows(inside, chunk, flat)
            rows, owners = self._rows[number, id(segments)]
            own = owners == weights.owner
            low = (flat[rows] @ weights.a.t()).mul_(torch.where(own, weights.scale, 0.0))
            for segment in inside:
                _apply_gains(group, outs, segment, weights.gains)
            for target, (columns, b) in weights.b.items():
                outs[target][rows].addmm_(low[:, columns], b.t())


def _owned_rows(inside: Sequence[Segment], chunk: list[Adapter], flat: Tensor) -> tuple[slice, Tensor]:
    """The rows that a chunk's product takes, at least MIN_TOKENS, and whose each is (rows, 1), or -1."""
    stop = max(inside[-1].stop, min(flat.shape[0], inside[0].start + MIN_TOKENS))
    start = max(0, min(inside[0].start, stop - MIN_TOKENS))
    owners = torch.full((stop - start, 1), -1)
    for segment in inside:
        owners[segment.start - start : segment.stop - start] = chunk.index(segment.adapter)  # type: ignore[arg-type]
    return slice(start, stop), upload(owners, flat.device)


def _apply_gains(
    group: LinearGroup, outs: list[Tensor], segment: Segment, gains: dict[tuple[int, int], Tensor]
) -> None:
    """Multiplies the base's own outputs, without their bias, by DoRA's factors."""
    for (adapter, linear), factor in gains.items():
        if adapter == id(segment.adapter):
            rows = outs[linear][segment.start : segment.stop]
            frozen = without_bias(rows, group.linears[linear])
            rows.sub_(frozen).addcmul_(frozen, factor)


def _concatenate(chunk: list[Adapter], group: LinearGroup, like: Tensor) -> _Weights | None:
    """The matrices of all adapters of a chunk; None where none of them targets the group."""
    rows: list[Tensor] = []
    owner: list[int] = []
    scale: list[float] = []
    b: dict[int, tuple[slice, Tensor]] = {}
    gains: dict[tuple[int, int], Tensor] = {}
    for linear in range(len(group.linears)):
        targeting = [
            (number, weights)
            for number, adapter in enumerate(chunk)
            if (weights := adapter.weights.get(group.index)) and linear in weights.targets
        ]
        start = len(owner)
        halves: list[Tensor] = []
        for number, weights in targeting:
            target = weights.targets.index(linear)
            a, half = chunk[number].product(group.names[linear])
            rank, missing = a.shape[0], -a.shape[0] % RANK_MULTIPLE
            rows.append(pad(a, (0, 0, 0, missing)))
            owner += [number] * (rank + missing)
            scale += [weights.scales[target]] * (rank + missing)
            if weights.magnitude:
                factor = weights.magnitude[target] / direction_norm(weights, target, group.linears[linear])
                gains[id(chunk[number]), linear] = factor.to(like.dtype)
                half = half * factor[:, None]
            halves.append(pad(half, (0, missing)))
        if targeting:
            b[linear] = (slice(start, len(owner)), torch.cat(halves, dim=1).to(like.dtype))
    if not rows:
        return None
    return _Weights(
        a=torch.cat(rows).to(like.dtype),
        owner=torch.tensor(owner, device=like.device),
        scale=torch.tensor(scale, device=like.device, dtype=like.dtype),
        b=b,
        gains=gains,
    )
