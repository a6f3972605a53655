"""RMSNorm in one node, against transformers' modules and plain autograd."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from helpers import MakeBase, plain_model
from paceline.model.norm import RMSNorm, norm_forwards


def apply(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    out: Tensor = RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return out


def filled(module: Any, seed: int = 0) -> Any:
    module.weight.data.normal_(generator=torch.Generator().manual_seed(seed))
    return module.requires_grad_(False)


@pytest.mark.parametrize("kind", [LlamaRMSNorm, Qwen3RMSNorm])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_value_and_gradient_are_those_of_transformers(
    kind: Any, dtype: torch.dtype, tolerance: float
) -> None:
    module = filled(kind(24, eps=1e-6).to(dtype))
    generator = torch.Generator().manual_seed(1)
    x, towards = (torch.randn(2, 7, 24, generator=generator).to(dtype) for _ in range(2))
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    theirs, ours = module(leaves[0]), apply(leaves[1], module.weight, 1e-6)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    for out in (theirs, ours):
        out.backward(towards)
    torch.testing.assert_close(leaves[1].grad, leaves[0].grad, atol=tolerance, rtol=tolerance)


def test_the_gradient_is_the_slope() -> None:
    """Statistics are in fp32 whatever x is in, so the steps are long and the digits few."""
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(3, 6, generator=generator), torch.randn(6, generator=generator)
    x.requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda x: apply(x, weight, 0.1), x, eps=1e-2, atol=1e-3, rtol=1e-3)


def test_a_row_of_zeros_has_a_gradient() -> None:
    x = torch.zeros(1, 4, requires_grad=True)
    apply(x, torch.ones(4), 1e-6).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full((1, 4), 1e3))


def test_every_norm_of_a_model_is_replaced(tiny_base: MakeBase) -> None:
    model = plain_model(tiny_base())
    norms = [m for m in model.modules() if isinstance(m, Qwen3RMSNorm)]
    assert len(norms) == 9  # two a layer, those of queries and keys, and the last
    assert [module for module, _ in norm_forwards(model)] == norms


def test_a_norm_that_computes_something_else_keeps_its_own_forward() -> None:
    model = nn.ModuleList([filled(GemmaRMSNorm(8)), filled(LlamaRMSNorm(8)), nn.LayerNorm(8)])
    assert [type(module) for module, _ in norm_forwards(model)] == [LlamaRMSNorm]
