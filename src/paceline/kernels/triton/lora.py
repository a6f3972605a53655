"""The kernels of `paceline.kernels.lora`, and their launchers.

Each program reads its run's row of the table. Ranks are cut into blocks of at most 64, filled up with zeros.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from paceline.kernels.lora import GroupedRuns
from paceline.kernels.lora_table import CHUNK, LINEAR_FIELDS, RUN_FIELDS, TILE
from paceline.kernels.triton.philox import keep

WIDTH = 64  # columns of a block

# Tables are parts of one upload: where one begins in it must not decide which kernel runs, or is built.
kernel = triton.jit(do_not_specialize_on_alignment=["table", "tiles", "chunks", "numbers"])


@triton.jit
def _matrix(run, field, dtype: tl.constexpr):
    """The address in a field, as a pointer."""
    return tl.load(run + field).to(tl.pointer_type(dtype))


@triton.jit
def _scale(linear):
    return tl.load(linear + 4).to(tl.float64, bitcast=True).to(tl.float32)


@triton.jit
def _block(pointer, rows, columns, stride, in_rows, in_columns):
    """A block of a row-major matrix; zeros outside."""
    at = pointer + rows[:, None].to(tl.int64) * stride + columns[None, :]
    return tl.load(at, mask=in_rows[:, None] & in_columns[None, :], other=0.0)


@triton.jit
def _dot(left, right, total, PRECISION: tl.constexpr):
    if PRECISION == "ieee":
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, total, input_precision=PRECISION)


@triton.jit
def _kept(run, numbers, rows, inside, begin, WIDTH: tl.constexpr):
    """Dropout's mask for a block."""
    number = tl.load(numbers + rows, mask=inside, other=0)
    return keep(number, begin, WIDTH, tl.load(run + 6), tl.load(run + 7), tl.load(run + 8))


@kernel
def down_kernel(
    x, low, table, tiles, numbers, WIDTH: tl.constexpr, FIELDS: tl.constexpr, DROPS: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, RANK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Low-rank rows of a tile and a block of ranks."""
    run = table + tl.load(tiles + 2 * tl.program_id(0)) * FIELDS
    rank = tl.load(run + 3)
    columns = tl.program_id(1) * RANK + tl.arange(0, RANK)
    rows = tl.load(tiles + 2 * tl.program_id(0) + 1) + tl.arange(0, ROWS)
    inside = rows < tl.load(run + 1)
    a = _matrix(run, 4, tl.float32)
    total = tl.zeros((ROWS, RANK), tl.float32)
    for begin in range(0, WIDTH, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        values = _block(x, rows, at, WIDTH, inside, at < WIDTH)
        if DROPS:
            values = tl.where(_kept(run, numbers, rows, inside, begin, BLOCK), values, 0.0)
        part = _block(a, columns, at, WIDTH, columns < rank, at < WIDTH).to(values.dtype)
        total = _dot(values, tl.trans(part), total, PRECISION)
    out = low + tl.load(run + 2) + (rows - tl.load(run))[:, None] * rank + columns[None, :]
    tl.store(out, total.to(low.dtype.element_ty), mask=inside[:, None] & (columns < rank)[None, :])


@kernel
def up_kernel(
    out, low, table, tiles, LINEAR: tl.constexpr, WIDTH: tl.constexpr, FIELDS: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, RANK: tl.constexpr, RANKS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of a linear's outputs, with its run's product added."""
    run = table + tl.load(tiles + 2 * tl.program_id(0)) * FIELDS
    linear = run + LINEAR
    rank = tl.load(linear + 1)
    if rank == 0:
        return
    rows = tl.load(tiles + 2 * tl.program_id(0) + 1) + tl.arange(0, ROWS)
    inside = rows < tl.load(run + 1)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    b = _matrix(linear, 2, tl.float32)
    own = low + tl.load(run + 2) + tl.load(linear)
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    for begin in range(0, RANKS, RANK):
        columns = begin + tl.arange(0, RANK)
        values = _block(own, rows - tl.load(run), columns, tl.load(run + 3), inside, columns < rank)
        part = _block(b, at, columns, rank, at < WIDTH, columns < rank).to(values.dtype)
        total = _dot(values, tl.trans(part), total, PRECISION)
    target = out + rows[:, None] * WIDTH + at[None, :]
    within = inside[:, None] & (at < WIDTH)[None, :]
    before = tl.load(target, mask=within, other=0.0).to(tl.float32)
    tl.store(target, (before + total * _scale(linear)).to(out.dtype.element_ty), mask=within)


@kernel
def low_gradient_kernel(
    grad, dlow, table, tiles, LINEAR: tl.constexpr, WIDTH: tl.constexpr, FIELDS: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, RANK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of low-rank rows of a tile, in a block of one linear's columns."""
    run = table + tl.load(tiles + 2 * tl.program_id(0)) * FIELDS
    linear = run + LINEAR
    rank = tl.load(linear + 1)
    columns = tl.program_id(1) * RANK + tl.arange(0, RANK)
    rows = tl.load(tiles + 2 * tl.program_id(0) + 1) + tl.arange(0, ROWS)
    inside = rows < tl.load(run + 1)
    if rank == 0:
        return
    b = _matrix(linear, 2, tl.float32)
    total = tl.zeros((ROWS, RANK), tl.float32)
    for begin in range(0, WIDTH, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        values = _block(grad, rows, at, WIDTH, inside, at < WIDTH)
        part = _block(b, at, columns, rank, at < WIDTH, columns < rank).to(values.dtype)
        total = _dot(values, part, total, PRECISION)
    own = dlow + tl.load(run + 2) + tl.load(linear)
    out = own + (rows - tl.load(run))[:, None] * tl.load(run + 3) + columns[None, :]
    within = inside[:, None] & (columns < rank)[None, :]
    tl.store(out, (total * _scale(linear)).to(dlow.dtype.element_ty), mask=within)


@triton.jit
def _sums(run, work, chunks):
    """Where a chunk's sums begin in the workspace."""
    number = tl.program_id(0) - tl.load(run + 9)
    return work + tl.load(run + 11) + number * tl.load(run + 12)


@kernel
def a_gradient_kernel(
    x, dlow, work, table, chunks, numbers, WIDTH: tl.constexpr, FIELDS: tl.constexpr, DROPS: tl.constexpr,
    ROWS: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, RANK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of A's gradient, summed over a chunk of rows."""
    run = table + tl.load(chunks + 2 * tl.program_id(0)) * FIELDS
    rank = tl.load(run + 3)
    columns = tl.program_id(2) * RANK + tl.arange(0, RANK)
    begin = tl.program_id(1) * BLOCK
    at = begin + tl.arange(0, BLOCK)
    total = tl.zeros((RANK, BLOCK), tl.float32)
    for first in range(0, CHUNK, ROWS):
        rows = tl.load(chunks + 2 * tl.program_id(0) + 1) + first + tl.arange(0, ROWS)
        inside = rows < tl.load(run + 1)
        values = _block(x, rows, at, WIDTH, inside, at < WIDTH)
        if DROPS:
            values = tl.where(_kept(run, numbers, rows, inside, begin, BLOCK), values, 0.0)
        own = dlow + tl.load(run + 2)
        slope = _block(own, rows - tl.load(run), columns, rank, inside, columns < rank)
        total = _dot(tl.trans(slope), values, total, PRECISION)
    target = _sums(run, work, chunks) + columns[:, None] * WIDTH + at[None, :]
    tl.store(target, total, mask=(columns < rank)[:, None] & (at < WIDTH)[None, :])


@kernel
def b_gradient_kernel(
    grad, low, work, table, chunks, LINEAR: tl.constexpr, WIDTH: tl.constexpr, FIELDS: tl.constexpr,
    ROWS: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, RANK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of a B's gradient, summed over a chunk of rows."""
    run = table + tl.load(chunks + 2 * tl.program_id(0)) * FIELDS
    linear = run + LINEAR
    rank = tl.load(linear + 1)
    if rank == 0:
        return
    columns = tl.program_id(2) * RANK + tl.arange(0, RANK)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, RANK), tl.float32)
    for first in range(0, CHUNK, ROWS):
        rows = tl.load(chunks + 2 * tl.program_id(0) + 1) + first + tl.arange(0, ROWS)
        inside = rows < tl.load(run + 1)
        values = _block(grad, rows, at, WIDTH, inside, at < WIDTH)
        own = low + tl.load(run + 2) + tl.load(linear)
        rest = _block(own, rows - tl.load(run), columns, tl.load(run + 3), inside, columns < rank)
        total = _dot(tl.trans(values), rest, total, PRECISION)
    target = _sums(run, work, chunks) + tl.load(linear + 3) + at[:, None] * rank + columns[None, :]
    tl.store(target, total * _scale(linear), mask=(at < WIDTH)[:, None] & (columns < rank)[None, :])


@kernel
def add_kernel(work, table, FIELDS: tl.constexpr, BLOCK: tl.constexpr):
    """Adds the sums of a run's chunks, in order, to a block of its gradients."""
    run = table + tl.program_id(0) * FIELDS
    size = tl.load(run + 12)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    target = _matrix(run, 5, tl.float32) + at
    total = tl.load(target, mask=inside, other=0.0)
    for number in range(0, tl.load(run + 10)):
        total += tl.load(work + tl.load(run + 11) + number * size + at, mask=inside, other=0.0)
    tl.store(target, total, mask=inside)


@kernel
def input_gradient_kernel(
    dx, dlow, table, tiles, numbers, WIDTH: tl.constexpr, FIELDS: tl.constexpr, DROPS: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, RANK: tl.constexpr, RANKS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of the inputs' gradient, with what comes through its run's A added."""
    run = table + tl.load(tiles + 2 * tl.program_id(0)) * FIELDS
    rank = tl.load(run + 3)
    rows = tl.load(tiles + 2 * tl.program_id(0) + 1) + tl.arange(0, ROWS)
    inside = rows < tl.load(run + 1)
    begin = tl.program_id(1) * BLOCK
    at = begin + tl.arange(0, BLOCK)
    a, own = _matrix(run, 4, tl.float32), dlow + tl.load(run + 2)
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    for first in range(0, RANKS, RANK):
        columns = first + tl.arange(0, RANK)
        slope = _block(own, rows - tl.load(run), columns, rank, inside, columns < rank)
        part = _block(a, columns, at, WIDTH, columns < rank, at < WIDTH).to(slope.dtype)
        total = _dot(slope, part, total, PRECISION)
    if DROPS:
        total = tl.where(_kept(run, numbers, rows, inside, begin, BLOCK), total, 0.0)
    target = dx + rows[:, None] * WIDTH + at[None, :]
    within = inside[:, None] & (at < WIDTH)[None, :]
    before = tl.load(target, mask=within, other=0.0).to(tl.float32)
    tl.store(target, (before + total).to(dx.dtype.element_ty), mask=within)


def lora_down(x: Tensor, grouped: GroupedRuns) -> Tensor:
    """See `paceline.kernels.lora.lora_down`."""
    low = x.new_empty(grouped.low_size)
    ranks = max(len(run.a) for run in grouped.runs)
    block = _rank_block(ranks)
    grid = (len(grouped.tiles), triton.cdiv(ranks, block))
    down_kernel[grid](
        *(x, low, grouped.table, grouped.tiles, grouped.numbers, x.shape[1], grouped.table.shape[1]),
        *(_drops(grouped), TILE, WIDTH, block, _precision(x)),
        **_options(x),
    )
    return low


def lora_up(out: Tensor, low: Tensor, grouped: GroupedRuns, linear: int) -> Tensor:
    """See `paceline.kernels.lora.lora_up`."""
    if ranks := _most(grouped, linear):
        block = _rank_block(ranks)
        grid = (len(grouped.tiles), triton.cdiv(out.shape[1], WIDTH))
        up_kernel[grid](
            *(out, low, grouped.table, grouped.tiles, _field(linear), out.shape[1], grouped.table.shape[1]),
            *(TILE, WIDTH, block, _whole_blocks(ranks, block), _precision(out)),
            **_options(out),
        )
    return out


def lora_low_gradient(grad: Tensor, dlow: Tensor, grouped: GroupedRuns, linear: int) -> Tensor:
    """See `paceline.kernels.lora.lora_low_gradient`."""
    if ranks := _most(grouped, linear):
        block = _rank_block(ranks)
        grid = (len(grouped.tiles), triton.cdiv(ranks, block))
        low_gradient_kernel[grid](
            *(grad, dlow, grouped.table, grouped.tiles, _field(linear), grad.shape[1]),
            *(grouped.table.shape[1], TILE, WIDTH, block, _precision(grad)),
            **_options(grad),
        )
    return dlow


def lora_weight_gradients(
    x: Tensor, low: Tensor, dlow: Tensor, grads: Sequence[Tensor], grouped: GroupedRuns
) -> list[Tensor]:
    """See `paceline.kernels.lora.lora_weight_gradients`."""
    sums = sum(triton.cdiv(run.stop - run.start, CHUNK) * run.size for run in grouped.runs)
    work = torch.empty(sums, dtype=torch.float32, device=x.device)
    ranks, fields = max(len(run.a) for run in grouped.runs), grouped.table.shape[1]
    block = _rank_block(ranks)
    grid: tuple[int, ...] = (len(grouped.chunks), triton.cdiv(x.shape[1], WIDTH), triton.cdiv(ranks, block))
    a_gradient_kernel[grid](
        *(x, dlow, work, grouped.table, grouped.chunks, grouped.numbers, x.shape[1], fields),
        *(_drops(grouped), TILE, CHUNK, WIDTH, block, _precision(x)),
        **_options(x),
    )
    for linear, grad in enumerate(grads):
        if ranks := _most(grouped, linear):
            block = _rank_block(ranks)
            grid = (
                len(grouped.chunks),
                triton.cdiv(grad.shape[1], WIDTH),
                triton.cdiv(ranks, block),
            )
            b_gradient_kernel[grid](
                *(grad, low, work, grouped.table, grouped.chunks, _field(linear), grad.shape[1], fields),
                *(TILE, CHUNK, WIDTH, block, _precision(grad)),
                **_options(grad),
            )
    add_kernel[(len(grouped.runs), triton.cdiv(max(run.size for run in grouped.runs), 1024))](
        work, grouped.table, fields, 1024
    )
    return [run.a_grad for run in grouped.runs]


def lora_input_gradient(dx: Tensor, dlow: Tensor, grouped: GroupedRuns) -> Tensor:
    """See `paceline.kernels.lora.lora_input_gradient`."""
    ranks = max(len(run.a) for run in grouped.runs)
    block = _rank_block(ranks)
    grid = (len(grouped.tiles), triton.cdiv(dx.shape[1], WIDTH))
    input_gradient_kernel[grid](
        *(dx, dlow, grouped.table, grouped.tiles, grouped.numbers, dx.shape[1], grouped.table.shape[1]),
        *(_drops(grouped), TILE, WIDTH, block, _whole_blocks(ranks, block), _precision(dx)),
        **_options(dx),
    )
    return dx


def _rank_block(ranks: int) -> int:
    """Ranks of a block: a power of two of at least 16, as tensor cores want; 128 spill registers."""
    return min(64, max(16, int(triton.next_power_of_2(ranks))))


def _whole_blocks(ranks: int, block: int) -> int:
    """Ranks filled up to whole blocks."""
    return -(-ranks // block) * block


def _most(grouped: GroupedRuns, linear: int) -> int:
    """The largest rank of a linear; 0: no run changes it."""
    return max(run.ranks[linear] for run in grouped.runs)


def _field(linear: int) -> int:
    """Where a linear's fields begin."""
    return RUN_FIELDS + LINEAR_FIELDS * linear


def _drops(grouped: GroupedRuns) -> bool:
    return any(run.threshold for run in grouped.runs)


def _options(x: Tensor) -> dict[str, int]:
    """Blocks of fp32 that are loaded ahead spill registers."""
    return {} if _precision(x) == "tf32" else {"num_stages": 1}


def _precision(x: Tensor) -> str:
    """Products of fp32 keep all digits; before Ampere halves are multiplied in fp32, without tensor cores."""
    return "ieee" if x.dtype == torch.float32 or _capability(x) < (8, 0) else "tf32"


def _capability(x: Tensor) -> tuple[int, int]:
    return torch.cuda.get_device_capability(x.device) if x.is_cuda else (8, 0)
