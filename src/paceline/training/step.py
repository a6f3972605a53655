"""The training step's arithmetic: forward and backward over micro-batches of any runs, and a run's update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.batch import use_batch
from paceline.model.loss import segment_losses
from paceline.training.distributed import DistributedContext
from paceline.training.micro_batches import MicroBatch, pack_micro_batches
from paceline.training.objective import StepLoss
from paceline.training.optimizer import set_rate


@dataclass(frozen=True, kw_only=True)
class StepItem:
    """One run's micro-batch in a forward.

    `loss` is that of the run's step; None: the micro-batch has no weight. `dropout_key` None: no dropout.
    """

    micro_batch: MicroBatch
    adapter: Adapter
    loss: StepLoss | None
    dropout_key: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class StepStats:
    """What an optimizer step came to. Losses in nats; `grad_norm` before clipping; counts over all processes.

    `terms` are the loss's terms by name, `weights` their factors.
    """

    step: int
    loss: float
    grad_norm: float
    lr: float
    tokens: int
    supervised: int
    correct: int
    terms: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def finite(self) -> bool:
        """Whether the step could be taken."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


def forward_backward(base: Base, items: Sequence[StepItem]) -> None:
    """Adds to every adapter's gradients what its micro-batches give, and to every step's loss their sums.

    The loss is not an autograd graph of its own: `segment_losses` computes d(loss)/d(hidden) chunk by chunk
    beside the loss, so the logits never exist as a whole, and autograd goes on from the hidden states with
    that gradient. Each run's part is scaled by its own effective batch, so the sum over its micro-batches is
    the gradient of its mean.
    """
    targets = [item.loss.soft_targets(item.micro_batch) if item.loss else [] for item in items]
    batch = pack_micro_batches(
        ((item.micro_batch, item.adapter, item.dropout_key) for item in items), base.device
    )
    with use_batch(batch):
        hidden = base.hidden(batch)
        gradient = torch.zeros_like(hidden)
        for item, segment, soft in zip(items, batch.segments, targets, strict=True):
            if item.loss is not None:
                losses = segment_losses(
                    hidden.detach(),
                    base.head,
                    batch,
                    segment,
                    gradient,
                    item.loss.scale(item.micro_batch),
                    soft,
                )
                item.loss.add(losses, item.micro_batch)
        hidden.backward(gradient)


def reduce_gradients(adapter: Adapter, loss: StepLoss, distributed: DistributedContext) -> float:
    """Sums gradients and losses over all processes; returns the gradient's norm."""
    adapter.tie_gradients()
    distributed.all_reduce(adapter.gradients)
    loss.all_reduce(distributed)
    return float(torch.linalg.vector_norm(adapter.gradients))


def clip_and_step(
    adapter: Adapter, optimizer: torch.optim.Optimizer, lr: float, grad_norm: float, max_grad_norm: float
) -> None:
    """Clips the gradients to `max_grad_norm` (0: never) as torch does, then steps the optimizer at `lr`."""
    if max_grad_norm > 0:
        adapter.gradients.mul_(min(1.0, max_grad_norm / (grad_norm + 1e-6)))
    set_rate(optimizer, lr)
    optimizer.step()
