"""RMSNorm in one autograd node.

The models' own form makes eight passes over the activations, and as many back.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(torch.autograd.Function):
    """y = w * x / sqrt(mean(x^2) + eps) with a frozen w (arXiv:1910.07467); statistics in fp32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        out, inverse = _forward(x, weight, eps)
        ctx.save_for_backward(x, weight, inverse)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, weight, inverse = ctx.saved_tensors
        wide, scaled = x.float(), grad.float() * weight.float()
        # d/dx of x * r(x) with r = inverse: r g - x r^3 (x . g) / n
        dot = torch.linalg.vecdot(wide, scaled).unsqueeze_(-1).mul_(inverse.pow(3)).div_(-x.shape[-1])
        return scaled.mul_(inverse).addcmul_(wide, dot).to(x.dtype), None, None


def _forward(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """y, and 1 / sqrt(mean(x^2) + eps)."""
    wide = x.float()
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    inverse = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return (wide * inverse).to(x.dtype).mul_(weight), inverse


@torch.no_grad()
def norm_forwards(model: nn.Module) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """A forward for every RMSNorm that computes what `RMSNorm` above does; others keep their own."""
    for module in model.modules():
        weight = getattr(module, "weight", None)
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if (
            type(module).__name__.endswith("RMSNorm")
            and isinstance(weight, Tensor)
            and isinstance(eps, float)
        ):
            probe = torch.linspace(-2, 3, 4 * weight.numel(), device=weight.device, dtype=weight.dtype).view(
                4, -1
            )
            tolerance = max(1e-5, 2 * torch.finfo(weight.dtype).eps)
            if torch.allclose(module(probe), _normed(module, eps, probe), atol=1e-5, rtol=tolerance):
                yield module, partial(_normed, module, eps)


def _normed(module: nn.Module, eps: float, x: Tensor) -> Tensor:
    weight: Any = module.weight
    if x.is_cuda:  # one kernel each way, where `RMSNorm` launches fifteen; a CPU's is slower than `RMSNorm`
        return F.rms_norm(x, (x.shape[-1],), weight, eps)
    if not torch.is_grad_enabled():  # a node costs as much as the norm of a few rows
        return _forward(x, weight, eps)[0]
    out: Tensor = RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return out
