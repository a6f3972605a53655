"""What the kernels behind the engine's fused functions ask of a GPU, launch by launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

# Name, bytes, FLOPs, elements that dropout is drawn for.
Kernel = tuple[str, int, int, int]


def kernels(name: str, args: Sequence[Any], out: Any) -> list[Kernel]:
    """The launches of one call: arguments are read once, what comes back is written once."""
    if name.startswith("lora"):
        return _lora(name, args)
    drawn = len(args[0]) * args[1] if name == "keep_words" else 0
    return [(name, _size(args) + _size(out), 0, drawn)]


def blank(name: str, args: Sequence[Any]) -> Any:
    """What a call returns, without its numbers: new tensors are not filled, others stay as they are."""
    if name == "lora_down":
        return args[0].new_empty(args[1].low_size)
    if name == "lora_weight_gradients":
        return [run.a_grad for run in args[4].runs]
    if name.startswith("lora"):
        return args[1] if name == "lora_low_gradient" else args[0]
    if name == "keep_words":
        return args[0].new_ones(len(args[0]), args[1], dtype=torch.uint8)
    if name == "cross_entropy":
        rows = args[0].new_zeros(len(args[0]))
        return rows, rows > 0, torch.empty_like(args[0], dtype=args[3])
    made = [torch.empty_like(tensor) for tensor in args[: 1 if name == "swiglu" else 2]]
    return made[0] if name == "swiglu" else tuple(made)


def _size(values: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tree_flatten(values)[0] if isinstance(t, Tensor))


def _lora(name: str, args: Sequence[Any]) -> list[Kernel]:
    """Products of rows with A or B: of bytes the rows, the low-rank rows, and the matrices in fp32."""
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    grouped = next(arg for arg in args if hasattr(arg, "runs"))
    a = [run.a for run in grouped.runs]
    width, wide = tensors[0].shape[1], tensors[0].element_size()
    rows = sum(run.stop - run.start for run in grouped.runs)
    drawn = width * sum(run.stop - run.start for run in grouped.runs if run.threshold)
    if name in ("lora_down", "lora_input_gradient"):
        passes = 1 if name == "lora_down" else 2
        moved = passes * rows * width * wide + grouped.low_size * wide + _size(a)
        return [(name, moved, 2 * width * grouped.low_size, drawn)]
    if name == "lora_weight_gradients":
        moved = (rows * width + grouped.low_size) * wide + _size(a)
        found = [("lora_a_gradient", moved, 2 * width * grouped.low_size, drawn)]
        found += [_of_linear("lora_b_gradient", grouped, n, g, 1) for n, g in enumerate(args[3])]
        bs = [b for run in grouped.runs for b in run.b if b is not None]
        return [*found, ("lora_add", 3 * (_size(a) + _size(bs)), 0, 0)]
    return [_of_linear(name, grouped, args[3], tensors[0], 2 if name == "lora_up" else 1)]


def _of_linear(name: str, grouped: Any, linear: int, rows: Tensor, passes: int) -> Kernel:
    """A product with one linear's Bs, where `rows` (T, out) are read, or read and written."""
    moved = flops = 0
    for run in grouped.runs:
        if (b := run.b[linear]) is not None:
            count, low = run.stop - run.start, (run.stop - run.start) * b.shape[1]
            moved += (passes * count * rows.shape[1] + low) * rows.element_size() + _size(b)
            flops += 2 * low * rows.shape[1]
    return name, moved, flops, 0
