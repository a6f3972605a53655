"""The low-rank parts of many adapters side by side, for generation, where each has a few rows of the batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from paceline.model.adapter import Adapter
from paceline.model.batch import MIN_TOKENS, Segment
from paceline.model.lora import LinearGroup

# Adapters of one product have at most so many ranks together: a CPU's GEMM then sums over them in one go, so foreign zeros change no bit.
MAX_GEMM_RANK = 256
# Ranks are filled up with zeros to a multiple of this: a GEMM takes the columns that fill no whole vector by another way, with other bits.
RANK_MULTIPLE = 16


@dataclass(frozen=True)
class _Weights:
    """One chunk's matrices for one group. Shapes: `a` (columns, in), `owner` and `scale` (columns,), `b` (out, its columns) for each target."""

    a: Tensor
    owner: Tensor
    scale: Tensor
    b: dict[int, tuple[slice, Tensor]]


class BatchedLoRA:
    """One product with the A of all adapters, the foreign columns of each row set to zero, and one with the B of all."""

    def __init__(self, adapters: Iterable[Adapter]) -> None:
        self._chunks: list[list[Adapter]] = []
        for adapter in adapters:
            if (
                not self._chunks
                or sum(other.rank for other in self._chunks[-1]) + adapter.rank > MAX_GEMM_RANK
            ):
                self._chunks.append([])
            self._chunks[-1].append(adapter)
        self._weights: dict[tuple[int, int], _Weights | None] = {}

    def add(self, group: LinearGroup, flat: Tensor, outs: list[Tensor], segments: list[Segment]) -> None:
        """Adds every adapter's part to its rows. Shapes: `flat` (T, in), `outs` (T, out) each."""
        for number, chunk in enumerate(self._chunks):
            inside = [segment for segment in segments if segment.adapter in chunk]
            if not inside:
                continue
            if (number, group.index) not in self._weights:
                self._weights[number, group.index] = _gather(chunk, group, flat)
            weights = self._weights[number, group.index]
            if weights is None:
                continue
            stop = max(inside[-1].stop, min(flat.shape[0], inside[0].start + MIN_TOKENS))
            start = max(0, min(inside[0].start, stop - MIN_TOKENS))
            owners = np.full(stop - start, -1)
            for segment in inside:
                owners[segment.start - start : segment.stop - start] = chunk.index(segment.adapter)  # type: ignore[arg-type]
            mine = torch.from_numpy(owners).to(flat.device)[:, None] == weights.owner
            low = (flat[start:stop] @ weights.a.t()).mul_(torch.where(mine, weights.scale, 0.0))
            for target, (columns, b) in weights.b.items():
                outs[target][start:stop].addmm_(low[:, columns], b.t())


def _gather(chunk: list[Adapter], group: LinearGroup, like: Tensor) -> _Weights | None:
    rows: list[Tensor] = []
    owner: list[int] = []
    scale: list[float] = []
    b: dict[int, tuple[slice, Tensor]] = {}
    for target in range(len(group.linears)):
        found = [
            (place, part)
            for place, adapter in enumerate(chunk)
            if (part := adapter.parts.get(group.index)) and target in part.targets
        ]
        start = len(owner)
        for place, part in found:
            missing = -part.rank % RANK_MULTIPLE
            rows.append(pad(part.a[part.columns(part.targets.index(target))], (0, 0, 0, missing)))
            owner += [place] * (part.rank + missing)
            scale += [chunk[place].scale] * (part.rank + missing)
        if found:
            wide = torch.cat(
                [
                    pad(part.b[part.targets.index(target)], (0, -part.rank % RANK_MULTIPLE))
                    for _, part in found
                ],
                dim=1,
            )
            b[target] = (slice(start, len(owner)), wide.to(like.dtype))
    if not rows:
        return None
    device = like.device
    return _Weights(
        torch.cat(rows).to(like.dtype),
        torch.tensor(owner, device=device),
        torch.tensor(scale, device=device, dtype=like.dtype),
        b,
    )
