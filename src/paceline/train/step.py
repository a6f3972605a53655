"""The training step's arithmetic: one forward and one backward over pieces of any runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.batch import Segment, use_batch
from paceline.model.loss import segment_losses
from paceline.train.micro_batches import MicroBatch, offsets, pack_micro_batches
from paceline.train.objective import Objective


@dataclass(frozen=True)
class StepItem:
    """One run's piece in a forward. `objective` is that of the run's step; None: the piece has no weight. `dropout_key` None: no dropout."""

    micro_batch: MicroBatch
    adapter: Adapter
    objective: Objective | None
    dropout_key: tuple[int, ...] | None = None


def forward_backward(base: Base, items: Sequence[StepItem]) -> None:
    """Adds to every adapter's gradients what its pieces give, and to every objective their losses."""
    micro_batches = [item.micro_batch for item in items]
    segments = [
        Segment(start, stop, s.adapter, s.dropout_key)
        for s, (start, stop) in zip(items, offsets(micro_batches), strict=True)
    ]
    soft = [item.objective.soft_targets(item.micro_batch) if item.objective else [] for item in items]
    batch = pack_micro_batches(micro_batches, segments, base.device)
    with use_batch(batch):
        hidden = base.hidden(batch)
        gradient = torch.zeros_like(hidden)
        for item, part, targets in zip(items, segments, soft, strict=True):
            if item.objective is not None:
                losses = segment_losses(
                    hidden.detach(), base.head, batch, part, gradient, item.objective.scale, targets
                )
                item.objective.add(losses)
        hidden.backward(gradient)
