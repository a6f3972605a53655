"""Tokens chosen on the device: the likeliest, or drawn after temperature and nucleus (arXiv:1904.09751).

Probabilities are counted in whole units, exp(z - max) in steps of 2^-40: sums of whole numbers are exact in
every order, so that a row's token depends on no neighbour, shape or kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from paceline.model.memory import upload

_UNITS = 2.0**40
# Elements of the rows that are drawn from at once: about what a CPU's caches hold.
_ELEMENTS = {"cpu": 2**18, "cuda": 2**24}
# A CPU looks for a nucleus's border among so many tokens first, and rarely beyond.
_LIKELIEST = 1024
# Tokens among which a CPU looks for the likeliest one's place.
_BLOCK = 64
# Bits of a float that one pass of the search for the border tells apart.
_DIGIT = 15


@dataclass(frozen=True)
class Draw:
    """What a row's draw is decided by; `uniform` is in [0, 1)."""

    temperature: float
    top_p: float
    uniform: float


def choose_tokens(logits: Tensor, draws: Sequence[Draw | None]) -> Tensor:
    """The ids (n,) of the next tokens, on the device; a row without a draw takes its likeliest token.

    Nothing waits for a GPU. Shapes: `logits` (n, vocabulary) in fp32.
    """
    chosen = _likeliest(logits)
    size = max(1, _ELEMENTS[logits.device.type] // max(logits.shape[1], 2**_DIGIT))
    for nucleus in (False, True):
        places = [place for place, draw in enumerate(draws) if draw and (draw.top_p < 1) == nucleus]
        for start in range(0, len(places), size):
            part = places[start : start + size]
            rows = upload(torch.tensor(part), logits.device)
            asked = [(draw.temperature, draw.top_p, draw.uniform) for place in part if (draw := draws[place])]
            numbers = upload(torch.tensor(asked, dtype=torch.float64), logits.device)
            temperature, top_p, uniform = numbers[:, :, None].unbind(1)
            likely = _relative(logits[rows], temperature)
            counts = _nucleus(likely, top_p) if nucleus else _units(likely)
            chosen[rows] = _inverse(counts, uniform)
    return chosen


def _likeliest(logits: Tensor) -> Tensor:
    """The id (n,) of each row's largest logit, of equal ones the first, or of the first that is no number."""
    if logits.device.type != "cpu":
        return logits.max(1).indices
    # a CPU finds values faster than places: first the largest of each block, then the block, the place in it
    missing = -logits.shape[1] % _BLOCK
    filled = pad(logits, (0, missing), value=-torch.inf) if missing else logits
    blocks = filled.unflatten(1, (-1, _BLOCK))
    block: Tensor = blocks.amax(2).max(1).indices
    inside: Tensor = blocks[torch.arange(len(blocks)), block].max(1).indices
    return block * _BLOCK + inside


def _relative(logits: Tensor, temperature: Tensor) -> Tensor:
    """Probabilities over the largest one's, nothing for what is no number; `temperature` (n, 1)."""
    divisor = temperature.to(logits.dtype).clamp_min(torch.finfo(logits.dtype).tiny)
    return (logits - logits.amax(1, keepdim=True)).div_(divisor).exp_().nan_to_num_(0.0)


def _units(likely: Tensor) -> Tensor:
    return (likely * _UNITS).long()


def _nucleus(likely: Tensor, top_p: Tensor) -> Tensor:
    """The units of the likeliest tokens that together have `top_p` (n, 1); zero for the others.

    A token is in it where those before it have less than `top_p`; of equal ones the first come first.
    """
    counts = _units(likely)
    wanted = (counts.sum(1, keepdim=True) * top_p).clamp_min(1)
    bits = likely.view(torch.int32)  # of floats from 0 to 1: in their order
    border, above = _near_border(likely, wanted) or _border(bits, counts, wanted)
    ties = bits == border
    before = (ties.cumsum(1) - 1).mul_(counts).add_(above)
    return counts.where((bits > border) | (ties & (before < wanted)), 0)


def _near_border(likely: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor] | None:
    """The border as `_border` has it; None: not among the likeliest tokens of every row, or on a GPU."""
    if likely.device.type != "cpu":
        return None
    falling = likely.topk(min(_LIKELIEST, likely.shape[1])).values
    units = _units(falling)
    inside = (units.cumsum(1) - units) < wanted
    if likely.shape[1] > _LIKELIEST and bool(inside[:, -1].any()):
        return None
    border = falling.gather(1, inside.sum(1, keepdim=True) - 1)
    return border.view(torch.int32), units.where(falling > border, 0).sum(1, keepdim=True)


def _border(bits: Tensor, counts: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The bits (n, 1) of the least likely float in the nucleus, and the units over it.

    Found as a radix sort would, digit by digit: nothing is sorted, and no GPU waited for.
    """
    high, low = bits >> _DIGIT, bits & (2**_DIGIT - 1)
    first, above = _cross(high, counts, torch.zeros_like(wanted, dtype=torch.int64), wanted)
    second, above = _cross(low, counts.where(high == first, 0), above, wanted)
    return (first << _DIGIT) + second, above


def _cross(digits: Tensor, counts: Tensor, above: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest digit (n, 1) over which there are less units than wanted, `above` counted; and how many."""
    units = counts.new_zeros(len(counts), 2**_DIGIT).scatter_add_(1, digits.long(), counts)
    before = units.sum(1, keepdim=True) - units.cumsum(1) + above
    digit = 2**_DIGIT - (before < wanted).sum(1, keepdim=True)
    return digit, before.gather(1, digit)


def _inverse(counts: Tensor, uniform: Tensor) -> Tensor:
    """The ids (n,) at which the sums of units pass the uniform's share of all."""
    sums = counts.cumsum(1)
    total = sums[:, -1:]
    target = (uniform * total).long().minimum(total - 1)
    return torch.searchsorted(sums, target, right=True)[:, 0].clamp_(max=counts.shape[1] - 1)
