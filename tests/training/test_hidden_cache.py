"""Hidden states of a frozen model: those of a plain forward, computed once, and not kept for ever."""

import pytest
import torch

from helpers import CPU, plain_model, random_sequences
from paceline.model.base import Base, load_base
from paceline.model.batch import MIN_TOKENS, PackedBatch
from paceline.model.quantization import BaseFormat
from paceline.training import hidden_cache
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.micro_batches import MicroBatch, TokenSequence, make_micro_batches
from paceline.training.prepare import Prepared


@pytest.fixture
def micro_batch(prepared: Prepared) -> MicroBatch:
    return next(iter(make_micro_batches(prepared.dataset, prepared.split.train[:6], 128)))


@pytest.mark.parametrize("tail", [None, 3, 10_000])
def test_states_are_those_of_a_plain_forward(
    tail: int | None, prepared: Prepared, loaded_base: Base, micro_batch: MicroBatch
) -> None:
    positions, states = HiddenStateCache(loaded_base).of(prepared.dataset, micro_batch, tail)
    plain = plain_model(prepared.recipe.base).model
    before, places, expected = 0, [], []
    for sequence in micro_batch.sequences:
        marked = (sequence.labels >= 0).nonzero()[:, 0]
        first = max(0, len(marked) - (tail or len(marked)))
        places += list(range(before + first, before + len(marked)))
        before += len(marked)
        expected.append(plain(sequence.inputs[None]).last_hidden_state[0][marked[first:]])
    assert positions.tolist() == places
    torch.testing.assert_close(states, torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_runs_that_see_the_same_example_share_its_states(
    prepared: Prepared, loaded_base: Base, micro_batch: MicroBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = HiddenStateCache(loaded_base)
    _, first = cache.of(prepared.dataset, micro_batch, None)
    monkeypatch.setattr(loaded_base, "hidden", None)
    _, again = cache.of(prepared.dataset, MicroBatch(micro_batch.sequences[::-1]), None)
    sizes = [sequence.supervised for sequence in micro_batch.sequences]
    assert torch.equal(torch.cat(again.split(sizes[::-1])[::-1]), first)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_else_is_computed_beside_an_example_changes_no_bit(
    wide_base: str, prepared: Prepared, dtype: str
) -> None:
    base = load_base(wide_base, CPU, BaseFormat(dtype=dtype))
    drawn = enumerate(random_sequences([300, 90, 40, 500, 128, 70], supervised=0.9))
    sequences = [
        TokenSequence(number, ids, labels, int((labels >= 0).sum())) for number, (ids, labels) in drawn
    ]
    _, together = HiddenStateCache(base).of(prepared.dataset, MicroBatch(sequences), None)
    alone = [HiddenStateCache(base).of(prepared.dataset, MicroBatch([one]), None)[1] for one in sequences]
    assert torch.equal(together, torch.cat(alone))


def test_each_example_has_a_forward_of_its_own(
    prepared: Prepared, loaded_base: Base, micro_batch: MicroBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of some models, and of bf16 on some CPUs, have bits that depend on the rows beside them."""

    def lengths(batch: PackedBatch) -> torch.Tensor:
        return torch.full((batch.input_ids.shape[1], 1), sum(batch.lengths))

    monkeypatch.setattr(loaded_base, "hidden", lengths)
    _, states = HiddenStateCache(loaded_base).of(prepared.dataset, micro_batch, 1)
    expected = [max(len(sequence.inputs), MIN_TOKENS) for sequence in micro_batch.sequences]
    assert states[:, 0].tolist() == expected
    assert len(set(expected)) > 1


def test_an_example_that_comes_twice_is_counted_once(
    prepared: Prepared, loaded_base: Base, micro_batch: MicroBatch
) -> None:
    cache = HiddenStateCache(loaded_base)
    cache.of(prepared.dataset, MicroBatch(micro_batch.sequences[:1] * 2), None)
    assert cache._bytes == sum(kept.nbytes for kept in cache._kept.values())


def test_another_cut_or_tail_of_an_example_is_another_entry(
    prepared: Prepared, loaded_base: Base, micro_batch: MicroBatch
) -> None:
    cache = HiddenStateCache(loaded_base)
    _, whole = cache.of(prepared.dataset, micro_batch, None)
    _, tail = cache.of(prepared.dataset, micro_batch, 2)
    shorter = next(iter(make_micro_batches(prepared.dataset, prepared.split.train[:6], 100)))
    _, cut = cache.of(prepared.dataset, shorter, None)
    assert len(whole) == micro_batch.supervised
    assert len(tail) == 2 * len(micro_batch.sequences)
    assert len(cut) == shorter.supervised < len(whole)


def test_only_so_many_bytes_are_kept_of_the_newest(
    prepared: Prepared, loaded_base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 60_000
    monkeypatch.setitem(hidden_cache.KEPT_BYTES, "cpu", limit)
    cache = HiddenStateCache(loaded_base)
    for example in prepared.split.train[:12]:
        (one,) = make_micro_batches(prepared.dataset, [int(example)], 128)
        _, states = cache.of(prepared.dataset, one, None)
        held = sum(kept.nbytes for kept in cache._kept.values())
        assert cache._bytes == held <= limit
        assert torch.equal(next(reversed(cache._kept.values())), states)
    assert 1 < len(cache._kept) < 12
