"""The kernels of `paceline.kernels.swiglu`, and their launchers."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def swiglu_kernel(gate, up, out, count, BLOCK: tl.constexpr):
    """A block of silu(gate) * up."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    wide = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    made = wide * tl.sigmoid(wide) * tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, made.to(out.dtype.element_ty), mask=inside)


@triton.jit
def gradients_kernel(grad, gate, up, gate_grad, up_grad, count, BLOCK: tl.constexpr):
    """A block of both gradients."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    wide = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    out = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
    share = tl.sigmoid(wide)
    through = out * tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    slope = through * share * (1 + wide * (1 - share))
    tl.store(gate_grad + at, slope.to(gate_grad.dtype.element_ty), mask=inside)
    tl.store(up_grad + at, (out * wide * share).to(up_grad.dtype.element_ty), mask=inside)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """See `paceline.kernels.swiglu.swiglu`."""
    out = torch.empty_like(gate)
    swiglu_kernel[(triton.cdiv(gate.numel(), BLOCK),)](gate, up, out, gate.numel(), BLOCK)
    return out


def swiglu_gradients(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """See `paceline.kernels.swiglu.swiglu_gradients`."""
    outs = torch.empty_like(gate), torch.empty_like(up)
    gradients_kernel[(triton.cdiv(gate.numel(), BLOCK),)](grad, gate, up, *outs, gate.numel(), BLOCK)
    return outs
