"""Matrix products whose sums of half-precision factors stay in 32 bits."""

from __future__ import annotations

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right; of half-precision matrices in fp32, not rounded to their own type.

    A CPU has no such kernel, and casting the factors is slow: there a second product computes what rounding
    took from the first, which gives twice the digits (17 bits of bf16's product).
    """
    if left.dtype not in HALF:
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    rounded = left @ right
    lost = torch.addmm(rounded, left, right, beta=-1)
    return rounded.float().add_(lost)
