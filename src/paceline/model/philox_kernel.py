"""The Triton kernel of `philox`: one byte an element is all that it moves."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["count", "columns", "seed", "stream", "threshold"])
def keep_rows_kernel(
    numbers, out, count, columns, seed, stream, threshold, rows: tl.constexpr, quads: tl.constexpr
):
    """out (count, columns) uint8 for a block of `rows` rows and `quads` groups of four columns."""
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    quad = tl.program_id(1) * quads + tl.arange(0, quads)
    number = tl.load(numbers + row, mask=row < count, other=0)
    zero = tl.zeros((rows, quads), tl.uint32)
    first = quad[None, :].to(tl.uint32) + zero
    second = number[:, None].to(tl.uint32) + zero
    third = stream.to(tl.uint32) + zero
    words = tl.philox(seed, first, second, third, zero)
    limit = threshold.to(tl.uint32)
    for place in tl.static_range(4):
        column = quad * 4 + place
        inside = (row[:, None] < count) & (column[None, :] < columns)
        target = out + row[:, None].to(tl.int64) * columns + column[None, :]
        tl.store(target, (words[place] >= limit).to(tl.uint8), mask=inside)
