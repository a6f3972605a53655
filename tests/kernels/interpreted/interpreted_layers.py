"""The kernels of layers and of the loss under Triton's interpreter, against what torch and autograd say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from paceline.kernels import cross_entropy as plain_loss
from paceline.kernels import philox as plain_philox
from paceline.kernels import rotary as plain_rotary
from paceline.kernels import swiglu as plain_swiglu
from paceline.kernels.triton import cross_entropy, philox, rotary, swiglu

MODES = pytest.mark.parametrize("plain", [True, False])
FEW = settings(max_examples=15, deadline=None, phases=[Phase.generate])


@given(
    numbers=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20),
    columns=st.integers(1, 600),
    seed=st.integers(0, 2**63 - 1),
    stream=st.integers(0, 2**31 + 1),
    p=st.floats(0, 1),
)
@FEW
def test_the_bits_of_dropout_are_the_same(
    numbers: list[int], columns: int, seed: int, stream: int, p: float
) -> None:
    words = (torch.tensor(numbers), columns, seed, stream, plain_philox.threshold(p))
    assert torch.equal(philox.keep_words(*words), plain_philox.keep_words(*words))


@MODES
@given(
    shape=st.tuples(
        st.integers(1, 9), st.sampled_from([(1, 1), (6, 2), (5, 5)]), st.sampled_from([8, 24, 128])
    ),
    by_head=st.booleans(),
    seed=st.integers(0, 999),
)
@FEW
def test_queries_and_keys_are_turned_as_transformers_does(
    plain: bool, shape: tuple[int, tuple[int, int], int], by_head: bool, seed: int
) -> None:
    tokens, heads, size = shape
    torch.manual_seed(seed)
    # in both layouts: heads of a token side by side, as a model makes them, or tokens of a head
    q, k = (
        torch.randn(1, count, tokens, size)
        if by_head
        else torch.randn(1, tokens, count, size).transpose(1, 2)
        for count in heads
    )
    q, k = q.requires_grad_(), k.requires_grad_()
    cos, sin = torch.randn(1, tokens, size), torch.randn(1, tokens, size)
    expected = apply_rotary_pos_emb(q, k, cos, sin)
    rotate = plain_rotary.rotate if plain else rotary.rotate
    found = rotate(q.detach(), k.detach(), cos, sin, False)
    grads = [torch.randn_like(out) for out in expected]
    torch.autograd.backward(expected, grads)
    for ours, theirs in zip(
        (*found, *rotate(grads[0], grads[1], cos, sin, True)), (*expected, q.grad, k.grad), strict=True
    ):
        torch.testing.assert_close(ours, theirs.detach(), atol=1e-5, rtol=1e-5)
        assert ours.transpose(1, 2).is_contiguous()


@MODES
@given(rows=st.integers(1, 40), columns=st.integers(1, 90), wide=st.booleans(), seed=st.integers(0, 999))
@FEW
def test_swiglu_is_torchs(plain: bool, rows: int, columns: int, wide: bool, seed: int) -> None:
    torch.manual_seed(seed)
    dtype = torch.float32 if wide else torch.bfloat16
    gate, up, grad = (3 * torch.randn(rows, columns).to(dtype) for _ in range(3))
    exact = [tensor.double().requires_grad_() for tensor in (gate, up)]
    out = F.silu(exact[0]) * exact[1]
    out.backward(grad.double())
    module = plain_swiglu if plain else swiglu
    found = (module.swiglu(gate, up), *module.swiglu_gradients(grad, gate, up))
    for ours, theirs in zip(found, (out, exact[0].grad, exact[1].grad), strict=True):
        _close(ours, theirs)


@MODES
@given(rows=st.integers(1, 6), vocabulary=st.sampled_from([2, 100, 4096, 5003]), seed=st.integers(0, 999))
@FEW
def test_the_loss_its_slope_and_ties_are_torchs(plain: bool, rows: int, vocabulary: int, seed: int) -> None:
    torch.manual_seed(seed)
    logits = 4 * torch.randn(rows, vocabulary)
    logits[0] = logits[0].round()  # ties, and a label that is sure
    labels, scales = torch.randint(vocabulary, (rows,)), torch.rand(rows)
    logits[-1, labels[-1]] = 60.0
    exact = logits.double().requires_grad_()
    expected = F.cross_entropy(exact, labels, reduction="none")
    (expected * scales.double()).sum().backward()
    made = plain_loss.cross_entropy if plain else cross_entropy.cross_entropy
    loss, correct, slope = made(logits.clone(), labels, scales, torch.float32)
    _close(loss, expected)
    _close(slope, exact.grad)
    assert torch.equal(correct, logits.argmax(1) == labels)
    narrow = made(logits.clone(), labels, scales, torch.bfloat16)[2]
    _close(narrow, exact.grad)


def _close(ours: Tensor, exact: Tensor | None) -> None:
    """As close as its type can be."""
    assert exact is not None
    digits = 2e-5 if ours.dtype == torch.float32 else 8e-3
    torch.testing.assert_close(ours.double(), exact.detach(), atol=digits * 1e-1, rtol=digits)
