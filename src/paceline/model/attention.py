"""Attention over a packed batch, registered with transformers under the name `paceline`."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from paceline.model.batch import PackedBatch, current_batch
from paceline.model.block_attention import BlockAttention
from paceline.model.causal_attention import causal_attention
from paceline.model.generation_cache import cached_attention
from paceline.model.quantization import is_ampere

NAME = "paceline"
# In bf16 on a CPU shorter sequences attend faster in fp32, casts included; longer ones by the flash kernel.
SHORT, LONG = 96, 1024


def packed_attention(
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
    """Causal attention inside each sequence of the current packed batch.

    Shapes: query (1, heads, T, d), key and value (1, kv heads, T, d); returns (1, T, heads, d).
    """
    batch = current_batch()
    if batch is None or softcap is not None:
        raise RuntimeError("packed attention needs a packed batch and no soft cap")
    if batch.generation is not None:
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        cache = batch.generation.cache
        return cached_attention(cache, layer, query, key, value, scaling, sliding_window), None
    if query.is_cuda and query.dtype != torch.float32 and is_ampere(query.device):
        return _varlen(batch, query, key, value, scaling, sliding_window), None
    if batch.shared is not None:
        query, key, value = (batch.shared.spread(rows) for rows in (query, key, value))
    sequences = zip(*(whole.split(batch.lengths, 2) for whole in (query, key, value)), strict=True)
    attended = [_one_sequence(q, k, v, scaling, sliding_window) for q, k, v in sequences]
    return torch.cat(batch.shared.own(attended) if batch.shared else attended, dim=1), None


def _one_sequence(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    kind, length = query.dtype, query.shape[2]
    if query.device.type == "cpu" and kind == torch.bfloat16 and length <= LONG:
        if length >= SHORT:
            scale = query.shape[3] ** -0.5 if scaling is None else scaling
            attended: Tensor = BlockAttention.apply(query[0], key[0], value[0], scale, window)  # type: ignore[no-untyped-call]
            return attended.transpose(0, 1)[None]
        query, key, value = query.float(), key.float(), value.float()
    return causal_attention(query, key, value, scaling, window).to(kind).transpose(1, 2)


def _varlen(
    batch: PackedBatch, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    longest, bounds = max(batch.lengths), batch.boundaries
    q, k, v = (whole[0].transpose(0, 1) for whole in (query, key, value))
    left = -1 if window is None else window - 1
    out = varlen_attn(
        *(q, k, v, bounds, bounds, longest, longest),
        scale=scaling,
        window_size=(left, 0),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    assert isinstance(out, Tensor)
    return out[None]


def register() -> None:
    """Makes `attn_implementation="paceline"` known to transformers."""
    AttentionInterface.register(NAME, packed_attention)
