"""Pieces: whole sequences of one effective batch, about PIECE_TOKENS together, cut by a rule that looks at nothing but the run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paceline.data.tokens import TokenDataset
from paceline.model.batch import PackedBatch, Segment, pack_sequences

MICRO_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Sequence:
    """One example as the model sees it. Shapes: (length,) int64 input ids, and the next tokens' ids, -100 where not supervised."""

    example: int
    inputs: Tensor
    labels: Tensor
    supervised: int


@dataclass(frozen=True)
class MicroBatch:
    """Sequences that stay together in one slice of a flat batch."""

    sequences: list[Sequence]

    @property
    def tokens(self) -> int:
        return sum(len(sequence.inputs) for sequence in self.sequences)

    @property
    def supervised(self) -> int:
        return sum(sequence.supervised for sequence in self.sequences)


def make_sequence(dataset: TokenDataset, example: int, max_length: int) -> Sequence:
    """One example cut to max_length tokens. What follows its last supervised token is left out: it cannot change a loss."""
    ids, mask = dataset.example(example)
    ids, mask = ids[:max_length], mask[:max_length]
    marked = np.flatnonzero(mask[1:])
    end = int(marked[-1]) + 1 if len(marked) else 0
    inputs = torch.from_numpy(ids[:end].astype(np.int64))
    labels = torch.from_numpy(np.where(mask[1 : end + 1] == 1, ids[1 : end + 1], -100).astype(np.int64))
    return Sequence(int(example), inputs, labels, len(marked))


def make_micro_batches(
    dataset: TokenDataset, examples: Iterable[int] | NDArray[np.int64], max_length: int
) -> Iterator[MicroBatch]:
    """The pieces of an effective batch, in order. Examples with no supervised token within max_length add nothing and are left out."""
    held: list[Sequence] = []
    size = 0
    for example in examples:
        sequence = make_sequence(dataset, int(example), max_length)
        if sequence.supervised == 0:
            continue
        if held and size + len(sequence.inputs) > MICRO_BATCH_TOKENS:
            yield MicroBatch(held)
            held, size = [], 0
        held.append(sequence)
        size += len(sequence.inputs)
    if held:
        yield MicroBatch(held)


def pack_micro_batches(
    micro_batches: list[MicroBatch], segments: list[Segment], device: torch.device
) -> PackedBatch:
    """Pieces laid end to end; `slices` must be theirs, in the same order (see `bounds`)."""
    return pack_sequences(
        [(s.inputs, s.labels) for micro_batch in micro_batches for s in micro_batch.sequences],
        segments,
        device,
    )


def offsets(micro_batches: list[MicroBatch]) -> list[tuple[int, int]]:
    """(start, stop) of each piece in the flat batch that they make together."""
    ends = np.cumsum([0, *(micro_batch.tokens for micro_batch in micro_batches)]).tolist()
    return list(pairwise(ends))
