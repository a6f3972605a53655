"""The products of many adapters at once equal each adapter's own, with the same bits whoever is beside it."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import MakeBase, MakeRecipe, random_adapter
from paceline.model.adapter import Adapter
from paceline.model.base import Base, load_base
from paceline.model.batch import pack_sequences
from paceline.model.batched_lora import MAX_GEMM_RANK, OWN_ROWS, BatchedLoRA
from paceline.model.lora import GroupLinear
from paceline.model.quantization import base_product
from paceline.model.segment import Segment


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


def test_many_rows_of_one_adapter_have_the_bits_that_few_have(
    loaded_base: Base, adapters: list[Adapter]
) -> None:
    """A prompt's rows, multiplied with their adapter's matrices alone, between others with those of all."""
    x = torch.randn(3 * OWN_ROWS + 14, 64, generator=torch.Generator().manual_seed(1))
    first, second, third = adapters[0], adapters[2], adapters[1]  # one product has them all
    start, stop = 7, 7 + 2 * OWN_ROWS
    segments = [Segment(0, start, first), Segment(start, stop, second), Segment(stop, len(x), third)]
    together = products(loaded_base, adapters, x, segments)
    for begin in range(start, stop, 16):
        few = products(loaded_base, adapters, x, [Segment(begin, begin + 16, second)])
        for ours, theirs in zip(together, few, strict=True):
            assert torch.equal(ours[begin : begin + 16], theirs[begin : begin + 16])
    for segment in (segments[0], segments[2]):
        alone = products(loaded_base, adapters, x, [segment])
        for ours, theirs in zip(together, alone, strict=True):
            own = slice(segment.start, segment.stop)
            assert torch.equal(ours[own], theirs[own])


def test_a_group_that_no_adapter_targets_is_left_alone(
    loaded_base: Base, adapters: list[Adapter], x: Tensor
) -> None:
    only_down = [adapters[-1]]
    assert not any(out.any() for out in products(loaded_base, only_down, x, segments_of(only_down)))


@pytest.mark.parametrize("architecture", ["qwen3", "qwen2"])
def test_every_kind_of_adapter_is_generated_with_as_it_is_trained(
    architecture: str, tiny_base: MakeBase, recipe: MakeRecipe, x: Tensor
) -> None:
    """DoRA scales the base's own product but not its bias; a start that is taken out stays out."""
    base = load_base(tiny_base(architecture))
    kinds: list[dict[str, Any]] = [
        {},
        {"use_dora": True},
        {"init_lora_weights": "pissa"},
        {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"v_proj": 5}},
        {"use_dora": True, "target_modules": ["v_proj"]},
    ]
    adapters = [base.new_adapter(recipe(base=base.name, lora_r=4, **kind)) for kind in kinds]
    for number, adapter in enumerate(adapters):
        adapter.initialize(number)
        adapter.parameters.add_(0.05)
    group, segments = base.groups[0], segments_of([*adapters, None], 8)
    batch = pack_sequences([(torch.arange(60), torch.arange(60))], segments, base.device)
    trained = GroupLinear.apply(x[None], torch.zeros(0), group, batch)  # type: ignore[no-untyped-call]
    outs = [base_product(x, linear, [60]) for linear in group.linears]
    plain = [out.clone() for out in outs]
    BatchedLoRA(adapters).add(group, x, outs, segments)
    for out, expected, before in zip(outs, trained, plain, strict=True):
        torch.testing.assert_close(out, expected[0], atol=2e-5, rtol=1e-5)
        assert torch.equal(out[40:], before[40:])
    assert (outs[0][8:16] - plain[0][8:16]).abs().max() > 1e-2
