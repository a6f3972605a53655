"""DoRA (arXiv:2402.09353): y = b + m / |W + s B A| * (W x + s B A x), row by row of W.

As in PEFT, the norm is a constant of the backward pass (section 4.3 of the paper), and in training with
dropout W x is that of the dropped-out x too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paceline.model.lora_weights import LoRAWeights
from paceline.model.quantization import dense_weight


@torch.no_grad()
def direction_norm(weights: LoRAWeights, target: int, linear: nn.Linear) -> Tensor:
    """The norm (out,) of each row of W + s B A of a targeted linear."""
    a, b = weights.a[weights.columns(target)], weights.b[target]
    weight = dense_weight(linear, a.dtype).to(a.dtype)
    moved = torch.addmm(weight, b, a, alpha=weights.scales[target])
    return torch.as_tensor(torch.linalg.vector_norm(moved, dim=1))


def without_bias(out: Tensor, linear: nn.Linear) -> Tensor:
    """A copy of a linear's outputs (rows, out) without its bias."""
    return out.clone() if linear.bias is None else out - linear.bias.to(out.dtype)
