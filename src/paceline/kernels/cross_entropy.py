"""The cross-entropy of rows of logits and its slope, in two passes over them."""

from __future__ import annotations

import torch
from torch import Tensor

from paceline.kernels.launch import fused


@fused("cross_entropy")
def cross_entropy(
    logits: Tensor, labels: Tensor, scales: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, correct, slope) of rows.

    Shapes: `logits` (n, vocabulary) in fp32; `labels` (n,) int64; `scales` (n,) fp32. `loss` (n,) in nats;
    `correct` (n,) bool: the largest logit, of equal ones the first, is the label's; `slope` (n, vocabulary)
    in `dtype`: scale x (softmax - one at the label), rounded once.
    """
    top, best = logits.max(1, keepdim=True)
    exponentials = (logits - top).exp_()
    total = exponentials.sum(1, keepdim=True)
    loss = (top + total.log() - logits.gather(1, labels[:, None]))[:, 0]
    one = -total
    slope = exponentials.scatter_add_(1, labels[:, None], one).mul_(scales[:, None] / total)
    return loss, (best == labels[:, None])[:, 0], slope.to(dtype)
