"""Linear cross-entropy and KL terms in chunks over supervised positions: logits never exist as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from paceline.model.batch import PackedBatch
from paceline.model.ends import head_change, head_weight
from paceline.model.memory import upload
from paceline.model.products import product
from paceline.model.segment import Segment

# Elements of one chunk of logits: about what a CPU's caches hold, and little beside a GPU's memory.
_CHUNK_ELEMENTS = {"cpu": 2**22, "cuda": 2**27}


@dataclass(frozen=True, kw_only=True)
class SoftTarget:
    """Another model's distribution at supervised positions of a segment, as hidden states for its `head`.

    `name` is the term that it makes. `weight` is the factor of the summed KL divergence in the loss, or of
    each position's, (n,).
    `forward`: KL(target ‖ ours), else KL(ours ‖ target). Both distributions are taken at `temperature`, and
    the divergence counts temperature² times (arXiv:1503.02531, section 2).

    Shapes: `positions` (n,), rising indices among the segment's supervised positions, on the CPU; `hidden`
    (n, hidden size of the other model); `head` (vocabulary, hidden size of the other model), which may have a
    few more or fewer rows of padding than ours.
    """

    name: str
    positions: Tensor
    hidden: Tensor
    head: Tensor
    weight: float | Tensor
    forward: bool
    temperature: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TokenLosses:
    """What one segment's supervised positions gave.

    Shapes: (supervised positions,) each. `loss` is the cross-entropy in nats; `correct` is whether the most
    likely token (of equally likely ones the first) was the label; `divergences` holds, by the soft target's
    name, the KL divergence in nats at its positions.
    """

    positions: Tensor
    loss: Tensor
    correct: Tensor
    divergences: dict[str, Tensor] = field(default_factory=dict)


def chunk_rows(vocabulary: int, device: torch.device) -> int:
    """Positions in a chunk: a function of the vocabulary and the kind of device alone."""
    return max(64, min(1024, _CHUNK_ELEMENTS[device.type] // vocabulary))


def segment_losses(
    hidden: Tensor,
    weight: Tensor,
    batch: PackedBatch,
    segment: Segment,
    gradient: Tensor | None = None,
    scale: float | Tensor = 1.0,
    soft: Sequence[SoftTarget] = (),
) -> TokenLosses:
    """Losses of one segment's supervised positions, and their gradient.

    Args:
        hidden: (T, hidden size), the final hidden states of the whole packed batch.
        weight: (vocabulary, hidden size), the output projection.
        gradient: (T, hidden size); where given, d(scale x summed cross-entropy + weighted
            divergences)/d(hidden) is written into the segment's rows. Where the segment's adapter changes
            the output projection, the gradients of what it has there are added to its own.
        scale: of all positions, or of each supervised one, (n,).
    """
    positions, numbers = batch.supervised_rows(segment), batch.row_numbers
    rows, labels = hidden[positions], batch.labels[0][positions]
    losses, corrects, grads = [], [], []
    divergences: dict[str, list[Tensor]] = {target.name: [] for target in soft}
    step = chunk_rows(weight.shape[0], hidden.device)
    change = head_change(segment, rows, None if numbers is None else numbers[positions])
    weight = head_weight(segment, weight)
    scale = upload(scale, hidden.device) if isinstance(scale, Tensor) else scale
    for start in range(0, len(rows), step):
        logits = product(rows[start : start + step], weight.t())
        if change is not None:
            change.add(logits, slice(start, start + step))
        terms = [_ChunkTerm(target, start, start + step) for target in soft]
        soft_grads = [term.apply(logits, divergences[term.target.name]) for term in terms if len(term.rows)]
        loss, correct, grad = _cross_entropy(
            logits, labels[start : start + step], weight, gradient is not None
        )
        losses.append(loss)
        corrects.append(correct)
        if gradient is not None:
            factor = _part(scale, slice(start, start + step), logits)
            grad.mul_(factor)
            for places, values in soft_grads:
                grad.index_add_(0, places, (values.to(weight.dtype) @ weight).to(grad.dtype))
            if change is not None:
                slope = _slope(logits, labels[start : start + step], factor, soft_grads)
                change.backward(slope, slice(start, start + step), grad)
            grads.append(grad)
    if gradient is not None and len(positions):
        gradient.index_copy_(0, positions, torch.cat(grads).to(gradient.dtype))
    empty = hidden.new_zeros(0, dtype=torch.float32)
    return TokenLosses(
        positions=positions,
        loss=torch.cat([empty, *losses]),
        correct=torch.cat([empty.bool(), *corrects]),
        divergences={name: torch.cat([empty, *chunks]) for name, chunks in divergences.items()},
    )


def _part(scale: float | Tensor, chunk: slice, like: Tensor) -> float | Tensor:
    """The factors of a chunk's positions, (positions, 1) where each has its own."""
    return scale[chunk, None].to(like.device, like.dtype) if isinstance(scale, Tensor) else scale


def _cross_entropy(
    logits: Tensor, labels: Tensor, weight: Tensor, want_gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, correct, d(summed loss)/d(rows)) of one chunk, overwriting its logits.

    The gradient is softmax(z) W - W[label]; the softmax stays unnormalised until after the product.
    """
    top, best = logits.max(1, keepdim=True)
    chosen = logits.gather(1, labels[:, None])
    total = logits.sub_(top).exp_().sum(1, keepdim=True)
    loss = (top + total.log() - chosen)[:, 0]
    grad = logits.new_empty(0)
    if want_gradient and weight.dtype == logits.dtype:
        grad = ((logits @ weight) / total).sub_(weight[labels])
    elif want_gradient:
        # the label's part goes in before rounding: of a sure token it cancels nearly all of the sum
        own = (chosen - top).exp_()
        if weight.dtype == torch.float16:  # which ends at 65,504: a sum over a vocabulary may pass it
            logits, own, total = logits.div_(total), own / total, torch.ones_like(total)
        own = (own - total).to(weight.dtype)
        slope = logits.to(weight.dtype).scatter_(1, labels[:, None], own)
        grad = (slope @ weight).to(logits.dtype) / total
    return loss, (best == labels[:, None])[:, 0], grad


def _slope(
    exponentials: Tensor, labels: Tensor, scale: float | Tensor, soft: Sequence[tuple[Tensor, Tensor]]
) -> Tensor:
    """d(loss)/d(logits) of one chunk, overwriting what `_cross_entropy` made of its logits."""
    slope = exponentials.mul_(scale / exponentials.sum(1, keepdim=True))
    each = scale[:, 0] if isinstance(scale, Tensor) else scale
    slope[torch.arange(len(labels), device=labels.device), labels] -= each
    for places, values in soft:
        slope.index_add_(0, places, values.to(slope.dtype))
    return slope


class _ChunkTerm:
    """The positions of a soft target inside the chunk `start:stop`; `rows` are theirs in the chunk."""

    def __init__(self, target: SoftTarget, start: int, stop: int) -> None:
        self.target = target
        self.inside = slice(int((target.positions < start).sum()), int((target.positions < stop).sum()))
        self.rows = upload(target.positions[self.inside] - start, target.hidden.device)

    def apply(self, logits: Tensor, divergences: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Adds the divergences to the list; returns the rows and d(weighted divergences)/d(logits) there."""
        target = self.target
        size = min(logits.shape[1], target.head.shape[0])
        other = product(target.hidden[self.inside], target.head.t())[:, :size]
        ours = (logits[self.rows, :size] / target.temperature).log_softmax(1)
        theirs = (other.to(ours.dtype) / target.temperature).log_softmax(1)
        if target.forward:
            divergence = (theirs.exp() * (theirs - ours)).sum(1)
            slope = ours.exp() - theirs.exp()
        else:
            gap = ours - theirs
            divergence = (ours.exp() * gap).sum(1)
            slope = ours.exp() * (gap - divergence[:, None])
        divergences.append(divergence)
        # temperature² from the loss, 1 / temperature from z / temperature
        weight = target.weight
        weight = upload(weight, slope.device) if isinstance(weight, Tensor) else weight
        slope = slope.mul_(_part(weight, self.inside, slope) * target.temperature)
        return self.rows, pad(slope, (0, logits.shape[1] - size))
