"""Products of half-precision matrices have the digits of 32-bit sums."""

import pytest
import torch

from paceline.model.products import product


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 1e-5), (torch.float16, 2e-6)])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_of_half_precision_is_not_rounded(
    dtype: torch.dtype, bound: float, transposed: bool
) -> None:
    draw = torch.Generator().manual_seed(0)
    left = torch.randn(300, 40, generator=draw).to(dtype)
    left = left if transposed else left.t().contiguous().t()
    right = torch.randn(70, 40, generator=draw).to(dtype).t()
    exact = left.double() @ right.double()
    found = product(left, right)
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() <= bound * exact.abs().max()
    assert ((left @ right) - exact).abs().max() > 20 * bound * exact.abs().max(), "the plain one is"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_products_are_torchs(dtype: torch.dtype) -> None:
    left, right = torch.randn(33, 20, dtype=dtype), torch.randn(20, 9, dtype=dtype)
    assert torch.equal(product(left, right), left @ right)
