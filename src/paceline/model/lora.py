"""The training step's heart: linear layers whose rows belong to many runs, each with its own low-rank part.

Linears that read the same tensor (q, k and v; gate and up) form a group: one autograd node, one product with all their A matrices, one
dropout mask. The base product is computed once for all rows. The gradients of A and B are added to the adapter's own buffer
inside the backward pass, slice by slice in order, so they never depend on what else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paceline.model.batch import PackedBatch, Segment
from paceline.model.dropout import keep_mask
from paceline.model.quantization import base_product, dense_weight


@dataclass(frozen=True)
class LinearGroup:
    """Linears that read the same input; `index` is its place in the model and names its dropout masks."""

    index: int
    names: tuple[str, ...]
    linears: tuple[nn.Linear, ...]


@dataclass(frozen=True)
class LoRAWeights:
    """What one adapter adds to one group. Views into the adapter's flat buffers.

    Shapes: `a` and `a_grad` (targets x r, in); `b` and `b_grad` hold (out, r) for each targeted linear; `targets` are their places in the group.
    """

    targets: list[int]
    rank: int
    a: Tensor
    a_grad: Tensor
    b: list[Tensor]
    b_grad: list[Tensor]

    def columns(self, place: int) -> slice:
        """The columns of the shared low-rank product that belong to the place-th targeted linear."""
        return slice(place * self.rank, (place + 1) * self.rank)


@dataclass(frozen=True)
class _Saved:
    part: LoRAWeights
    rows: slice
    scale: float


class GroupLinear(torch.autograd.Function):
    """y_i = x W_i' + b_i + s (keep * x) A_i' B_i' for every linear i of a group, each row with its own run's A and B.

    LoRA: arXiv:2106.09685. The scale s holds alpha / r and dropout's 1 / (1 - p). Differs from PEFT in one point: the linears of a
    group share their dropout mask. `anchor` is any tensor that requires grad: it makes a node also where x (the embeddings) needs no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, grad_sentinel: Tensor, group: LinearGroup, batch: PackedBatch
    ) -> tuple[Tensor, ...]:
        flat = x.view(-1, x.shape[-1])
        outs = [base_product(flat, linear, batch) for linear in group.linears]
        if batch.batched_lora is not None:
            batch.batched_lora.add(group, flat, outs, batch.segments)
            return tuple(out.view(*x.shape[:-1], -1) for out in outs)
        saved: list[_Saved] = []
        tensors: list[Tensor | None] = []
        for segment in batch.segments:
            if segment.adapter is None or (part := segment.adapter.parts.get(group.index)) is None:
                continue
            rows = slice(segment.start, segment.stop)
            scale, keep = _dropout(segment, group, x.shape[-1], x.device)
            low = _masked(flat[rows], keep) @ _as(part.a, x).t()
            for place, target in enumerate(part.targets):
                outs[target][rows].addmm_(low[:, part.columns(place)], _as(part.b[place], x).t(), alpha=scale)
            saved.append(_Saved(part, rows, scale))
            tensors += (low, keep)
        ctx.save_for_backward(flat, *tensors)
        ctx.group, ctx.saved = group, saved
        return tuple(out.view(*x.shape[:-1], -1) for out in outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        flat, *tensors = ctx.saved_tensors
        flats = [grad.reshape(flat.shape[0], -1) for grad in grads]
        dx = None
        if ctx.needs_input_grad[0]:
            dx = flats[0] @ dense_weight(ctx.group.linears[0], flat.dtype)
            for grad, linear in zip(flats[1:], ctx.group.linears[1:], strict=True):
                dx.addmm_(grad, dense_weight(linear, flat.dtype))
        for item, low, keep in zip(ctx.saved, tensors[::2], tensors[1::2], strict=True):
            _backward_part(item, low, keep, flat, flats, dx)
        return None if dx is None else dx.view(*grads[0].shape[:-1], -1), None, None, None


def _backward_part(
    item: _Saved, low: Tensor, keep: Tensor | None, flat: Tensor, grads: list[Tensor], dx: Tensor | None
) -> None:
    """Adds one slice's gradients to its adapter's buffer and to dx. `low` (rows, targets x r) is the dropped-out input times A."""
    part, rows = item.part, item.rows
    dlow = torch.empty_like(low)
    for place, target in enumerate(part.targets):
        columns = part.columns(place)
        grad = grads[target][rows]
        torch.mm(grad, _as(part.b[place], flat), out=dlow[:, columns])
        _accumulate(part.b_grad[place], grad.t(), low[:, columns], item.scale)
    dlow.mul_(item.scale)
    _accumulate(part.a_grad, dlow.t(), _masked(flat[rows], keep), 1.0)
    if dx is None:
        return
    if keep is None:
        dx[rows].addmm_(dlow, _as(part.a, flat))
    else:
        dx[rows].addcmul_(dlow @ _as(part.a, flat), _factor(keep, flat))


def _dropout(
    segment: Segment, group: LinearGroup, width: int, device: torch.device
) -> tuple[float, Tensor | None]:
    assert segment.adapter is not None
    p, scale = segment.adapter.dropout, segment.adapter.scale
    if segment.dropout_key is None or p == 0:
        return scale, None
    keep = keep_mask((*segment.dropout_key, group.index), segment.stop - segment.start, width, p, device)
    return scale / (1 - p), keep


def _masked(x: Tensor, keep: Tensor | None) -> Tensor:
    return x if keep is None else x * _factor(keep, x)


def _as(parameter: Tensor, x: Tensor) -> Tensor:
    return parameter if parameter.dtype == x.dtype else parameter.to(x.dtype)


def _accumulate(total: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """total += scale * left @ right, with the sum in total's own (32-bit) type."""
    if total.dtype == left.dtype:
        total.addmm_(left, right, alpha=scale)
    else:
        total.add_(left @ right, alpha=scale)


def _factor(keep: Tensor, x: Tensor) -> Tensor:
    # bytes convert four times faster than bools
    return keep.view(torch.uint8).to(x.dtype)
