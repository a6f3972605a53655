"""Attention over a flat batch, hung into transformers' `AttentionInterface` under the name `paceline`."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from paceline.model.batch import PackedBatch, current_batch
from paceline.model.generation_cache import cached_attention

NAME = "paceline"


def flat_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each sequence of the current flat batch.

    Shapes: query (1, heads, T, d), key and value (1, kv heads, T, d); returns (1, T, heads, d).
    """
    batch = current_batch()
    if batch is None or softcap is not None:
        raise RuntimeError("flat attention needs a flat batch and no soft cap")
    if batch.cache_layout is not None:
        return cached_attention(
            batch.cache_layout, int(module.layer_idx), query, key, value, scaling, sliding_window
        ), None  # type: ignore[arg-type]
    if query.is_cuda and query.dtype != torch.float32:
        return _varlen(batch, query, key, value, scaling, sliding_window), None
    parts = [
        _one_sequence(q, k, v, scaling, sliding_window)
        for q, k, v in zip(
            query.split(batch.lengths, 2),
            key.split(batch.lengths, 2),
            value.split(batch.lengths, 2),
            strict=True,
        )
    ]
    return torch.cat(parts, dim=1), None


def _one_sequence(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    length = query.shape[2]
    mask = None
    if window is not None and window < length:
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - window)
    grouped = query.shape[1] != key.shape[1]
    out = F.scaled_dot_product_attention(
        query, key, value, mask, is_causal=mask is None, scale=scaling, enable_gqa=grouped
    )
    return out.transpose(1, 2)


def _varlen(
    batch: PackedBatch, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    longest = max(batch.lengths)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    left = -1 if window is None else window - 1
    out = varlen_attn(
        query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1),
        batch.boundaries, batch.boundaries, longest, longest, scale=scaling, window_size=(left, 0),
    )  # fmt: skip
    assert isinstance(out, Tensor)
    return out[None]


def register() -> None:
    """Makes `attn_implementation="paceline"` known to transformers."""
    AttentionInterface.register(NAME, flat_attention)
