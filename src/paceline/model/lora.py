"""Linear layers whose rows belong to many runs, each with its own low-rank product.

Linears that read the same tensor (q, k and v; gate and up) form a group: one autograd node, one product with
all their A matrices, one dropout mask. The base product is computed once for all rows. The gradients of A and
B are added to the adapter's own buffer inside the backward pass, segment by segment in order, so they never
depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from paceline.kernels.lora import (
    GroupedRuns,
    lora_down,
    lora_input_gradient,
    lora_low_gradient,
    lora_up,
    lora_weight_gradients,
)
from paceline.model.batch import LoRAApplier, PackedBatch, current_context
from paceline.model.dora import direction_norm, without_bias
from paceline.model.dropout import keep_mask
from paceline.model.lora_weights import LinearGroup, LoRAWeights
from paceline.model.products import product
from paceline.model.quantization import base_product, dense_weight, input_gradient
from paceline.model.segment import Segment


@dataclass(frozen=True)
class _Saved:
    """What the backward pass needs of one segment, beside the tensors that autograd keeps.

    `a` and `b` are the weights' own in the base's type.
    """

    weights: LoRAWeights
    a: Tensor
    b: list[Tensor]
    rows: slice
    kept: float
    norms: list[Tensor]

    def scale(self, target: int) -> float:
        """The factor of a target's B A x, dropout's own included."""
        return self.weights.scales[target] / self.kept

    def gain(self, target: int) -> Tensor:
        """What DoRA multiplies a target's outputs by."""
        return self.weights.magnitude[target] / self.norms[target]


class GroupLinear(torch.autograd.Function):
    """y_i = x W_i' + b_i + s (keep * x) A_i' B_i' for linear i of a group, a row with its run's A and B.

    LoRA: arXiv:2106.09685; DoRA: see `dora`. The scale s holds alpha / r and dropout's 1 / (1 - p). Differs
    from PEFT in one point: the linears of a group share their dropout mask. `grad_sentinel` is any tensor
    that requires grad: it makes a node also where x (the embeddings) needs no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, grad_sentinel: Tensor, group: LinearGroup, batch: PackedBatch
    ) -> tuple[Tensor, ...]:
        flat = x.view(-1, x.shape[-1])
        stops = [segment.stop for segment in batch.segments]
        outs = [base_product(flat, linear, stops) for linear in group.linears]
        saved: list[_Saved] = []
        grouped = batch.grouped.runs.get(group.index) if batch.grouped else None
        flat = flat.contiguous() if grouped else flat
        tensors: list[Tensor | None] = [_add_grouped(flat, outs, grouped) if grouped else None]
        for segment in batch.segments:
            if batch.grouped and segment.start in batch.grouped.starts:
                continue
            if segment.adapter is None or (weights := segment.adapter.weights.get(group.index)) is None:
                continue
            rows = slice(segment.start, segment.stop)
            kept, keep = _dropout(batch, segment, group, x)
            inputs = _masked(flat[rows], keep)
            a, *bs = batch.cast(segment.adapter, [weights.a, *weights.b], x.dtype)
            low = inputs @ a.t()
            own = _Saved(weights, a, bs, rows, kept, [])
            directions: list[Tensor] = []
            for target, linear in enumerate(weights.targets):
                out, columns = outs[linear][rows], weights.columns(target)
                b = bs[target]
                if weights.magnitude:
                    module = group.linears[linear]
                    own.norms.append(direction_norm(weights, target, module))
                    frozen = without_bias(out, module) if keep is None else _dense(inputs / kept, module)
                    direction = torch.addmm(frozen, low[:, columns], b.t(), alpha=own.scale(target))
                    out.sub_(frozen).addcmul_(direction, _as(own.gain(target), x))
                    directions.append(direction)
                else:
                    out.addmm_(low[:, columns], b.t(), alpha=own.scale(target))
            if weights.start is not None:
                _subtract_start(weights, flat[rows], [outs[linear][rows] for linear in weights.targets])
            saved.append(own)
            tensors += (low, keep, *directions)
        ctx.save_for_backward(flat, *tensors)
        ctx.group, ctx.saved, ctx.stops, ctx.grouped = group, saved, stops, grouped
        return tuple(_shaped(out, x) for out in outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        flat, low, *tensors = ctx.saved_tensors
        flats = [grad.reshape(flat.shape[0], -1) for grad in grads]
        dx = None
        if ctx.needs_input_grad[0]:
            dx = input_gradient(flats, ctx.group.linears, ctx.stops)
        if ctx.grouped:
            _backward_grouped(flat, low, flats, dx, ctx.grouped)
        rest = iter(tensors)
        for saved in ctx.saved:
            own, keep = next(rest), next(rest)
            directions = [next(rest) for _ in saved.norms]
            _backward_segment(ctx.group, saved, own, keep, directions, flat, flats, dx)
        return None if dx is None else dx.view(*grads[0].shape[:-1], -1), None, None, None


def _add_grouped(flat: Tensor, outs: list[Tensor], grouped: GroupedRuns) -> Tensor:
    """Adds the products of the runs that a GPU's kernels serve; returns their low-rank rows."""
    low = lora_down(flat, grouped)
    for linear in range(grouped.linears):
        lora_up(outs[linear], low, grouped, linear)
    return low


def _backward_grouped(
    flat: Tensor, low: Tensor, grads: list[Tensor], dx: Tensor | None, grouped: GroupedRuns
) -> None:
    """Adds the gradients of the runs that a GPU's kernels serve to their adapters' buffers and to dx."""
    dlow = torch.empty_like(low)
    grads = [grad.contiguous() for grad in grads[: grouped.linears]]
    for linear, grad in enumerate(grads):
        lora_low_gradient(grad, dlow, grouped, linear)
    lora_weight_gradients(flat, low, dlow, grads, grouped)
    if dx is not None:
        lora_input_gradient(dx, dlow, grouped)


def _backward_segment(
    group: LinearGroup,
    saved: _Saved,
    low: Tensor,
    keep: Tensor | None,
    directions: list[Tensor],
    flat: Tensor,
    grads: list[Tensor],
    dx: Tensor | None,
) -> None:
    """Adds one segment's gradients to its adapter's buffer and to dx.

    `low` (rows, targets x r) is the dropped-out input times A; `directions` (rows, out) are what DoRA's
    magnitudes multiply.
    """
    weights, rows = saved.weights, saved.rows
    dlow = torch.empty_like(low)
    # what reaches the dropped-out input through DoRA's own product with W
    masked = None if dx is None or not directions else torch.zeros_like(flat[rows])
    for target, linear in enumerate(weights.targets):
        columns = weights.columns(target)
        grad = grads[linear][rows]
        if directions:
            weights.magnitude_grad[target].add_((grad * directions[target]).sum(0) / saved.norms[target])
            scaled = grad * _as(saved.gain(target), grad)
            if masked is not None:
                masked.addmm_(scaled - grad, dense_weight(group.linears[linear], flat.dtype))
            grad = scaled
        torch.mm(grad, saved.b[target], out=dlow[:, columns])
        _accumulate(weights.b_grad[target], grad.t(), low[:, columns], saved.scale(target))
        dlow[:, columns].mul_(saved.scale(target))
    _accumulate(weights.a_grad, dlow.t(), _masked(flat[rows], keep), 1.0)
    if dx is None:
        return
    if keep is None:
        dx[rows].addmm_(dlow, saved.a)
    else:
        dx[rows].addcmul_(dlow @ saved.a, _factor(keep, flat))
    if masked is not None:
        dx[rows].add_(masked if keep is None else _masked(masked, keep) / saved.kept)
    if weights.start is not None:
        a, b = weights.start
        for target, linear in enumerate(weights.targets):
            through = grads[linear][rows] @ _as(b[target], flat)
            columns = weights.columns(target)
            dx[rows].addmm_(through, _as(a[columns], flat), alpha=-weights.scales[target])


def _subtract_start(weights: LoRAWeights, rows: Tensor, outs: list[Tensor]) -> None:
    """Takes the product of the first A and B out again: what PiSSA and OLoRA take out of the base itself."""
    assert weights.start is not None
    a, b = weights.start
    low = rows @ _as(a, rows).t()
    for target, out in enumerate(outs):
        columns = weights.columns(target)
        out.addmm_(low[:, columns], _as(b[target], rows).t(), alpha=-weights.scales[target])


def _dense(rows: Tensor, linear: nn.Linear) -> Tensor:
    return rows @ dense_weight(linear, rows.dtype).t()


def group_forwards(group: LinearGroup) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """A forward for each linear of a group: the first computes all outputs, the others return theirs.

    What is handed out lives in the context of the forward that is under way. Outside of one, each linear
    computes what its class does.
    """
    grad_sentinel = torch.zeros(0, requires_grad=True)

    def first(x: Tensor) -> Tensor:
        context = current_context()
        if context is None:
            return _own_forward(group.linears[0], x)
        outs: tuple[Tensor, ...]
        if context.batch.generation is not None:
            outs = _generate(x, group, context.batch, context.batch.generation.lora)
        else:
            outs = GroupLinear.apply(x, grad_sentinel, group, context.batch)  # type: ignore[no-untyped-call]
        context.outputs.update(((group.index, linear), out) for linear, out in enumerate(outs[1:], 1))
        return outs[0]

    def later(linear: int, x: Tensor) -> Tensor:
        context = current_context()
        if context is None or (group.index, linear) not in context.outputs:
            return _own_forward(group.linears[linear], x)
        return context.outputs.pop((group.index, linear))

    yield group.linears[0], first
    for linear in range(1, len(group.linears)):
        yield group.linears[linear], partial(later, linear)


def _generate(x: Tensor, group: LinearGroup, batch: PackedBatch, lora: LoRAApplier) -> tuple[Tensor, ...]:
    """What `GroupLinear` computes, for generation: without a node, with the adapters side by side."""
    flat, stops = x.view(-1, x.shape[-1]), [segment.stop for segment in batch.segments]
    outs = [base_product(flat, linear, stops) for linear in group.linears]
    lora.add(group, flat, outs, batch.segments)
    return tuple(_shaped(out, x) for out in outs)


def _shaped(out: Tensor, x: Tensor) -> Tensor:
    """(T, out) in the shape of x; no view where it can be, as some models add to outputs in place."""
    return out.unsqueeze_(0) if x.shape[:-1] == (1, len(out)) else out.view(*x.shape[:-1], -1)


def _own_forward(linear: nn.Linear, x: Tensor) -> Tensor:
    return type(linear).forward(linear, x)


def _dropout(
    batch: PackedBatch, segment: Segment, group: LinearGroup, x: Tensor
) -> tuple[float, Tensor | None]:
    """The share that is kept, and the mask of it (None: all)."""
    assert segment.adapter is not None
    p = segment.adapter.dropout
    if segment.dropout_key is None or p == 0:
        return 1.0, None
    key, rows = (*segment.dropout_key, group.index), segment.stop - segment.start
    keep = keep_mask(key, rows, x.shape[-1], p, x.device, batch.dropout_rows(segment))
    return 1 - p, keep


def _masked(x: Tensor, keep: Tensor | None) -> Tensor:
    return x if keep is None else x * _factor(keep, x)


def _as(parameter: Tensor, x: Tensor) -> Tensor:
    return parameter if parameter.dtype == x.dtype else parameter.to(x.dtype)


def _accumulate(total: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """total += scale * left @ right, with the sum in total's own (32-bit) type."""
    if total.dtype == left.dtype:
        total.addmm_(left, right, alpha=scale)
    else:
        total.add_(product(left, right), alpha=scale)


def _factor(keep: Tensor, x: Tensor) -> Tensor:
    # a GPU's kernels convert what they read; on a CPU bytes convert four times faster than bools
    return keep if x.is_cuda else keep.view(torch.uint8).to(x.dtype)
