"""Causal attention of one sequence in bf16 on a CPU, as matrix products over blocks of queries.

A CPU multiplies bf16 matrices 2.5 to 3 times as fast as fp32 ones, and torch's flash kernel, whose products
are small, makes little of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

# Queries of a block: enough for fast products, few enough that little is computed above the diagonal.
BLOCK = 128


@dataclass(frozen=True)
class _Block:
    """The queries `rows`, and the keys `keys` that any of them sees.

    `barrier` (queries, keys), taken from the scores, hides what the mask hides: it is 0 or infinite.
    """

    rows: slice
    keys: slice
    barrier: Tensor

    @property
    def count(self) -> int:
        return len(self.barrier)


class BlockAttention(torch.autograd.Function):
    """softmax(scale q k') v under a causal mask, for bf16 (arXiv:2205.14135 without its tiles of keys).

    Nothing of size queries x keys is kept for the backward pass: it computes the scores again. Scores are
    rounded as differences from their row's largest, so the likely ones lose nothing.

    Shapes: `query` (heads, T, d), `key` and `value` (kv heads, T, d); returns (heads, T, d).
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None
    ) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        out, tops = torch.empty_like(query), []
        for block in _blocks(query.shape[1], window):
            rows, keys = _grouped(query, block, len(key)), key[:, block.keys].transpose(1, 2)
            none = keys.new_zeros(1).expand(len(key), rows.shape[1], 1)
            tops.append(_scores(rows, keys, none, scale, block).amax(2, keepdim=True))
            likely = _scores(rows, keys, tops[-1], scale, block).softmax(2)
            out[:, block.rows] = torch.bmm(likely, value[:, block.keys]).view(len(out), block.count, -1)
        ctx.save_for_backward(query, key, value, *tops)
        ctx.scale, ctx.window = scale, window
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, *tops = ctx.saved_tensors
        d_query = torch.empty_like(query)
        d_key, d_value = (torch.zeros_like(key, dtype=torch.float32) for _ in range(2))
        for block, top in zip(_blocks(query.shape[1], ctx.window), tops, strict=True):
            rows, keys = _grouped(query, block, len(key)), key[:, block.keys]
            likely = _scores(rows, keys.transpose(1, 2), top, ctx.scale, block).softmax(2)
            own = _grouped(grad, block, len(key))
            d_likely = torch.bmm(own, value[:, block.keys].transpose(1, 2))
            d_scores = torch._softmax_backward_data(d_likely, likely, -1, likely.dtype)
            d_value[:, block.keys] += torch.bmm(likely.transpose(1, 2), own)
            d_query[:, block.rows] = torch.bmm(d_scores, keys).view(len(query), block.count, -1)
            d_key[:, block.keys] += torch.bmm(d_scores.transpose(1, 2), rows)
        d_query.mul_(ctx.scale)
        return d_query, d_key.mul_(ctx.scale).to(key.dtype), d_value.to(key.dtype), None, None


def _blocks(length: int, window: int | None) -> Iterator[_Block]:
    """Blocks of nearly equal size, by the sequence's length alone."""
    count = -(-length // BLOCK)
    edges = [length * i // count for i in range(count + 1)]
    for start, stop in pairwise(edges):
        first = 0 if window is None else max(0, start - window + 1)
        rows, keys = torch.arange(start, stop)[:, None], torch.arange(first, stop)
        hidden = keys > rows if window is None else (keys > rows) | (keys <= rows - window)
        barrier = torch.zeros(hidden.shape, dtype=torch.bfloat16).masked_fill_(hidden, torch.inf)
        yield _Block(slice(start, stop), slice(first, stop), barrier)


def _grouped(whole: Tensor, block: _Block, kv_heads: int) -> Tensor:
    """The block's rows of (heads, T, d), those of the heads that share keys end to end."""
    return whole[:, block.rows].reshape(kv_heads, -1, whole.shape[2])


def _scores(rows: Tensor, keys: Tensor, less: Tensor, scale: float, block: _Block) -> Tensor:
    """scale rows keys - less, rounded once; -infinity where the mask hides a key.

    Shapes: `rows` (kv heads, rows of all heads that share keys, d), `keys` (kv heads, d, keys), `less` as
    `rows` with one column.
    """
    less = less.view(len(rows), -1, block.count, 1) + block.barrier
    return torch.baddbmm(less.view(len(rows), rows.shape[1], -1), rows, keys, beta=-1, alpha=scale)
