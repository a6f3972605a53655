"""RMSNorm as CUDA's fused kernel computes it, on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor


def forward(x: Tensor, shape: list[int], weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(out, 1 / root mean square in fp32) as `aten::_fused_rms_norm` gives."""
    wide = x.float()
    inverse = (wide.square().mean(-1, keepdim=True) + eps).rsqrt()
    return (wide * inverse * weight.float()).to(x.dtype), inverse


def backward(
    grad: Tensor, x: Tensor, shape: list[int], inverse: Tensor, weight: Tensor, mask: list[bool]
) -> tuple[Tensor, None]:
    """d(loss)/d(x); the engine's norms are frozen."""
    wide, scaled = x.float(), grad.float() * weight.float()
    dot = (wide * scaled).mean(-1, keepdim=True) * inverse.pow(3)
    return (scaled * inverse - wide * dot).to(x.dtype), None


def never(*_: object) -> None:
    """Stands where the kernel is registered, which makes autograd take the op for one; never called."""
    raise RuntimeError("the emulation runs before the device's kernels")


library = torch.library.Library("aten", "IMPL")
library.impl("_fused_rms_norm", never, "CUDA")
library.impl("_fused_rms_norm_backward", never, "CUDA")
