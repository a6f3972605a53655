"""Activation functions that give an element the same bits wherever it stands in a batch, on a CPU.

torch computes SiLU, tanh-GELU, sigmoid and softplus of whole vectors of elements with another exponential
than the few elements left over at the end of each thread's part, and the two differ in the last bit. Which
elements are left over depends on the numbers of rows and threads. So such a function is called on pieces that
leave none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.activations import ACT2CLS

from paceline.model.batch import current_batch

# Up to so many elements every activation is computed in one thread; with so many a thread, in all threads.
ALONE, SHARED = 16384, 32768
# No CPU takes more elements at a time.
VECTOR = 64

_CLASSES = tuple(kind[0] if isinstance(kind, tuple) else kind for kind in ACT2CLS.values())


def activation_forwards(model: nn.Module) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """A forward for every activation module of a model that nothing stands on yet."""
    for module in model.modules():
        if isinstance(module, _CLASSES) and "forward" not in vars(module):
            yield module, partial(_forward, module)


def _forward(module: nn.Module, x: Tensor) -> Tensor:
    def own(rows: Tensor) -> Tensor:
        out: Tensor = type(module).forward(module, rows)
        return out

    return own(x) if x.is_cuda or current_batch() is None else row_by_row(own, x)


def row_by_row(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """An elementwise function of x (..., columns), whose bits in a row depend on no other row.

    Its gradients' too: autograd goes through the same pieces.
    """
    columns = x.shape[-1]
    rows = x.reshape(-1, columns)
    together = VECTOR // gcd(columns, VECTOR)  # so many rows are whole vectors
    count = len(rows)
    if count % together:
        rows = pad(rows, (0, 0, 0, -count % together))
    pieces = _pieces(len(rows), columns, together, torch.get_num_threads())
    if len(pieces) == 1:
        return function(x) if len(rows) == count else function(rows)[:count].view(x.shape)
    return torch.cat([function(piece) for piece in rows.split(pieces)])[:count].view(x.shape)


def _pieces(rows: int, columns: int, together: int, threads: int) -> list[int]:
    """Numbers of rows that add up to all: of each, every thread's part is whole vectors."""
    shared = rows // (threads * together) * threads * together
    if threads == 1 or shared * columns < SHARED * threads:
        shared = rows if threads == 1 else 0
    alone = max(ALONE // columns // together, 1) * together
    rest = rows - shared
    pieces = [shared, *[alone] * (rest // alone), rest % alone]
    return [piece for piece in pieces if piece]
