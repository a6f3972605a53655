"""Attention over a flat batch, hung into transformers' `AttentionInterface` under the name `paceline`."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from paceline.model.flat import FlatBatch, current

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
    batch = current()
    if batch is None or softcap is not None:
        raise RuntimeError("flat attention needs a flat batch and no soft cap")
    if query.is_cuda and query.dtype != torch.float32 and batch.caches is None:
        return _varlen(batch, query, key, value, scaling, sliding_window), None
    caches = batch.caches or [None] * len(batch.lengths)
    parts = []
    for q, k, v, cache in zip(
        query.split(batch.lengths, 2), key.split(batch.lengths, 2), value.split(batch.lengths, 2), caches, strict=True
    ):
        keys, values = (k, v) if cache is None else cache.extend(int(module.layer_idx), k, v)  # type: ignore[arg-type]
        parts.append(_one_sequence(q, keys, values, scaling, sliding_window))
    return torch.cat(parts, dim=1), None


def _one_sequence(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
    """Attention of the last positions (all of them while training) to those before."""
    new, length = query.shape[2], key.shape[2]
    if new == 1 and window is None:  # the query heads of a key head as its rows: nothing is repeated
        out = F.scaled_dot_product_attention(query.view(1, key.shape[1], -1, query.shape[3]), key, value, scale=scaling)
        return out.reshape(1, 1, -1, query.shape[3])
    mask = None
    if (window is not None and window < length) or 1 < new < length:
        ones = torch.ones(new, length, dtype=torch.bool, device=query.device)
        mask = ones.tril(length - new).triu(length - new + 1 - (window or length))
    grouped = query.shape[1] != key.shape[1]
    causal = mask is None and new > 1
    out = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=scaling, enable_gqa=grouped)
    return out.transpose(1, 2)


def _varlen(batch: FlatBatch, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
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
