"""Micro-batches: whole sequences of one effective batch, about 2,048 tokens together.

They are cut by a rule that looks at nothing but the run, so a run's sums never depend on its neighbours.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paceline.data.tokens import TokenDataset
from paceline.model.adapter import Adapter
from paceline.model.batch import PackedBatch, pack_sequences
from paceline.model.segment import Segment
from paceline.model.shared_prefixes import Prefix, find_prefixes

MICRO_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class TokenSequence:
    """One example as the model sees it.

    Shapes: `inputs` (length,) int64, `labels` the next tokens' ids, -100 where not supervised. `weight` is
    its row's; None: rows have none.
    """

    example: int
    inputs: Tensor
    labels: Tensor
    supervised: int
    weight: float | None = None

    def positions(self, tail: int | None = None) -> int:
        """Supervised positions, or as many as there are of the last `tail`."""
        return min(tail or self.supervised, self.supervised)


@dataclass(frozen=True)
class MicroBatch:
    """Sequences that stay together in one segment of a packed batch.

    `share_prefixes`: what they begin with alike has its rows once.
    """

    sequences: list[TokenSequence]
    share_prefixes: bool = False

    @property
    def tokens(self) -> int:
        return sum(len(sequence.inputs) for sequence in self.sequences)

    @property
    def supervised(self) -> int:
        return sum(sequence.supervised for sequence in self.sequences)

    def prefixes(self) -> list[Prefix]:
        """What each sequence shares with those before it."""
        if not self.share_prefixes:
            return [Prefix(0, [])] * len(self.sequences)
        return find_prefixes([(sequence.inputs, sequence.labels) for sequence in self.sequences])

    def weights(self, tail: int | None = None) -> Tensor | None:
        """Of its supervised positions, or each sequence's last `tail`: (n,) float64; None: rows have none."""
        if all(sequence.weight is None for sequence in self.sequences):
            return None
        weights = torch.tensor([sequence.weight for sequence in self.sequences], dtype=torch.float64)
        return weights.repeat_interleave(torch.tensor([s.positions(tail) for s in self.sequences]))


def make_sequences(
    dataset: TokenDataset, examples: Iterable[int] | NDArray[np.int64], max_length: int
) -> Iterator[TokenSequence]:
    """Examples cut to max_length tokens.

    What follows an example's last supervised token cannot change a loss: it is left out.
    """
    named = [int(example) for example in examples]
    for example, (ids, mask) in zip(named, dataset.examples(named), strict=True):
        marked = np.flatnonzero(mask[1:max_length])
        end = int(marked[-1]) + 1 if len(marked) else 0
        inputs = torch.from_numpy(ids[:end].astype(np.int64))
        labels = torch.from_numpy(np.where(mask[1 : end + 1] == 1, ids[1 : end + 1], -100).astype(np.int64))
        weight = None if dataset.weights is None else float(dataset.weights[example])
        yield TokenSequence(example, inputs, labels, len(marked), weight)


def make_micro_batches(
    dataset: TokenDataset,
    examples: Iterable[int] | NDArray[np.int64],
    max_length: int,
    share_prefixes: bool = False,
) -> Iterator[MicroBatch]:
    """The micro-batches of an effective batch, in order.

    Examples with no supervised token within max_length add nothing and are left out.
    """
    held: list[TokenSequence] = []
    size = 0
    for sequence in make_sequences(dataset, examples, max_length):
        if sequence.supervised == 0:
            continue
        if held and size + len(sequence.inputs) > MICRO_BATCH_TOKENS:
            yield MicroBatch(held, share_prefixes)
            held, size = [], 0
        held.append(sequence)
        size += len(sequence.inputs)
    if held:
        yield MicroBatch(held, share_prefixes)


def pack_micro_batches(
    items: Iterable[tuple[MicroBatch, Adapter | None, tuple[int, ...] | None, int]], device: torch.device
) -> PackedBatch:
    """Micro-batches laid end to end, each a segment with its adapter, dropout key and first row's number.

    A key of None: no dropout.
    """
    sequences, segments, prefixes, start = [], [], [], 0
    for micro_batch, adapter, dropout_key, first_row in items:
        sequences += [(sequence.inputs, sequence.labels) for sequence in micro_batch.sequences]
        shared = micro_batch.prefixes()
        prefixes += [prefix.shifted(start) for prefix in shared]
        stop = start + micro_batch.tokens - sum(prefix.length for prefix in shared)
        segments.append(Segment(start, stop, adapter, dropout_key, first_row))
        start = stop
    sharing = any(prefix.length for prefix in prefixes)
    return pack_sequences(sequences, segments, device, prefixes=prefixes if sharing else None)
