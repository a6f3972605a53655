"""Linear cross-entropy in chunks, over supervised positions only: the logits of a batch never exist as a whole."""

from dataclasses import dataclass

import torch
from torch import Tensor

from paceline.model.flat import FlatBatch, Slice

# Elements of one chunk of logits: about what a CPU's caches hold, and little beside a GPU's memory.
_CHUNK_ELEMENTS = {"cpu": 2**22, "cuda": 2**27}


@dataclass(frozen=True)
class TokenLosses:
    """What one slice's supervised positions gave.

    Shapes: (supervised positions,) each. `loss` in nats; `correct` is whether the most likely token was the label.
    """

    positions: Tensor
    loss: Tensor
    correct: Tensor


def chunk_rows(vocabulary: int, device: torch.device) -> int:
    """Positions in a chunk: a function of the vocabulary and the kind of device alone."""
    return max(64, min(1024, _CHUNK_ELEMENTS[device.type] // vocabulary))


def slice_losses(
    hidden: Tensor, weight: Tensor, batch: FlatBatch, piece: Slice, gradient: Tensor | None = None, scale: float = 1.0
) -> TokenLosses:
    """Cross-entropy of one slice's supervised positions, and its gradient.

    Args:
        hidden: (T, hidden size), the final hidden states of the whole flat batch.
        weight: (vocabulary, hidden size), the output projection.
        gradient: (T, hidden size); where given, d(scale x summed loss)/d(hidden) is written into the slice's rows.
    """
    labels = batch.labels[0, piece.start : piece.stop]
    positions = (labels >= 0).nonzero()[:, 0]
    rows, labels = hidden[piece.start : piece.stop][positions], labels[positions]
    losses, corrects, grads = [], [], []
    step = chunk_rows(weight.shape[0], hidden.device)
    for part, target in zip(rows.split(step), labels.split(step), strict=True):
        loss, correct, grad = _chunk(part, target, weight, gradient is not None)
        losses.append(loss)
        corrects.append(correct)
        grads.append(grad)
    if gradient is not None and len(positions):
        gradient[piece.start : piece.stop].index_copy_(0, positions, torch.cat(grads).mul_(scale).to(gradient.dtype))
    empty = hidden.new_zeros(0, dtype=torch.float32)
    return TokenLosses(positions + piece.start, torch.cat([empty, *losses]), torch.cat([empty.bool(), *corrects]))


def _chunk(rows: Tensor, labels: Tensor, weight: Tensor, want_gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, correct, d(summed loss)/d(rows)) of one chunk; the gradient uses softmax(z) W - W[label], the softmax left unnormalised."""
    logits = (rows @ weight.t()).float()
    top = logits.amax(1, keepdim=True)
    chosen = logits.gather(1, labels[:, None])
    total = logits.sub_(top).exp_().sum(1, keepdim=True)
    loss = (top + total.log() - chosen)[:, 0]
    grad = rows.new_empty(0)
    if want_gradient:
        grad = ((logits.to(weight.dtype) @ weight).float() / total).sub_(weight[labels])
    return loss, (chosen == top)[:, 0], grad
