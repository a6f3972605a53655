"""Activation functions that give an element the same bits wherever it stands in a batch, on a CPU.

torch computes SiLU, tanh-GELU, sigmoid and softplus of whole vectors of elements with another exponential
than the few elements left over at the end of each thread's part, and the two differ in the last bit. Which
elements are left over depends on the numbers of rows and threads. So such a function is called on pieces that
leave none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.activations import ACT2CLS

from paceline.model.batch import current_batch

# Up to so many elements every activation is computed in one thread; with so many a thread, in all threads.
ALONE, SHARED = 16384, 32768
# A multiple of the elements that any CPU takes at a time.
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

    return own(x) if x.is_cuda or current_batch() is None else by_whole_vectors(own, x)


def by_whole_vectors(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """An elementwise function of x, whose bits at an element depend on that element alone.

    Its gradients' too: autograd goes through the same pieces.
    """
    flat = x.reshape(-1)
    padded = pad(flat, (0, -len(flat) % VECTOR)) if len(flat) % VECTOR else flat
    pieces = _pieces(len(padded), torch.get_num_threads())
    outs = [function(piece) for piece in padded.split(pieces)] if len(pieces) > 1 else [function(padded)]
    out = torch.cat(outs) if len(outs) > 1 else outs[0]
    return out[: len(flat)].view(x.shape)


def _pieces(elements: int, threads: int) -> list[int]:
    """Sizes that add up to all elements; of each, every thread's part is whole vectors."""
    if threads == 1:
        return [elements]
    shared = elements // (threads * VECTOR) * threads * VECTOR
    shared = shared if shared >= SHARED * threads else 0
    alone, last = divmod(elements - shared, ALONE)
    return [piece for piece in (shared, *[ALONE] * alone, last) if piece]
