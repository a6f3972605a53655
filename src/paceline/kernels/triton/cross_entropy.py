"""The kernel of `paceline.kernels.cross_entropy`, and its launcher."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit(do_not_specialize_on_alignment=["labels", "scales"])
def cross_entropy_kernel(
    logits, labels, scales, loss, correct, slope, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr
):
    """One row: its maximum and sum of exponentials in one pass, its slope in the second."""
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels + row)
    own = logits + row * VOCABULARY
    top = -float("inf")
    total = 0.0
    best = 0
    for begin in range(0, VOCABULARY, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        values = tl.load(own + at, mask=at < VOCABULARY, other=-float("inf"))
        highest = tl.max(values, 0)
        best = tl.where(highest > top, begin + tl.argmax(values, 0), best)
        higher = tl.maximum(top, highest)
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(values - higher), 0)
        top = higher
    tl.store(loss + row, top + tl.log(total) - tl.load(own + label))
    tl.store(correct + row, (best == label).to(tl.uint8))
    factor = tl.load(scales + row) / total
    for begin in range(0, VOCABULARY, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        values = tl.exp(tl.load(own + at, mask=at < VOCABULARY, other=-float("inf")) - top)
        values = (values - tl.where(at == label, total, 0.0)) * factor
        tl.store(slope + row * VOCABULARY + at, values.to(slope.dtype.element_ty), mask=at < VOCABULARY)


def cross_entropy(
    logits: Tensor, labels: Tensor, scales: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """See `paceline.kernels.cross_entropy.cross_entropy`."""
    rows, vocabulary = logits.shape
    loss, slope = logits.new_empty(rows), logits.new_empty(rows, vocabulary, dtype=dtype)
    correct = torch.empty(rows, dtype=torch.uint8, device=logits.device)
    block = min(4096, triton.next_power_of_2(vocabulary))
    cross_entropy_kernel[(rows,)](
        logits, labels, scales, loss, correct, slope, vocabulary, block, num_warps=8
    )
    return loss, correct.view(torch.bool), slope
