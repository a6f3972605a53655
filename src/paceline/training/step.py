"""The training step's arithmetic: forward and backward over micro-batches of any runs, and a run's update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.batch import use_batch
from paceline.model.pooled_loss import LossPart, batch_losses
from paceline.training.distributed import DistributedContext
from paceline.training.micro_batches import MicroBatch, pack_micro_batches
from paceline.training.objective import StepLoss
from paceline.training.optimizer import set_rate

# (seed, step, the micro-batch's number in the step, what the seed is used for)
DropoutKey = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class StepItem:
    """One run's micro-batch in a forward.

    `loss` is that of the run's step; None: the micro-batch has no weight. `dropout_key` None: no dropout.
    `first_row` is how many of the step's tokens stand before it.
    """

    micro_batch: MicroBatch
    adapter: Adapter
    loss: StepLoss | None
    dropout_key: DropoutKey | None = None
    first_row: int = 0


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

    The loss is not an autograd graph of its own: `batch_losses` computes d(loss)/d(hidden) chunk by chunk
    beside the loss, so the logits never exist as a whole, and autograd goes on from the hidden states with
    that gradient. Each run's part is scaled by its own effective batch, so the sum over its micro-batches is
    the gradient of its mean.
    """
    if base.device.type == "cuda":
        items = merge_neighbours(items)
    targets = [item.loss.soft_targets(item.micro_batch) if item.loss else [] for item in items]
    batch = pack_micro_batches(
        ((item.micro_batch, item.adapter, item.dropout_key, item.first_row) for item in items), base.device
    )
    with use_batch(batch):
        hidden = base.hidden(batch)
        gradient = torch.zeros_like(hidden)
        parts = [
            (item, item.loss, LossPart(segment, item.loss.scale(item.micro_batch), soft))
            for item, segment, soft in zip(items, batch.segments, targets, strict=True)
            if item.loss is not None
        ]
        found = batch_losses(hidden.detach(), base.head, batch, [part for *_, part in parts], gradient)
        for (item, loss, _), losses in zip(parts, found, strict=True):
            loss.add(losses, item.micro_batch)
        hidden.backward(gradient)


def merge_neighbours(items: Sequence[StepItem]) -> list[StepItem]:
    """Neighbouring micro-batches of one run's step made one: a GPU's kernels are launched once for them all.

    Their dropout is then keyed by the step and the row's number, so where they were cut changes no mask.
    """
    merged: list[StepItem] = []
    for item in items:
        key = item.dropout_key and item.dropout_key[:2] + item.dropout_key[3:]
        plain = MicroBatch(item.micro_batch.sequences)  # without shared prefixes
        item = replace(item, dropout_key=key, micro_batch=plain)
        last = merged[-1] if merged else None
        if last is not None and item.loss is not None and last.loss is item.loss:
            sequences = [*last.micro_batch.sequences, *item.micro_batch.sequences]
            merged[-1] = replace(last, micro_batch=MicroBatch(sequences))
        else:
            merged.append(item)
    return merged


def reduce_gradients(adapter: Adapter, loss: StepLoss, distributed: DistributedContext) -> Tensor:
    """Sums gradients, at their own scale, and losses over all processes.

    Returns:
        What `StepLoss.counted` gives, and then the gradient's norm, in float64 on the device.
    """
    adapter.tie_gradients()
    if loss.gradient_scale != 1:
        adapter.gradients.div_(loss.gradient_scale)
    distributed.all_reduce(adapter.gradients)
    counted = loss.counted(adapter.gradients.device)
    distributed.all_reduce(counted)
    return torch.cat([counted, torch.linalg.vector_norm(adapter.gradients).double()[None]])


def clip_and_step(
    adapter: Adapter, optimizer: torch.optim.Optimizer, lr: float, grad_norm: float, max_grad_norm: float
) -> None:
    """Clips the gradients to `max_grad_norm` (0: never) as torch does, then steps the optimizer at `lr`."""
    if max_grad_norm > 0:
        adapter.gradients.mul_(min(1.0, max_grad_norm / (grad_norm + 1e-6)))
    set_rate(optimizer, lr)
    optimizer.step()
