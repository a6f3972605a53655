"""The products of many adapters at once equal each adapter's own, with the same bits whoever is beside it."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import MakeRecipe, random_adapter
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.batch import Segment
from paceline.model.batched_lora import MAX_GEMM_RANK, BatchedLoRA


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(60, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def adapters(loaded_base: Base, recipe: MakeRecipe) -> list[Adapter]:
    """Of different ranks, scales and targets; together more ranks than one product takes."""
    fields: list[dict[str, Any]] = [
        {"lora_r": 4},
        {"lora_r": 16, "lora_alpha": 8, "target_modules": ["v_proj"]},
        {"lora_r": 17, "use_rslora": True},
        {"lora_r": 200, "target_modules": ["q_proj", "k_proj"]},
        {"lora_r": 100},
        {"lora_r": 8, "target_modules": ["down_proj"]},
    ]
    assert sum(f["lora_r"] for f in fields) > MAX_GEMM_RANK
    return [random_adapter(loaded_base, recipe(**f), seed) for seed, f in enumerate(fields)]


def segments_of(adapters: Sequence[Adapter | None], rows: int = 5) -> list[Segment]:
    return [Segment(i * rows, (i + 1) * rows, adapter) for i, adapter in enumerate(adapters)]


def products(base: Base, adapters: Sequence[Adapter], x: Tensor, segments: Sequence[Segment]) -> list[Tensor]:
    """What is added to each linear of the first group, q, k and v."""
    group = base.groups[0]
    outs = [torch.zeros(len(x), linear.out_features) for linear in group.linears]
    BatchedLoRA(adapters).add(group, x, outs, segments)
    return outs


def test_every_row_has_the_product_of_its_own_adapter(
    loaded_base: Base, adapters: list[Adapter], x: Tensor
) -> None:
    segments = segments_of([*adapters, None])
    outs = products(loaded_base, adapters, x, segments)
    for name, out in zip(loaded_base.groups[0].names, outs, strict=True):
        expected = torch.zeros_like(out)
        for segment in segments:
            if segment.adapter and name in segment.adapter.matrices:
                a, b = segment.adapter.matrices[name]
                rows = slice(segment.start, segment.stop)
                expected[rows] = segment.adapter.scales[name] * x[rows] @ a.t() @ b.t()
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
        assert not out[30:].any(), "rows of the bare base and of the filler"


def test_the_bits_do_not_depend_on_the_neighbours(
    loaded_base: Base, adapters: list[Adapter], x: Tensor
) -> None:
    together = products(loaded_base, adapters, x, segments_of(adapters))
    for i, adapter in enumerate(adapters):
        alone = products(loaded_base, [adapter], x, [Segment(5 * i, 5 * i + 5, adapter)])
        for ours, theirs in zip(together, alone, strict=True):
            assert torch.equal(ours[5 * i : 5 * i + 5], theirs[5 * i : 5 * i + 5])


def test_a_group_that_no_adapter_targets_is_left_alone(
    loaded_base: Base, adapters: list[Adapter], x: Tensor
) -> None:
    only_down = [adapters[-1]]
    assert not any(out.any() for out in products(loaded_base, only_down, x, segments_of(only_down)))
