"""An activation gives a row the same bits whatever rows and threads there are beside it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.activations import ACT2FN

from helpers import CPU, MakeBase, random_sequences
from paceline.model.activations import by_whole_vectors
from paceline.model.base import load_base
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.segment import Segment

pytestmark = pytest.mark.usefixtures("own_threads")


def _with_gradient(function: nn.Module, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    out = by_whole_vectors(function, x)
    return out.detach(), torch.autograd.grad(out, x, slope)[0]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["silu", "gelu_pytorch_tanh", "gelu", "sigmoid", "relu2"]),
    threads=st.sampled_from([1, 2, 3, 5, 7]),
    columns=st.sampled_from([48, 64, 100, 160, 1000, 1536, 4100, 18944]),
    rows=st.integers(2, 300),
    strided=st.booleans(),
    data=st.data(),
)
def test_a_row_has_its_bits_wherever_it_stands(
    name: str, threads: int, columns: int, rows: int, strided: bool, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, rows - 1))
    part = slice(first, data.draw(st.integers(first + 1, rows)))
    function = ACT2FN[name]
    x, slope = torch.randn(2, rows, 2 * columns, generator=torch.Generator().manual_seed(rows)).chunk(2, 2)[0]
    if not strided:  # else as the gate of a projection that makes gate and up at once
        x, slope = x.contiguous(), slope.contiguous()
    torch.set_num_threads(threads)
    whole, gradient = _with_gradient(function, x, slope)
    own, own_gradient = _with_gradient(function, x[part], slope[part])
    assert torch.equal(whole[part], own)
    assert torch.equal(gradient[part], own_gradient)
    exact = x.double().requires_grad_()
    torch.testing.assert_close(whole.double(), function(exact), atol=1e-5, rtol=1e-5)
    expected = torch.autograd.grad(function(exact), exact, slope.double())[0]
    torch.testing.assert_close(gradient.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
def test_a_sequence_has_the_bases_bits_in_any_batch(
    tiny_base: MakeBase, architecture: str, threads: int
) -> None:
    torch.set_num_threads(threads)
    base = load_base(tiny_base(architecture), CPU)
    sequences = random_sequences([61, 40, 33, 70, 55, 90, 21, 47], supervised=1.0)

    def hidden(chosen: slice) -> Tensor:
        own = sequences[chosen]
        batch = pack_sequences(own, [Segment(0, sum(len(ids) for ids, _ in own), None)], CPU)
        with torch.no_grad(), use_batch(batch):
            return base.hidden(batch)

    whole, start = hidden(slice(None)), 0
    for number, (ids, _) in enumerate(sequences):
        alone = hidden(slice(number, number + 1))[: len(ids)]
        assert torch.equal(whole[start : start + len(ids)], alone)
        start += len(ids)
