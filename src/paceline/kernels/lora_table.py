"""What the Triton kernels of `lora` read of a batch's runs: addresses, offsets, ranks and scales."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate

from paceline.kernels.lora import RunRows

# Rows of a tile, and of a chunk: what one program sums of a gradient before the chunks' sums are added up.
TILE, CHUNK = 64, 1024
# Fields of a row of the table, before those of the linears, and of each linear.
RUN_FIELDS, LINEAR_FIELDS = 13, 5


def table_rows(runs: Sequence[RunRows]) -> list[list[int]]:
    """A row of int64 fields for each run.

    0, 1 start and stop of its rows; 2 where its low-rank rows begin in their buffer; 3 the sum of its ranks;
    4 the address of A, 5 of its gradient, behind which those of the Bs lie; 6 to 8 dropout's seed, stream and
    threshold; 9 and 10 its first chunk and how many; 11 where its sums begin in the workspace, 12 how many
    elements its gradients have. Of each linear: first column, rank, address of B, where B's gradient lies
    behind A's, and the bits of the scale as a float64.
    """
    rows, low, chunk, work = [], 0, 0, 0
    for run in runs:
        count, rank = run.stop - run.start, len(run.a)
        chunks = -(-count // CHUNK)
        own = [run.start, run.stop, low, rank, run.a.data_ptr(), run.a_grad.data_ptr()]
        own += [run.seed, run.stream, run.threshold, chunk, chunks, work, run.size]
        first = accumulate(run.ranks, initial=0)
        for b, b_grad, column, scale in zip(run.b, run.b_grad, first, run.scales, strict=False):
            if b is None or b_grad is None:
                own += [column, 0, 0, 0, 0]
                continue
            behind = int(b_grad.storage_offset() - run.a_grad.storage_offset())
            own += [column, b.shape[1], b.data_ptr(), behind, _bits(scale)]
        rows.append(own)
        low, chunk, work = low + count * rank, chunk + chunks, work + chunks * run.size
    return rows


def cut(runs: Sequence[RunRows], rows: int) -> list[list[int]]:
    """[run's place, first row] of all pieces of so many rows."""
    return [[place, row] for place, run in enumerate(runs) for row in range(run.start, run.stop, rows)]


def _bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])
