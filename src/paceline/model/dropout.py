"""Dropout masks that are a function of a key, and of nothing that was drawn before."""

import numpy as np
import torch
from torch import Tensor


def keep_mask(key: tuple[int, ...], rows: int, columns: int, p: float, device: torch.device) -> Tensor:
    """A (rows, columns) bool tensor, False with probability p (to 1/65,536).

    The same for the same key, shape and device.

    On a CPU the bits come from SFC64, four elements a 64-bit draw: torch's `bernoulli_` takes ten times as
    long.
    """
    seed = np.random.SeedSequence(key)
    if device.type != "cpu":
        generator = torch.Generator(device).manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
        return torch.rand(rows, columns, generator=generator, device=device) >= p
    draws = np.random.SFC64(seed).random_raw(-(-rows * columns // 4)).view(np.uint16)[: rows * columns]
    return torch.from_numpy(draws >= np.uint16(round(p * 65536))).view(rows, columns)
