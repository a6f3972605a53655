"""Micro-batches: cut by a rule that looks at the run alone."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import CPU
from paceline.training.micro_batches import (
    MICRO_BATCH_TOKENS,
    MicroBatch,
    make_micro_batches,
    make_sequences,
    pack_micro_batches,
)


class Examples:
    """Stands for a TokenDataset: examples of some lengths of which the last tokens are supervised."""

    weights = None

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        self.sizes = sizes

    def example(self, index: int) -> tuple[Any, Any]:
        length, supervised = self.sizes[index]
        mask = np.zeros(length, dtype=np.uint8)
        mask[length - min(supervised, length) :] = 1
        return np.arange(length, dtype=np.int32) + 1000 * index, mask

    def examples(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        return [self.example(index) for index in indices]


def cut(sizes: Sequence[tuple[int, int]], max_length: int = 10_000) -> list[MicroBatch]:
    dataset: Any = Examples(sizes)
    return list(make_micro_batches(dataset, range(len(sizes)), max_length))


SIZES = st.lists(st.tuples(st.integers(2, 2600), st.integers(0, 300)), max_size=20)


@settings(max_examples=50, deadline=None)
@given(SIZES, st.integers(8, 2600))
def test_whole_sequences_in_order_filled_up_to_the_limit(
    sizes: list[tuple[int, int]], max_length: int
) -> None:
    found = cut(sizes, max_length)
    dataset: Any = Examples(sizes)
    kept = list(make_sequences(dataset, range(len(sizes)), max_length))
    usable = [sequence.example for sequence in kept if sequence.supervised]
    assert [sequence.example for one in found for sequence in one.sequences] == usable
    for one in found:
        assert one.sequences
        assert one.tokens <= MICRO_BATCH_TOKENS or len(one.sequences) == 1
        assert one.tokens == sum(len(sequence.inputs) for sequence in one.sequences)
        assert one.supervised == sum(int((s.labels >= 0).sum()) for s in one.sequences)
    for one, following in itertools.pairwise(found):
        first = len(following.sequences[0].inputs)
        assert one.tokens + first > MICRO_BATCH_TOKENS, "the next sequence would not have fitted"


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.integers(0, 60), st.integers(2, 70))
def test_a_sequence_predicts_each_next_token_up_to_the_last_supervised_one(
    length: int, supervised: int, max_length: int
) -> None:
    dataset: Any = Examples([(length, supervised)])
    ids, mask = (half[:max_length] for half in dataset.example(0))
    (sequence,) = make_sequences(dataset, [0], max_length)
    pairs = [(int(now), int(then)) for now, then, on in zip(ids, ids[1:], mask[1:], strict=False) if on]
    marked = sequence.labels >= 0
    assert list(zip(sequence.inputs[marked].tolist(), sequence.labels[marked].tolist(), strict=True)) == pairs
    assert sequence.supervised == len(pairs)
    assert sequence.inputs.tolist() == ids[: len(sequence.inputs)].tolist()
    assert not len(marked) or marked[-1]
    assert sequence.inputs.dtype == sequence.labels.dtype == torch.int64


def test_a_gap_between_supervised_tokens_is_kept() -> None:
    class Talk:
        weights = None

        def examples(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
            mask = np.asarray([0, 1, 0, 0, 1, 0, 0], dtype=np.uint8)
            return [(np.arange(7, dtype=np.int32), mask) for _ in indices]

    talk: Any = Talk()
    (sequence,) = make_sequences(talk, [0], 100)
    assert sequence.inputs.tolist() == [0, 1, 2, 3]
    assert sequence.labels.tolist() == [1, -100, -100, 4]


def test_nothing_supervised_is_no_micro_batch() -> None:
    assert cut([(50, 0), (30, 0)]) == []
    assert cut([]) == []


def test_packed_micro_batches_are_segments_of_their_own() -> None:
    first, second = cut([(1500, 10), (1500, 10)])
    batch = pack_micro_batches([(first, None, (1, 2), 0), (second, None, None, 0)], CPU)
    segments = [(s.start, s.stop, s.dropout_key) for s in batch.segments]
    assert segments == [(0, first.tokens, (1, 2)), (first.tokens, first.tokens + second.tokens, None)]
    assert batch.lengths == [first.tokens, second.tokens]
    assert int((batch.labels >= 0).sum()) == first.supervised + second.supervised
