"""What A and B begin as: PEFT's starts by the names of its `init_lora_weights`."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from paceline.errors import ModelError
from paceline.model.quantization import dense_weight

# Starts whose product PEFT takes out of the base's weights, so that the first step sees the bare base.
MUTATING = ("pissa", "olora")


def takes_from_base(start: bool | str) -> bool:
    """Whether the start's product is subtracted (PiSSA: arXiv:2404.02948; OLoRA: arXiv:2406.01775)."""
    return isinstance(start, str) and start.startswith(MUTATING)


def initial_weights(
    start: bool | str, seed: int, name: str, linear: nn.Linear, rank: int, scale: float
) -> tuple[Tensor, Tensor]:
    """The first A (r, in) and B (out, r) of a linear: a function of the seed and the linear's name.

    Raises:
        ModelError: PiSSA or OLoRA of a rank that the weight does not have.
    """
    rows, columns = linear.out_features, linear.in_features
    number = _number(seed, name)
    if not takes_from_base(start):
        generator = torch.Generator().manual_seed(number)
        a, b = torch.empty(rank, columns), torch.zeros(rows, rank)
        if start == "gaussian":
            return a.normal_(std=1 / rank, generator=generator), b
        bound = 1 / math.sqrt(columns)  # kaiming_uniform_(a=sqrt(5))
        return a.uniform_(-bound, bound, generator=generator), b
    if rank > min(rows, columns):
        raise ModelError(f"init_lora_weights {start}: {name} ({rows} x {columns}) has no {rank} directions")
    weight = dense_weight(linear, torch.float32).detach().float()
    if start == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank].contiguous(), q[:, :rank].contiguous()
    left, values, right = _singular(str(start), weight, rank, number)
    root = (values / scale).sqrt()
    return root[:, None] * right, left * root


def initial_embedding(seed: int, name: str, rows: int, rank: int) -> Tensor:
    """The first B (rows, rank) of embeddings: normal, while A is zero, whatever the start (as in PEFT)."""
    return torch.empty(rows, rank).normal_(generator=torch.Generator().manual_seed(_number(seed, name)))


def _number(seed: int, name: str) -> int:
    state = np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)
    return int(state[0] >> 1)


def _singular(start: str, weight: Tensor, rank: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """The largest singular values (r,) with their vectors (out, r) and (r, in)."""
    if start == "pissa":
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        return left[:, :rank], values[:rank], right[:rank]
    with torch.random.fork_rng(devices=[weight.device] if weight.is_cuda else []):
        torch.manual_seed(number)
        left, values, right = torch.svd_lowrank(weight, rank, niter=int(start.rsplit("_", 1)[1]))
    return left, values, right.t()
