"""Dropout masks that are a function of a key, and of nothing that was drawn before."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from paceline.kernels.philox import keep_rows


def keep_mask(
    key: tuple[int, ...],
    rows: int,
    columns: int,
    p: float,
    device: torch.device,
    numbers: Tensor | None = None,
) -> Tensor:
    """A (rows, columns) bool tensor, False with probability p (on a CPU to 1/65,536).

    The same for the same key and shape. On a CPU the bits come from SFC64, four elements a 64-bit draw:
    torch's `bernoulli_` takes ten times as long. On a GPU an element's are those of its row's number and its
    column alone, on whatever GPU and beside whatever rows.

    Args:
        numbers: (rows,) of the rows in their run's step; only a GPU needs them.
    """
    if numbers is not None:
        *seeds, stream = key
        return keep_rows(numbers, columns, seed_of(tuple(seeds)), stream, p)
    draws = np.random.SFC64(np.random.SeedSequence(key)).random_raw(-(-rows * columns // 4))
    kept = draws.view(np.uint16)[: rows * columns] >= np.uint16(round(p * 65536))
    return torch.from_numpy(kept).view(rows, columns)


@lru_cache(maxsize=256)
def seed_of(key: tuple[int, ...]) -> int:
    """The seed of a GPU's generator that belongs to a key; below 2**63."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
