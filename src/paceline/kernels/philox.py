"""Random bits as a function of a counter: Philox4x32-10 (Salmon et al., 2011, "as easy as 1, 2, 3").

The Triton kernel and torch's own ops give the same bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paceline.kernels.launch import fused

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_WORD = 0xFFFFFFFF


def keep_rows(numbers: Tensor, columns: int, seed: int, stream: int, p: float) -> Tensor:
    """A bool tensor (rows, columns), False with probability p.

    Element (i, j) is the (j mod 8)-th half of the words of the counter (j div 8, numbers[i], stream, 0), the
    lower half of a word first.

    Args:
        numbers: (rows,) int64, at least 0 and below 2**32.
        seed: the generator's key, below 2**63.
    """
    return keep_words(numbers, columns, seed, stream, threshold(p)).view(torch.bool)


def threshold(p: float) -> int:
    """The halves below it, of 16 bits, are what is dropped: p to 1/65,536, as on a CPU."""
    return min(round(p * 2**16), 2**16 - 1)


@fused("philox")
def keep_words(numbers: Tensor, columns: int, seed: int, stream: int, threshold: int) -> Tensor:
    """`keep_rows` in uint8."""
    blocks = torch.arange(-(-columns // 8), device=numbers.device)
    counter = [blocks.expand(len(numbers), -1), numbers[:, None].expand(-1, len(blocks))]
    words = _philox([*counter, torch.full_like(blocks, stream), torch.zeros_like(blocks)], seed)
    halves = torch.stack([half for word in words for half in (word & 0xFFFF, word >> 16)], 2)
    return (halves.flatten(1)[:, :columns] >= threshold).to(torch.uint8)


def _philox(counter: list[Tensor], seed: int) -> list[Tensor]:
    """Four words of each counter, in int64 of which the upper half is zero."""
    keys = [seed & _WORD, seed >> 32]
    for _ in range(10):
        products = [counter[0] * _MULTIPLIERS[0], counter[2] * _MULTIPLIERS[1]]  # modulo 2**64
        low, high = ([(product >> by) & _WORD for product in products] for by in (0, 32))
        counter = [high[1] ^ counter[1] ^ keys[0], low[1], high[0] ^ counter[3] ^ keys[1], low[0]]
        keys = [(key + step) & _WORD for key, step in zip(keys, _WEYL, strict=True)]
    return counter
