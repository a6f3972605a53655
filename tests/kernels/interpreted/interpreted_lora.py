"""The grouped LoRA kernels under Triton's interpreter, against torch; it has no products of bf16."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import pytest
import torch
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from paceline.kernels import lora as plain
from paceline.kernels.lora import GroupedRuns, RunRows
from paceline.kernels.lora_table import CHUNK, TILE, cut, table_rows
from paceline.kernels.philox import keep_words, threshold
from paceline.kernels.triton import lora as kernels

OUTS = (40, 130)


SHAPES = st.tuples(
    st.sampled_from([1, 33, TILE, 2 * TILE + 5]),  # rows
    st.sampled_from([(4, 4), (0, 16), (3, 0), (70, 140), (16, 8)]),  # ranks
    st.sampled_from([0.0, 0.1]),  # dropout
)


def _run(start: int, count: int, width: int, ranks: tuple[int, int], p: float) -> RunRows:
    """A run's rows, its matrices in one flat buffer and their gradients, already something, in another."""
    shapes = [(sum(ranks), width), *((out, r) for out, r in zip(OUTS, ranks, strict=True) if r)]
    sizes = [rows * columns for rows, columns in shapes]
    flat, slopes = torch.randn(sum(sizes)), torch.randn(sum(sizes))
    matrices = [m.view(shape) for m, shape in zip(flat.split(sizes), shapes, strict=True)]
    gradients = [m.view(shape) for m, shape in zip(slopes.split(sizes), shapes, strict=True)]
    (a, *bs), (a_grad, *b_grads) = matrices, gradients
    rest, rest_grad = iter(bs), iter(b_grads)
    return RunRows(
        start=start,
        stop=start + count,
        a=a,
        a_grad=a_grad,
        b=[next(rest) if r else None for r in ranks],
        b_grad=[next(rest_grad) if r else None for r in ranks],
        scales=[0.5 / (1 - p), 2.0 / (1 - p)],
        seed=int(torch.randint(2**62, ())),
        stream=7,
        threshold=threshold(p),
    )


def _grouped(runs: list[RunRows], rows: int) -> GroupedRuns:
    return GroupedRuns(
        runs=runs,
        numbers=torch.arange(rows) * 3 + 11,
        table=torch.tensor(table_rows(runs)),
        tiles=torch.tensor(cut(runs, TILE)),
        chunks=torch.tensor(cut(runs, CHUNK)),
    )


def _copied(runs: list[RunRows]) -> list[RunRows]:
    """The same runs with gradients of their own."""
    copies = []
    for run in runs:
        flat = run.a_grad.new_empty(run.a.numel() + sum(b.numel() for b in run.b if b is not None))
        parts = [run.a_grad, *(grad for grad in run.b_grad if grad is not None)]
        views = []
        for part, place in zip(parts, flat.split([part.numel() for part in parts]), strict=True):
            views.append(place.view(part.shape).copy_(part))
        rest = iter(views[1:])
        b_grad = [None if grad is None else next(rest) for grad in run.b_grad]
        copies.append(replace(run, a_grad=views[0], b_grad=b_grad))
    return copies


def _close(one: Tensor, other: Tensor) -> None:
    wide = one.dtype == torch.float32
    scale = float(other.float().abs().max()) + 1e-9
    torch.testing.assert_close(
        one.float() / scale, other.float() / scale, atol=1e-5 if wide else 2e-2, rtol=0
    )


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])  # to shrink takes minutes
@given(
    shapes=st.lists(SHAPES, min_size=1, max_size=3),
    width=st.sampled_from([16, 72, 100]),
    dtype=st.sampled_from([torch.float32, torch.float16]),
    capability=st.sampled_from([(7, 5), (8, 0)]),
    around=st.tuples(st.integers(0, 5), st.integers(0, 3)),
    seed=st.integers(0, 10_000),
)
@example(
    shapes=[(CHUNK + 70, (3, 2), 0.1), (TILE, (16, 8), 0.0)],
    width=16,
    dtype=torch.float32,
    capability=(8, 0),
    around=(0, 0),
    seed=0,
)
@example(shapes=[(33, (3, 16), 0.1)], width=72, dtype=torch.float16, capability=(7, 5), around=(1, 1), seed=1)
def test_kernels_compute_what_plain_torch_does(
    shapes: list[tuple[int, tuple[int, int], float]],
    width: int,
    dtype: torch.dtype,
    capability: tuple[int, int],
    around: tuple[int, int],
    seed: int,
) -> None:
    """Runs of any ranks and lengths, with rows before and after them that are nobody's."""
    with mock.patch.object(kernels, "_capability", return_value=capability):
        _compare(shapes, width, dtype, around, seed)


def _compare(
    shapes: list[tuple[int, tuple[int, int], float]],
    width: int,
    dtype: torch.dtype,
    around: tuple[int, int],
    seed: int,
) -> None:
    torch.manual_seed(seed)
    runs, start = [], around[0]
    for count, ranks, p in shapes:
        runs.append(_run(start, count, width, ranks, p))
        start += count
    grads = [torch.randn(start + around[1], out).to(dtype) for out in OUTS]
    x = torch.randn(start + around[1], width).to(dtype)
    theirs, ours = _grouped(runs, len(x)), _grouped(_copied(runs), len(x))
    low = plain.lora_down(x, theirs)
    _close(kernels.lora_down(x, ours), low)
    dlow = torch.full_like(low, 9.0)
    for linear, grad in enumerate(grads):
        out = torch.randn_like(grad)
        _close(
            kernels.lora_up(out.clone(), low, ours, linear), plain.lora_up(out.clone(), low, theirs, linear)
        )
        other = dlow.clone()
        plain.lora_low_gradient(grad, dlow, theirs, linear)
        _close(kernels.lora_low_gradient(grad, other, ours, linear), dlow)
    dx = torch.randn_like(x)
    _close(
        kernels.lora_input_gradient(dx.clone(), dlow, ours),
        plain.lora_input_gradient(dx.clone(), dlow, theirs),
    )
    plain.lora_weight_gradients(x, low, dlow, grads, theirs)
    kernels.lora_weight_gradients(x, low, dlow, grads, ours)
    for one, other_run in zip(ours.runs, theirs.runs, strict=True):
        torch.testing.assert_close(one.a_grad, other_run.a_grad, atol=2e-3, rtol=2e-3)
        for mine, reference in zip(one.b_grad, other_run.b_grad, strict=True):
            if mine is not None and reference is not None:
                torch.testing.assert_close(mine, reference, atol=2e-3, rtol=2e-3)


def test_a_runs_bits_do_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(0)
    x, grad = torch.randn(500, 72), [torch.randn(500, out) for out in OUTS]
    first, second = _run(0, 300, 72, (16, 8), 0.1), _run(300, 170, 72, (70, 140), 0.1)
    alone = replace(_copied([second])[0], start=0, stop=170)
    found = []
    for runs, begin in (([first, second], 0), ([alone], 300)):
        own = [g[begin:].contiguous() for g in grad]
        grouped = replace(_grouped(runs, 500 - begin), numbers=torch.arange(500)[begin:])
        low = kernels.lora_down(x[begin:].contiguous(), grouped)
        dlow = torch.empty_like(low)
        for linear, one in enumerate(own):
            kernels.lora_low_gradient(one, dlow, grouped, linear)
        kernels.lora_weight_gradients(x[begin:].contiguous(), low, dlow, own, grouped)
        run = grouped.runs[-1]
        found.append((grouped.low_rows(low)[-1], run.a_grad, *(g for g in run.b_grad if g is not None)))
    assert all(torch.equal(together, apart) for together, apart in zip(*found, strict=True))


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_plain_torch_computes_what_autograd_says(p: float) -> None:
    torch.manual_seed(1)
    run = _run(0, 50, 24, (4, 6), p)
    x, grads = torch.randn(50, 24, requires_grad=True), [torch.randn(50, out) for out in OUTS]
    grouped = _grouped([run], 50)
    keep = keep_words(grouped.numbers, 24, run.seed, run.stream, run.threshold) if p else 1.0
    a = run.a.clone().requires_grad_()
    bs = [b.clone().requires_grad_() for b in run.b if b is not None]
    loss = x.sum() * 0
    for linear, b in enumerate(bs):
        columns = run.columns(linear)
        out = (x * keep) @ a[columns].t() @ b.t() * run.scales[linear]
        loss = loss + (out * grads[linear]).sum()
    loss.backward()
    before = _copied([run])[0]
    low = plain.lora_down(x.detach(), grouped)
    dlow = torch.empty_like(low)
    for linear, grad in enumerate(grads):
        plain.lora_low_gradient(grad, dlow, grouped, linear)
    plain.lora_weight_gradients(x.detach(), low, dlow, grads, grouped)
    dx = plain.lora_input_gradient(torch.zeros(50, 24), dlow, grouped)
    torch.testing.assert_close(dx, x.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(run.a_grad - before.a_grad, a.grad, atol=1e-4, rtol=1e-4)
    for b_grad, base, b in zip(run.b_grad, before.b_grad, bs, strict=True):
        assert b_grad is not None
        assert base is not None
        torch.testing.assert_close(b_grad - base, b.grad, atol=1e-4, rtol=1e-4)
