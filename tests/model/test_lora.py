"""One autograd node for the linears of many runs, against plain autograd."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers import (
    CPU,
    MakeBase,
    MakeRecipe,
    float64_by_default,
    plain_model,
    random_adapter,
    random_sequences,
)
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.batch import PackedBatch, pack_sequences, use_batch
from paceline.model.dropout import keep_mask
from paceline.model.lora import GroupLinear
from paceline.model.lora_weights import LinearGroup
from paceline.model.loss import segment_losses
from paceline.model.segment import Segment
from paceline.model.targets import Target

LENGTHS = (40, 57, 33)


def test_gradients_equal_plain_autograd_with_dropout_masks_and_two_runs(
    tiny_base: MakeBase, loaded_base: Base, recipe: MakeRecipe
) -> None:
    """Two runs in one batch: every adapter gradient equals autograd's through W + masked, scaled B A."""
    base = loaded_base
    recipes = [
        recipe(lora_r=4, lora_dropout=0.3),
        recipe(lora_r=8, lora_dropout=0.0, target_modules=["q_proj", "k_proj", "down_proj"]),
    ]
    adapters = [random_adapter(base, one, seed) for seed, one in enumerate(recipes)]
    sequences = random_sequences(LENGTHS)
    borders = [(0, LENGTHS[0] + LENGTHS[1]), (LENGTHS[0] + LENGTHS[1], sum(LENGTHS))]
    segments = [
        Segment(start, stop, adapter, (7, i))
        for i, ((start, stop), adapter) in enumerate(zip(borders, adapters, strict=True))
    ]
    batch = pack_sequences(sequences, segments, base.device)
    with use_batch(batch):
        hidden = base.hidden(batch)
        gradient = torch.zeros_like(hidden)
        losses = [
            segment_losses(hidden.detach(), base.head, batch, part, gradient, 0.01).loss.sum()
            for part in segments
        ]
        hidden.backward(gradient)

    for part, adapter, own, loss in zip(
        segments, adapters, (sequences[:2], sequences[2:]), losses, strict=True
    ):
        reference, leaves = reference_loss(tiny_base(), base, adapter, part, own, batch)
        assert reference.item() == pytest.approx(loss.item(), rel=1e-5)
        grads = iter(
            torch.autograd.grad(reference * 0.01, [leaf for pair in leaves.values() for leaf in pair])
        )
        for name in leaves:
            for ours in adapter.gradient_of(name):
                torch.testing.assert_close(ours, next(grads), atol=2e-6, rtol=2e-4)


def reference_loss(
    folder: str,
    base: Base,
    adapter: Adapter,
    part: Segment,
    sequences: Iterable[tuple[Tensor, Tensor]],
    batch: PackedBatch,
) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
    """The same loss by a plain model whose linears are wrapped with readable LoRA; sequence by sequence."""
    plain = plain_model(folder)
    leaves = {
        name: tuple(m.clone().requires_grad_() for m in pair) for name, pair in adapter.matrices.items()
    }
    state = {"row": 0}
    last = {group.index for group in base.groups[-3:]}
    assert part.dropout_key is not None
    for group in base.groups:
        # the last layer's projection and MLP see kept rows only, so their masks are drawn for those
        rows = part.stop - part.start
        kept = batch.loss_rows.batch.segments[batch.segments.index(part)]
        count = kept.stop - kept.start if group.index in last else rows
        width = group.linears[0].in_features
        keep = keep_mask((*part.dropout_key, group.index), count, width, adapter.dropout, base.device)
        if group.index in last:
            inside = batch.loss_rows.rows[kept.start : kept.stop] - part.start
            keep = torch.ones(rows, keep.shape[1], dtype=torch.bool).index_copy(0, inside, keep)
        for name in group.names:
            if name in leaves:
                wrap(plain.get_submodule(name), leaves[name], keep, adapter, state, name)
    total = torch.zeros(())
    for ids, labels in sequences:
        logits = plain(ids[None]).logits[0]
        total = total + F.cross_entropy(logits, labels, reduction="sum", ignore_index=-100)
        state["row"] += len(ids)
    return total, leaves


def wrap(
    linear: Any, pair: tuple[Tensor, ...], keep: Tensor, adapter: Adapter, state: dict[str, int], name: str
) -> None:
    def forward(x: Tensor) -> Tensor:
        rows = keep[state["row"] : state["row"] + x.shape[1]]
        low = (x * rows / (1 - adapter.dropout)) @ pair[0].t() @ pair[1].t()
        return F.linear(x, linear.weight, linear.bias) + adapter.scales[name] * low

    linear.forward = forward


@pytest.fixture
def layer(recipe: MakeRecipe) -> tuple[LinearGroup, list[Adapter], PackedBatch]:
    """Three linears in float64, and a batch of two runs (one with dropout) and rows of no run."""
    torch.manual_seed(0)
    with float64_by_default():
        linears = (nn.Linear(5, 4), nn.Linear(5, 3, bias=False), nn.Linear(5, 2))
        group = LinearGroup(3, ("a", "b", "c"), linears)
        adapters = [
            Adapter(recipe(lora_r=2, lora_dropout=0.25), [group], dict.fromkeys("ac", Target(2, 16.0)), CPU),
            Adapter(
                recipe(lora_r=3, lora_dropout=0.0), [group], dict.fromkeys("abc", Target(3, 32 / 3)), CPU
            ),
        ]
    for linear in linears:
        linear.requires_grad_(False)
    for adapter in adapters:
        adapter.parameters.normal_()
    segments = [Segment(0, 5, adapters[0], (1, 2)), Segment(5, 9, adapters[1], (3, 4)), Segment(9, 12, None)]
    return group, adapters, pack_sequences(random_sequences((12,)), segments, CPU)


def outputs(x: Tensor, group: LinearGroup, batch: PackedBatch) -> Tensor:
    sentinel = torch.zeros(0, requires_grad=True)
    found: tuple[Tensor, ...] = GroupLinear.apply(x, sentinel, group, batch)  # type: ignore[no-untyped-call]
    return torch.cat(found, dim=-1)


def test_rows_have_the_product_of_their_own_run(
    layer: tuple[LinearGroup, list[Adapter], PackedBatch],
) -> None:
    group, _, batch = layer
    x = torch.randn(1, 32, 5, dtype=torch.float64)
    expected = []
    for name, linear in zip(group.names, group.linears, strict=True):
        out = linear(x[0])
        for segment in batch.segments:
            if segment.adapter is not None and name in segment.adapter.matrices:
                a, b = segment.adapter.matrices[name]
                rows = slice(segment.start, segment.stop)
                masked = x[0, rows]
                if segment.adapter.dropout:
                    keep = keep_mask((1, 2, group.index), 5, 5, 0.25, CPU)
                    masked = masked * keep / 0.75
                out[rows] += segment.adapter.scales[name] * masked @ a.t() @ b.t()
        expected.append(out)
    torch.testing.assert_close(outputs(x, group, batch)[0], torch.cat(expected, dim=-1))


def test_the_gradient_of_the_input_is_the_slope(
    layer: tuple[LinearGroup, list[Adapter], PackedBatch],
) -> None:
    group, _, batch = layer
    x = torch.randn(1, 32, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: outputs(x, group, batch)[:, :12], x)


def test_the_gradient_of_the_input_is_the_slope_with_dora_and_dropout(recipe: MakeRecipe) -> None:
    with float64_by_default():
        linears = (nn.Linear(5, 4), nn.Linear(5, 3, bias=False))
        group = LinearGroup(3, ("a", "b"), linears)
        made = recipe(lora_r=2, lora_dropout=0.25, use_dora=True)
        adapter = Adapter(made, [group], dict.fromkeys("ab", Target(2, 16.0)), CPU)
    for linear in linears:
        linear.requires_grad_(False)
    adapter.parameters.normal_()
    segments = [Segment(0, 7, adapter, (1, 2)), Segment(7, 12, None)]
    batch = pack_sequences(random_sequences((12,)), segments, CPU)
    x = torch.randn(1, 32, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: outputs(x, group, batch)[:, :12], x)


def test_the_gradients_of_a_and_b_are_the_slopes(
    layer: tuple[LinearGroup, list[Adapter], PackedBatch],
) -> None:
    group, adapters, batch = layer
    x = torch.randn(1, 32, 5, dtype=torch.float64)
    for adapter in adapters:
        start = adapter.parameters.clone().requires_grad_()
        assert torch.autograd.gradcheck(
            lambda parameters, adapter=adapter: _OfParameters.apply(  # type: ignore[no-untyped-call]
                parameters, adapter, lambda: outputs(x, group, batch)[:, :12]
            ),
            start,
            check_undefined_grad=False,
        )


class _OfParameters(torch.autograd.Function):
    """The layer as a function of an adapter's flat buffer."""

    @staticmethod
    def forward(ctx: Any, parameters: Tensor, adapter: Adapter, layer: Callable[[], Tensor]) -> Tensor:
        adapter.parameters.copy_(parameters)
        with torch.enable_grad():
            out = layer()
        ctx.adapter, ctx.parameters, ctx.out = adapter, parameters.detach().clone(), out
        return out.detach().clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        ctx.adapter.parameters.copy_(ctx.parameters)
        ctx.adapter.gradients.zero_()
        ctx.out.backward(grads[0], retain_graph=True)
        gradients: Tensor = ctx.adapter.gradients.clone()
        return gradients, None, None


def test_a_second_backward_adds_to_the_first(layer: tuple[LinearGroup, list[Adapter], PackedBatch]) -> None:
    group, adapters, batch = layer
    x = torch.randn(1, 32, 5, dtype=torch.float64)
    outputs(x, group, batch).sum().backward()
    once = [adapter.gradients.clone() for adapter in adapters]
    outputs(x, group, batch).sum().backward()
    for adapter, first in zip(adapters, once, strict=True):
        assert first.any()
        torch.testing.assert_close(adapter.gradients, 2 * first)
