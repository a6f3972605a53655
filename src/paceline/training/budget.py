"""How many tokens share a forward."""

from __future__ import annotations

import torch

from paceline.model.memory import free_bytes
from paceline.training.micro_batches import MICRO_BATCH_TOKENS

# More tokens than this make a forward on a GPU no faster.
MOST_TOKENS = 32 * MICRO_BATCH_TOKENS
# What a forward may fill of the memory that is free.
_SHARE = 0.85


class TokenBudget:
    """Tokens of one forward.

    On a CPU those of a full micro-batch: they fill the cores, and activations stay near the caches. On a GPU
    as many as its free memory holds: the first forward has one micro-batch, and what the largest so far took
    of memory says how many the next may have.
    """

    def __init__(self, device: torch.device, given: int | None) -> None:
        self._device = device
        self.tokens = given or MICRO_BATCH_TOKENS
        self._measures = given is None and device.type == "cuda"
        self._largest = 0
        self._before = 0

    def begin(self) -> None:
        """Before a forward."""
        if self._measures:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()

    def end(self, tokens: int) -> None:
        """After the backward of a forward of so many tokens."""
        if not self._measures or tokens <= self._largest:
            return
        self._largest = tokens
        taken = torch.cuda.max_memory_allocated() - self._before
        self.tokens = min(fitting_tokens(free_bytes(self._device), taken / tokens), 4 * self.tokens)

    def halve(self) -> None:
        """For good: what memory seemed to hold it does not."""
        self.tokens //= 2
        self._measures = False


def fitting_tokens(free: int, each: float) -> int:
    """Tokens of a forward whose activations take `each` bytes a token, in `free` bytes."""
    return max(MICRO_BATCH_TOKENS, min(MOST_TOKENS, int(_SHARE * free / max(each, 1.0))))
