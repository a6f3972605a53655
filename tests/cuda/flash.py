"""Attention of packed sequences as the flash kernel computes it, on a CPU, and what the kernel takes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


class ContractError(RuntimeError):
    """A call that the CUDA kernel would refuse, or worse, not refuse."""


def check(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int, gqa: bool) -> None:
    """Raises where the kernel's contract is broken. Shapes: q (T, heads, d), k and v (T, kv heads, d)."""
    rules = {
        f"query, key and value are of one half-precision type, not {q.dtype}, {k.dtype}, {v.dtype}": (
            q.dtype in (torch.float16, torch.bfloat16) and q.dtype == k.dtype == v.dtype
        ),
        f"head_dim is a multiple of 8 and at most 256, not {q.shape[2]}": (
            q.shape[2] % 8 == 0 and q.shape[2] <= 256
        ),
        f"boundaries are int32, not {bounds.dtype}": bounds.dtype == torch.int32,
        "boundaries are contiguous": bounds.is_contiguous(),
        f"the last dimension is contiguous, not of strides {q.stride(-1), k.stride(-1), v.stride(-1)}": (
            q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
        ),
        f"boundaries end at {q.shape[0]}, not {int(bounds[-1])}": int(bounds[-1]) == q.shape[0],
        f"no sequence is longer than {longest}": int(bounds.diff().max()) <= longest,
        "key heads divide query heads": q.shape[1] == k.shape[1] or (gqa and q.shape[1] % k.shape[1] == 0),
    }
    for rule, holds in rules.items():
        if not holds:
            from emulation import line

            raise ContractError(f"flash attention: {rule}; at {line()}")


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds: Tensor,
    _: Tensor,
    longest: int,
    __: int,
    causal: bool = False,
    scale: float | None = None,
    window: list[int] | None = None,
    gqa: bool = False,
    *___: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """(out, log sums, random state) as `torch_attn::_varlen_attn` gives."""
    check(q, k, v, bounds, longest, gqa)
    out = torch.empty_like(q)
    for rows in _sequences(bounds):
        weights, _, values = _weights(q[rows], k[rows], v[rows], scale, window)
        out[rows] = (weights @ values).transpose(0, 1).to(q.dtype)
    return out, q.new_zeros(q.shape[1], q.shape[0], dtype=torch.float32), torch.zeros(2, dtype=torch.uint64)


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    bounds: Tensor,
    _: Tensor,
    longest: int,
    __: int,
    causal: bool,
    state: Tensor,
    scale: float | None = None,
    window: list[int] | None = None,
    *___: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """d(loss)/d(q), d(k), d(v); written out, as autograd is off below a dispatch."""
    dq, dk, dv = (torch.empty_like(t) for t in (q, k, v))
    factor, groups = scale or q.shape[2] ** -0.5, q.shape[1] // k.shape[1]
    for rows in _sequences(bounds):
        weights, keys, values = _weights(q[rows], k[rows], v[rows], scale, window)
        queries, into = (t[rows].transpose(0, 1).float() for t in (q, grad))
        slope = into @ values.transpose(1, 2)
        slope = weights * (slope - (slope * weights).sum(-1, keepdim=True)) * factor
        dq[rows] = (slope @ keys).transpose(0, 1).to(q.dtype)
        for total, part in ((dk, slope.transpose(1, 2) @ queries), (dv, weights.transpose(1, 2) @ into)):
            shared = part.view(-1, groups, *part.shape[1:]).sum(1)
            total[rows] = shared.transpose(0, 1).to(total.dtype)
    return dq, dk, dv


def _sequences(bounds: Tensor) -> list[slice]:
    stops = bounds.tolist()
    return [slice(a, b) for a, b in pairwise(stops) if b > a]


def _weights(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None, window: list[int] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The attention weights (heads, n, n) of one sequence in fp32, and its keys and values by query head."""
    left, right = window or (-1, -1)
    if right != 0:
        raise ContractError("flash attention: the engine's attention is causal, its right window 0")
    groups, count = q.shape[1] // k.shape[1], q.shape[0]
    queries = q.transpose(0, 1).float()
    keys, values = (t.transpose(0, 1).float().repeat_interleave(groups, 0) for t in (k, v))
    seen = torch.ones(count, count, dtype=torch.bool).tril()
    seen = seen.triu(-left) if left >= 0 else seen
    scores = queries @ keys.transpose(1, 2) * (scale or q.shape[2] ** -0.5)
    return scores.masked_fill(~seen, -torch.inf).softmax(-1), keys, values
