"""Random bits as a function of a counter: Philox4x32-10 (Salmon et al., 2011, "as easy as 1, 2, 3").

One kernel by Triton where it is installed (torch for CUDA brings it), else the same bits by torch's own ops.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_WORD = 0xFFFFFFFF

torch.library.define(
    "paceline::keep_rows", "(Tensor numbers, int columns, int seed, int stream, int threshold) -> Tensor"
)


def keep_rows(numbers: Tensor, columns: int, seed: int, stream: int, p: float) -> Tensor:
    """A bool tensor (rows, columns), False with probability p.

    Element (i, j) is the (j mod 4)-th word of the counter (j div 4, numbers[i], stream, 0).

    Args:
        numbers: (rows,) int64, at least 0 and below 2**32.
        seed: the generator's key, below 2**63.
    """
    threshold = min(round(p * 2**32), _WORD)
    made: Tensor = torch.ops.paceline.keep_rows(numbers, columns, seed, stream, threshold)
    return made.view(torch.bool)


def _keep_rows(numbers: Tensor, columns: int, seed: int, stream: int, threshold: int) -> Tensor:
    if numbers.is_cuda and (kernel := _kernel()) is not None:
        return launch(kernel, numbers, columns, seed, stream, threshold)
    quads = torch.arange(-(-columns // 4), device=numbers.device)
    counter = [quads.expand(len(numbers), -1), numbers[:, None].expand(-1, len(quads))]
    words = torch.stack(_philox([*counter, torch.full_like(quads, stream), torch.zeros_like(quads)], seed), 2)
    return (words.flatten(1)[:, :columns] >= threshold).to(torch.uint8)


torch.library.impl("paceline::keep_rows", "CompositeExplicitAutograd", _keep_rows)


def _philox(counter: list[Tensor], seed: int) -> list[Tensor]:
    """Four words of each counter, in int64 of which the upper half is zero."""
    keys = [seed & _WORD, seed >> 32]
    for _ in range(10):
        products = [counter[0] * _MULTIPLIERS[0], counter[2] * _MULTIPLIERS[1]]  # modulo 2**64
        low, high = ([(product >> by) & _WORD for product in products] for by in (0, 32))
        counter = [high[1] ^ counter[1] ^ keys[0], low[1], high[0] ^ counter[3] ^ keys[1], low[0]]
        keys = [(key + step) & _WORD for key, step in zip(keys, _WEYL, strict=True)]
    return counter


@cache
def _kernel() -> Any:
    """The Triton kernel; None without Triton."""
    try:
        from paceline.model.philox_kernel import keep_rows_kernel
    except ImportError:
        return None
    return keep_rows_kernel


def launch(kernel: Any, numbers: Tensor, columns: int, seed: int, stream: int, threshold: int) -> Tensor:
    """`_keep_rows` by the kernel."""
    out = torch.empty(len(numbers), columns, dtype=torch.uint8, device=numbers.device)
    rows, quads = 16, 64
    grid = (-(-len(numbers) // rows), -(-columns // (4 * quads)))
    # numbers beyond 2**31 would change the arguments' type, and with it the kernel
    halves = [word - 2**32 if word >= 2**31 else word for word in (stream, threshold)]
    kernel[grid](numbers, out, len(numbers), columns, seed, *halves, rows, quads)
    return out
