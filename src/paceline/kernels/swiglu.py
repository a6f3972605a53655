"""silu(gate) * up (arXiv:2002.05202) in one pass each way; the backward pass computes silu again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paceline.kernels.launch import fused


class SwiGLU(torch.autograd.Function):
    """silu(gate) * up of tensors of one shape."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        out: Tensor = swiglu(gate.contiguous(), up.contiguous())
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        return swiglu_gradients(grad.contiguous(), gate.contiguous(), up.contiguous())


@fused("swiglu")
def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    wide = gate.float()
    return (wide * wide.sigmoid() * up.float()).to(gate.dtype)


@fused("swiglu")
def swiglu_gradients(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """d(loss)/d(gate) and d(loss)/d(up) of silu(gate) * up."""
    wide, out = gate.float(), grad.float()
    share = wide.sigmoid()
    slope = share * (1 + wide * (1 - share))
    return (out * up.float() * slope).to(gate.dtype), (out * wide * share).to(up.dtype)
