"""Rotary position embeddings of queries and keys (arXiv:2104.09864), by halves as in Llama's family."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paceline.kernels.launch import fused


class Rotary(torch.autograd.Function):
    """(q * cos + rotated(q) * sin, the same of k). Shapes: q, k (1, heads, T, d); cos, sin (1, T, d)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        return rotate(query, key, cos, sin, False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (query, key), (cos, sin) = grads, ctx.saved_tensors
        return (*rotate(query, key, cos, sin, True), None, None)


@fused("rotary")
def rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, back: bool) -> tuple[Tensor, Tensor]:
    """Each pair of halves turned by its angle; `back`: what autograd makes of that. Rows lie by token."""
    return _turned(query, cos, sin, back), _turned(key, cos, sin, back)


def _turned(x: Tensor, cos: Tensor, sin: Tensor, back: bool) -> Tensor:
    half = x.shape[-1] // 2
    wide, cos, sin = x.float(), cos.float()[:, None], sin.float()[:, None]
    first, second = wide.split(half, -1)
    by_first, by_second = (sin[..., half:], -sin[..., :half]) if back else (-sin[..., :half], sin[..., half:])
    out = torch.empty_strided(x.shape, _by_token(x), dtype=x.dtype, device=x.device)
    out[..., :half] = first * cos[..., :half] + second * by_first
    out[..., half:] = second * cos[..., half:] + first * by_second
    return out


def _by_token(x: Tensor) -> tuple[int, ...]:
    """Strides of (1, heads, T, d) where a token's heads lie side by side."""
    _, heads, tokens, size = x.shape
    return (tokens * heads * size, size, heads * size, 1)
