"""The losses of all segments of a batch; on a GPU those of cross-entropy alone share chunks of logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from paceline.kernels.cross_entropy import cross_entropy
from paceline.model.batch import PackedBatch
from paceline.model.ends import changes_head
from paceline.model.loss import SoftTarget, TokenLosses, chunk_rows, segment_losses
from paceline.model.memory import upload
from paceline.model.products import product
from paceline.model.segment import Segment


@dataclass(frozen=True)
class LossPart:
    """A segment, the factor of its summed cross-entropy (or of each position's), and its soft targets."""

    segment: Segment
    scale: float | Tensor
    soft: Sequence[SoftTarget] = ()

    @property
    def shares_chunks(self) -> bool:
        """Whether its logits are the base's, and its loss cross-entropy alone."""
        return not self.soft and not changes_head(self.segment)


def batch_losses(
    hidden: Tensor, weight: Tensor, batch: PackedBatch, parts: Sequence[LossPart], gradient: Tensor
) -> list[TokenLosses]:
    """The losses of each part; their gradient is written into `gradient`. Shapes as `segment_losses`."""
    pooled = [part for part in parts if part.shares_chunks and hidden.is_cuda]
    shared = iter(_pooled(hidden, weight, batch, pooled, gradient) if pooled else ())
    return [
        next(shared)
        if hidden.is_cuda and part.shares_chunks
        else segment_losses(hidden, weight, batch, part.segment, gradient, part.scale, part.soft)
        for part in parts
    ]


def _pooled(
    hidden: Tensor, weight: Tensor, batch: PackedBatch, parts: Sequence[LossPart], gradient: Tensor
) -> list[TokenLosses]:
    """Chunk by chunk over all parts' positions: how many parts there are changes no launch."""
    own = [batch.supervised_rows(part.segment) for part in parts]
    counts = [len(rows) for rows in own]
    positions = torch.cat(own)
    scales = upload(
        torch.cat([_spread(part.scale, count) for part, count in zip(parts, counts, strict=True)]),
        hidden.device,
    )
    rows, labels = hidden.index_select(0, positions), batch.labels[0].index_select(0, positions)
    step = chunk_rows(weight.shape[0], hidden.device)
    losses, corrects, grads = [], [], [rows[:0]]
    for start in range(0, len(rows), step):
        chunk = slice(start, start + step)
        logits = product(rows[chunk], weight.t())
        loss, correct, slope = cross_entropy(logits, labels[chunk], scales[chunk], weight.dtype)
        losses.append(loss)
        corrects.append(correct)
        grads.append(slope @ weight)
    gradient.index_copy_(0, positions, torch.cat(grads))
    empty = scales[:0]
    loss, correct = torch.cat([empty, *losses]), torch.cat([empty.bool(), *corrects])
    split = zip(own, loss.split(counts), correct.split(counts), strict=True)
    return [TokenLosses(positions=rows, loss=values, correct=hits) for rows, values, hits in split]


def _spread(scale: float | Tensor, count: int) -> Tensor:
    """The factor of each of so many positions, in fp32 on the host."""
    return scale.float() if isinstance(scale, Tensor) else torch.full((count,), scale)
