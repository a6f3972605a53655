"""The low-rank products of several runs at once: a launch or two a product, however many runs share the rows.

Rows lie run after run. Low-rank rows of runs with other ranks have other lengths, so they lie in one flat
buffer. Factors are rounded to the activations' type, sums are in fp32. The plain functions say what is
computed; the Triton kernels (the way of S-LoRA and Punica, arXiv:2311.03285, arXiv:2310.18547) cut a run's
rows into tiles and chunks that begin at its own first row, so its numbers never depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor

from paceline.kernels.launch import fused
from paceline.kernels.philox import keep_words


@dataclass(frozen=True, kw_only=True)
class RunRows:
    """One run's rows `start:stop` of a batch, and what its adapter has for one group of linears.

    Shapes: `a` and `a_grad` (sum of ranks, in); `b` and `b_grad` hold (out, r) for each linear of the group,
    or None. All fp32; the gradients lie in memory one after another, first A's. `scales` are the linears'
    factors, dropout's 1 / (1 - p) included. `seed`, `stream` and `threshold` are dropout's (see `philox`);
    a threshold of 0 drops nothing.
    """

    start: int
    stop: int
    a: Tensor
    a_grad: Tensor
    b: Sequence[Tensor | None]
    b_grad: Sequence[Tensor | None]
    scales: Sequence[float]
    seed: int = 0
    stream: int = 0
    threshold: int = 0

    @property
    def ranks(self) -> list[int]:
        """Each linear's rank; 0 where the adapter does not change it."""
        return [0 if b is None else b.shape[1] for b in self.b]

    @property
    def size(self) -> int:
        """Elements of its matrices, and so of their gradients."""
        return self.a.numel() + sum(b.numel() for b in self.b if b is not None)

    def columns(self, linear: int) -> slice:
        """A linear's columns of the low-rank rows."""
        stops = list(accumulate(self.ranks, initial=0))
        return slice(stops[linear], stops[linear + 1])


@dataclass(frozen=True, kw_only=True)
class GroupedRuns:
    """The runs of a batch that have something for one group, and the tables that the kernels read of them.

    Shapes: `numbers` (T,) number each run's rows for dropout. `table` (runs, fields) int64, see
    `table_fields`; `tiles` and `chunks` (n, 2) int64 hold a run's place in the table and a first row each.
    """

    runs: Sequence[RunRows]
    numbers: Tensor
    table: Tensor
    tiles: Tensor
    chunks: Tensor

    @property
    def linears(self) -> int:
        """How many of the group's linears, from the first, some run changes."""
        return len(self.runs[0].b)

    @property
    def low_size(self) -> int:
        """Elements of all low-rank rows."""
        return sum((run.stop - run.start) * len(run.a) for run in self.runs)

    def low_rows(self, low: Tensor) -> list[Tensor]:
        """Views (rows, sum of ranks) into a flat buffer of low-rank rows, a run each."""
        parts = low.split([(run.stop - run.start) * len(run.a) for run in self.runs])
        return [part.view(-1, len(run.a)) for part, run in zip(parts, self.runs, strict=True)]


@fused("lora")
def lora_down(x: Tensor, grouped: GroupedRuns) -> Tensor:
    """(keep * x) A' for every run. Shapes: x (T, in); returns the flat low-rank rows, in x's type."""
    low = x.new_empty(grouped.low_size)
    for run, own in zip(grouped.runs, grouped.low_rows(low), strict=True):
        own.copy_(_dropped(x, run, grouped.numbers).float() @ _rounded(run.a, x).t())
    return low


@fused("lora")
def lora_up(out: Tensor, low: Tensor, grouped: GroupedRuns, linear: int) -> Tensor:
    """Adds s low B' of a linear to its outputs (T, out), and returns them."""
    for run, own in zip(grouped.runs, grouped.low_rows(low), strict=True):
        if (b := run.b[linear]) is not None:
            rows = out[run.start : run.stop]
            moved = own[:, run.columns(linear)].float() @ _rounded(b, low).t()
            rows.copy_(rows.float() + moved * run.scales[linear])
    return out


@fused("lora")
def lora_low_gradient(grad: Tensor, dlow: Tensor, grouped: GroupedRuns, linear: int) -> Tensor:
    """Writes s grad B of a linear into its columns of the flat `dlow`, and returns it. `grad` is (T, out)."""
    for run, own in zip(grouped.runs, grouped.low_rows(dlow), strict=True):
        if (b := run.b[linear]) is not None:
            through = grad[run.start : run.stop].float() @ _rounded(b, grad)
            own[:, run.columns(linear)] = (through * run.scales[linear]).to(dlow.dtype)
    return dlow


@fused("lora")
def lora_weight_gradients(
    x: Tensor, low: Tensor, dlow: Tensor, grads: Sequence[Tensor], grouped: GroupedRuns
) -> list[Tensor]:
    """Adds dlow' (keep * x) to every run's A gradient and s grad' low to its Bs', and returns the As'."""
    lows, dlows = grouped.low_rows(low), grouped.low_rows(dlow)
    for run, own, slope in zip(grouped.runs, lows, dlows, strict=True):
        run.a_grad.add_(slope.float().t() @ _dropped(x, run, grouped.numbers).float())
        for linear, b_grad in enumerate(run.b_grad):
            if b_grad is not None:
                rows = grads[linear][run.start : run.stop].float()
                moved = rows.t() @ own[:, run.columns(linear)].float()
                b_grad.add_(moved, alpha=run.scales[linear])
    return [run.a_grad for run in grouped.runs]


@fused("lora")
def lora_input_gradient(dx: Tensor, dlow: Tensor, grouped: GroupedRuns) -> Tensor:
    """Adds keep * (dlow A) to `dx` (T, in), and returns it."""
    for run, slope in zip(grouped.runs, grouped.low_rows(dlow), strict=True):
        rows = dx[run.start : run.stop]
        through = slope.float() @ _rounded(run.a, dlow)
        if run.threshold:
            through *= _kept(run, grouped.numbers, dx.shape[1])
        rows.copy_(rows.float() + through)
    return dx


def _rounded(matrix: Tensor, like: Tensor) -> Tensor:
    return matrix.to(like.dtype).float()


def _dropped(x: Tensor, run: RunRows, numbers: Tensor) -> Tensor:
    rows = x[run.start : run.stop]
    return rows * _kept(run, numbers, x.shape[1]) if run.threshold else rows


def _kept(run: RunRows, numbers: Tensor, columns: int) -> Tensor:
    own = numbers[run.start : run.stop]
    return keep_words(own, columns, run.seed, run.stream, run.threshold)
