"""The training step's arithmetic: one forward and one backward over pieces of any runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.flat import Slice, using
from paceline.model.loss import slice_losses
from paceline.train.objective import Objective
from paceline.train.pieces import Piece, bounds, join


@dataclass(frozen=True)
class Share:
    """One run's piece in a forward. `objective` is that of the run's step; None: the piece has no weight. `dropout_key` None: no dropout."""

    piece: Piece
    adapter: Adapter
    objective: Objective | None
    dropout_key: tuple[int, ...] | None = None


def forward_backward(base: Base, shares: Sequence[Share]) -> None:
    """Adds to every adapter's gradients what its pieces give, and to every objective their losses."""
    pieces = [share.piece for share in shares]
    slices = [Slice(start, stop, s.adapter, s.dropout_key) for s, (start, stop) in zip(shares, bounds(pieces), strict=True)]
    soft = [share.objective.soft_targets(share.piece) if share.objective else [] for share in shares]
    batch = join(pieces, slices, base.device)
    with using(batch):
        hidden = base.hidden(batch)
        gradient = torch.zeros_like(hidden)
        for share, part, targets in zip(shares, slices, soft, strict=True):
            if share.objective is not None:
                losses = slice_losses(hidden.detach(), base.head, batch, part, gradient, share.objective.scale, targets)
                share.objective.add(losses)
        hidden.backward(gradient)
