"""Examples of one micro-batch that begin with the same tokens compute these once.

A shared token's hidden state is the same in each of them, since it sees nothing but what stands before it.
So it takes one row of the batch; attention alone lays the examples out whole again, and what their gradients
give a shared row is summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prefix:
    """How many of a sequence's first tokens have rows already, and the slices of these rows, in order."""

    length: int
    rows: list[slice]

    def shifted(self, by: int) -> Prefix:
        """The same where the micro-batch begins at another row."""
        return Prefix(self.length, [slice(part.start + by, part.stop + by) for part in self.rows])


def find_prefixes(sequences: Sequence[tuple[Tensor, Tensor]]) -> list[Prefix]:
    """For each of the (input ids, labels) of a micro-batch what it shares with those before it.

    A token is shared where all before it is, and no loss is at it or before it. Rows are counted from the
    micro-batch's first; each sequence's own tokens follow those of the sequences before.
    """
    children: dict[tuple[int, int], int] = {}
    prefixes, rows = [], 0
    for ids, labels in sequences:
        supervised = (labels >= 0).nonzero()
        end = int(supervised[0, 0]) if len(supervised) else len(ids)
        tokens, parent = ids[:end].tolist(), -1
        shared: list[int] = []
        while len(shared) < end and (parent, tokens[len(shared)]) in children:
            parent = children[parent, tokens[len(shared)]]
            shared.append(parent)
        for row, token in enumerate(tokens[len(shared) :], rows):
            children[parent, token] = row
            parent = row
        rows += len(ids) - len(shared)
        prefixes.append(Prefix(len(shared), _slices(shared)))
    return prefixes


def _slices(rows: list[int]) -> list[slice]:
    """Ascending numbers as slices of neighbours."""
    slices: list[slice] = []
    for row in rows:
        if slices and slices[-1].stop == row:
            slices[-1] = slice(slices[-1].start, row + 1)
        else:
            slices.append(slice(row, row + 1))
    return slices


@dataclass(frozen=True)
class SharedRows:
    """Where the sequences of a packed batch stand that share rows.

    `taken` are the slices of rows that make up all sequences end to end, in order; `shared` how many of each
    sequence's first tokens are another's rows.
    """

    taken: list[slice]
    shared: list[int]

    @classmethod
    def of(cls, prefixes: Sequence[Prefix], lengths: Sequence[int]) -> SharedRows:
        """From what each sequence shares with those before it, and how many rows are its own."""
        taken, start = [], 0
        for prefix, length in zip(prefixes, lengths, strict=True):
            taken += [*prefix.rows, slice(start, start + length)]
            start += length
        return cls(taken, [prefix.length for prefix in prefixes])

    def spread(self, rows: Tensor) -> Tensor:
        """(1, heads, rows, d) as (1, heads, tokens, d): every sequence whole."""
        return _Spread.apply(rows.transpose(1, 2), self.taken).transpose(1, 2)  # type: ignore[no-untyped-call, no-any-return]

    def own(self, attended: Sequence[Tensor]) -> list[Tensor]:
        """Of each sequence's (1, tokens, ...) what is in its own rows."""
        return [whole[:, shared:] for whole, shared in zip(attended, self.shared, strict=True)]


class _Spread(torch.autograd.Function):
    """(1, rows, ...) to (1, tokens, ...); gradients are summed in order: always the same bits."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, taken: list[slice]) -> Tensor:
        ctx.taken, ctx.shape = taken, rows.shape
        return torch.cat([rows[:, part] for part in taken], 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total, start = grad.new_zeros(ctx.shape), 0
        for part in ctx.taken:
            stop = start + part.stop - part.start
            total[:, part].add_(grad[:, start:stop])
            start = stop
        return total, None
