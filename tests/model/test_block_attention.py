"""Attention in bf16 on a CPU, against attention in double precision."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from paceline.model.block_attention import BLOCK, BlockAttention
from paceline.model.causal_attention import causal_window


def _draw(heads: int, kv_heads: int, length: int, d: int, sharp: float, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = ((heads, sharp), (kv_heads, sharp), (kv_heads, 1.0), (heads, 1.0))
    return [(torch.randn(h, length, d, generator=generator) * size).bfloat16() for h, size in sizes]


def _blocks(scale: float, window: int | None, *qkv: Tensor) -> Tensor:
    out: Tensor = BlockAttention.apply(*qkv, scale, window)  # type: ignore[no-untyped-call]
    return out


def _with_gradients(attend: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
    *inputs, grad = tensors
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    out = attend(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad)]


def _exact(tensors: list[Tensor], scale: float, window: int | None) -> list[Tensor]:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        length = query.shape[1]
        seen = torch.ones(length, length, dtype=torch.bool).tril_()
        seen = seen if window is None else seen.triu_(1 - window)
        repeats = len(query) // len(key)
        key, value = key.repeat_interleave(repeats, 0), value.repeat_interleave(repeats, 0)
        scores = (scale * query @ key.transpose(1, 2)).masked_fill(~seen, -torch.inf)
        return scores.softmax(2) @ value

    return _with_gradients(attend, [tensor.double() for tensor in tensors])


def _error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm().clamp(min=1e-30))


@settings(max_examples=40, deadline=None)
@given(
    kv_heads=st.sampled_from([1, 2, 3]),
    shared=st.sampled_from([1, 2, 4]),
    length=st.integers(1, 2 * BLOCK + 90),
    d=st.sampled_from([8, 64, 80]),
    window=st.none() | st.integers(1, 2 * BLOCK),
    scale=st.none() | st.just(0.3),
    seed=st.integers(0, 99),
)
def test_outputs_and_gradients_are_those_of_double_precision(
    kv_heads: int, shared: int, length: int, d: int, window: int | None, scale: float | None, seed: int
) -> None:
    factor = d**-0.5 if scale is None else scale
    tensors = _draw(kv_heads * shared, kv_heads, length, d, 1.0, seed)
    ours = _with_gradients(partial(_blocks, factor, window), tensors)
    exact = _exact(tensors, factor, window)
    for one, other in zip(ours, exact, strict=True):
        # of few keys the gradients nearly cancel, and rounding is left
        assert _error(one, other) < 1e-2 or float((one - other).square().mean()) < 0.02**2


@pytest.mark.parametrize("sharp", [1.0, 3.0])
@pytest.mark.parametrize("length", [200, 512])
def test_no_error_is_larger_than_the_largest_of_the_flash_kernel(sharp: float, length: int) -> None:
    tensors = _draw(8, 4, length, 64, sharp, 1)

    def flash(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mask = causal_window(length, None, query.device)
        q, k, v = query[None], key[None], value[None]
        return scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, enable_gqa=True)[0]

    exact = _exact(tensors, 0.125, None)
    ours = _with_gradients(partial(_blocks, 0.125, None), tensors)
    kernel = _with_gradients(flash, tensors)
    own, flashs = ([_error(one, true) for one, true in zip(of, exact, strict=True)] for of in (ours, kernel))
    assert max(own) < max(flashs), (own, flashs)
