"""The kernel of `paceline.kernels.rotary`, and its launcher."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _turn(
    x, out, token, cos_one, cos_two, by_one, by_two, token_stride, head_stride, pair,
    COUNT: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """All heads of one token; `out` has them side by side."""
    head = tl.arange(0, HEADS)
    inside = (head < COUNT)[:, None] & (pair < HALF)[None, :]
    source = x + token * token_stride + head[:, None] * head_stride + pair[None, :]
    one = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    two = tl.load(source + HALF, mask=inside, other=0.0).to(tl.float32)
    target = out + (token * COUNT + head[:, None]) * (2 * HALF) + pair[None, :]
    kind = out.dtype.element_ty
    tl.store(target, (one * cos_one + two * by_one).to(kind), mask=inside)
    tl.store(target + HALF, (two * cos_two + one * by_two).to(kind), mask=inside)


@triton.jit
def rotate_kernel(
    query, key, cos, sin, query_out, key_out, query_token, query_head, key_token, key_head,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, QUERY_HEADS: tl.constexpr, KEY_HEADS: tl.constexpr,
    HALF: tl.constexpr, PAIRS: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    """One token's queries and keys."""
    token = tl.program_id(0).to(tl.int64)
    pair = tl.arange(0, PAIRS)
    inside = pair < HALF
    at = token * (2 * HALF) + pair
    cos_one = tl.load(cos + at, mask=inside, other=0.0).to(tl.float32)[None, :]
    cos_two = tl.load(cos + at + HALF, mask=inside, other=0.0).to(tl.float32)[None, :]
    sin_one = tl.load(sin + at, mask=inside, other=0.0).to(tl.float32)[None, :]
    sin_two = tl.load(sin + at + HALF, mask=inside, other=0.0).to(tl.float32)[None, :]
    if BACK:
        by_one, by_two = sin_two, -sin_one
    else:
        by_one, by_two = -sin_one, sin_two
    _turn(
        query, query_out, token, cos_one, cos_two, by_one, by_two, query_token, query_head, pair,
        QUERIES, QUERY_HEADS, HALF,
    )  # fmt: skip
    _turn(
        key, key_out, token, cos_one, cos_two, by_one, by_two, key_token, key_head, pair,
        KEYS, KEY_HEADS, HALF,
    )  # fmt: skip


def rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, back: bool) -> tuple[Tensor, Tensor]:
    """See `paceline.kernels.rotary.rotate`."""
    query, key = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key))
    cos, sin = cos.contiguous(), sin.contiguous()
    _, queries, tokens, size = query.shape
    keys = key.shape[1]
    outs = [
        torch.empty(1, tokens, heads, size, dtype=query.dtype, device=query.device)
        for heads in (queries, keys)
    ]
    rotate_kernel[(tokens,)](
        *(query, key, cos, sin, *outs, query.stride(2), query.stride(1), key.stride(2), key.stride(1)),
        *(queries, keys, triton.next_power_of_2(queries), triton.next_power_of_2(keys)),
        *(size // 2, triton.next_power_of_2(size // 2), back),
    )
    return outs[0].transpose(1, 2), outs[1].transpose(1, 2)
