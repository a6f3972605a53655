"""Packed batches: what lies where, and which rows a loss can read."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import CPU, random_sequences
from paceline.model.batch import (
    MIN_TOKENS,
    PackedBatch,
    current_batch,
    current_context,
    pack_sequences,
    use_batch,
)
from paceline.model.segment import Segment


def packed(lengths: Sequence[int], supervised: float = 0.5) -> PackedBatch:
    sequences = random_sequences(lengths, supervised)
    return pack_sequences(sequences, [Segment(0, sum(lengths), None)], CPU)


def test_sequences_lie_end_to_end() -> None:
    sequences = random_sequences((20, 31))
    batch = pack_sequences(sequences, [Segment(0, 51, None)], CPU)
    assert torch.equal(batch.input_ids[0], torch.cat([ids for ids, _ in sequences]))
    assert torch.equal(batch.labels[0], torch.cat([labels for _, labels in sequences]))
    assert batch.positions[0].tolist() == [*range(20), *range(31)]
    assert batch.lengths == [20, 31]
    assert batch.boundaries.tolist() == [0, 20, 51]
    assert batch.boundaries.dtype == torch.int32


def test_a_short_batch_is_filled_with_a_sequence_that_no_loss_reads() -> None:
    batch = packed((3, 5))
    assert batch.input_ids.shape == batch.labels.shape == batch.positions.shape == (1, MIN_TOKENS)
    assert batch.lengths == [3, 5, MIN_TOKENS - 8]
    assert (batch.labels[0, 8:] == -100).all()
    assert batch.positions[0, 8:].tolist() == list(range(MIN_TOKENS - 8))


def test_a_full_batch_is_not_filled() -> None:
    assert packed((MIN_TOKENS,)).lengths == [MIN_TOKENS]
    assert packed((MIN_TOKENS + 1,)).lengths == [MIN_TOKENS + 1]


def test_positions_count_from_each_sequences_start() -> None:
    sequences = random_sequences((1, 2))
    batch = pack_sequences(sequences, [], CPU, starts=[7, 100])
    assert batch.positions[0, :3].tolist() == [7, 100, 101]
    assert batch.positions[0, 3:].tolist() == list(range(MIN_TOKENS - 3))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=80), min_size=1, max_size=5))
def test_a_segment_keeps_its_supervised_rows_and_the_first_others_up_to_the_least_count(
    marks: list[list[bool]],
) -> None:
    ends = torch.tensor([len(mark) for mark in marks]).cumsum(0).tolist()
    segments = [Segment(stop - len(mark), stop, None) for mark, stop in zip(marks, ends, strict=True)]
    labels = [torch.where(torch.tensor(mark), 1, -100) for mark in marks]
    batch = pack_sequences([(torch.ones_like(one), one) for one in labels], segments, CPU)
    kept, start = batch.loss_rows, 0
    for mark, segment, own in zip(marks, segments, kept.batch.segments, strict=True):
        rows = kept.rows[own.start : own.stop] - segment.start
        others = [row for row, supervised in enumerate(mark) if not supervised]
        wanted = {row for row, supervised in enumerate(mark) if supervised}
        wanted |= set(others[: max(0, MIN_TOKENS - len(wanted))])
        assert rows.tolist() == sorted(wanted)
        assert own.start == start
        start = own.stop
    filler = batch.input_ids.shape[1] - ends[-1]
    assert len(kept.rows) == start + filler


def test_the_kept_rows_of_a_segment_do_not_depend_on_its_neighbours() -> None:
    sequences = random_sequences((90, 70), supervised=0.2)
    alone = pack_sequences(sequences[1:], [Segment(0, 70, None)], CPU).loss_rows
    both = pack_sequences(sequences, [Segment(0, 90, None), Segment(90, 160, None)], CPU).loss_rows
    second = both.batch.segments[1]
    assert torch.equal(both.rows[second.start : second.stop] - 90, alone.rows)


def test_one_batch_is_not_entered_inside_another_by_mistake() -> None:
    batch = packed((50,))
    with use_batch(batch):
        with pytest.raises(RuntimeError, match="another one is under way"), use_batch(batch):
            pass
        assert current_context() is not None
        with use_batch(batch, within=batch):
            pass
        assert current_batch() is batch
    assert current_context() is None
    assert current_batch() is None


def test_an_exception_ends_the_batch_that_was_under_way() -> None:
    with pytest.raises(KeyError), use_batch(packed((5,))):
        raise KeyError
    assert current_context() is None
