"""Dropout's bits: one byte an element is all that the kernel moves."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def keep(number, begin, width: tl.constexpr, seed, stream, threshold):
    """Whether elements are kept, (rows, width): of rows `number` from column `begin` on, a multiple of 8."""
    block = begin // 8 + tl.arange(0, width // 8)
    zero = tl.zeros((number.shape[0], width // 8), tl.uint32)
    first = block[None, :].to(tl.uint32) + zero
    second = number[:, None].to(tl.uint32) + zero
    one, two, three, four = tl.philox(seed, first, second, stream.to(tl.uint32) + zero, zero)
    lower = _in_turn(one & 0xFFFF, two & 0xFFFF, three & 0xFFFF, four & 0xFFFF)
    upper = _in_turn(one >> 16, two >> 16, three >> 16, four >> 16)
    return tl.interleave(lower, upper) >= threshold.to(tl.uint32)


@triton.jit
def _in_turn(one, two, three, four):
    """Four blocks' columns in turn."""
    return tl.interleave(tl.interleave(one, three), tl.interleave(two, four))


@triton.jit(
    do_not_specialize=["count", "columns", "seed", "stream", "threshold"],
    do_not_specialize_on_alignment=["numbers"],
)
def keep_kernel(
    numbers, out, count, columns, seed, stream, threshold, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """`out` (count, columns) in uint8, a block of it."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    begin = tl.program_id(1) * COLUMNS
    number = tl.load(numbers + row, mask=row < count, other=0)
    kept = keep(number, begin, COLUMNS, seed, stream, threshold)
    column = begin + tl.arange(0, COLUMNS)
    inside = (row[:, None] < count) & (column[None, :] < columns)
    tl.store(out + row[:, None].to(tl.int64) * columns + column[None, :], kept.to(tl.uint8), mask=inside)


def keep_words(numbers: Tensor, columns: int, seed: int, stream: int, threshold: int) -> Tensor:
    """See `paceline.kernels.philox.keep_words`."""
    out = torch.empty(len(numbers), columns, dtype=torch.uint8, device=numbers.device)
    rows, width = 16, 256
    grid = (triton.cdiv(len(numbers), rows), triton.cdiv(columns, width))
    # numbers beyond 2**31 would change the arguments' type, and with it the kernel
    halves = [word - 2**32 if word >= 2**31 else word for word in (stream, threshold)]
    keep_kernel[grid](numbers, out, len(numbers), columns, seed, *halves, rows, width)
    return out
