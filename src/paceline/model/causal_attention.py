"""Causal attention inside one sequence, by torch's own kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_attention(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    """Shapes: query (1, heads, T, d), key and value (1, kv heads, T, d); returns (1, heads, T, d)."""
    groups = query.shape[1] // key.shape[1]
    if query.is_cuda and groups > 1:
        # of CUDA's kernels for fp32 none but the one that keeps all scores takes fewer key heads
        key, value = (half.repeat_interleave(groups, dim=1) for half in (key, value))
    mask = causal_window(query.shape[2], window, query.device)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def causal_window(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """The mask (length, length) of causal attention to the last `window` positions; None: plainly causal."""
    if window is None or window >= length:
        return None
    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)
