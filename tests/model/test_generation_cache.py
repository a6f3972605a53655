"""Keys and values while generating: nothing is lost or mixed up, and attention to them is plain attention."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers import CPU, plain_attention
from paceline.model.causal_attention import causal_window
from paceline.model.generation_cache import (
    BUCKET_STEP,
    CachePool,
    LengthBucket,
    SequenceCache,
    cached_attention,
)

HEADS, KV_HEADS, WIDTH, SCALE = 4, 2, 8, 0.3


def filled(length: int, seed: int) -> dict[int, tuple[Tensor, Tensor]]:
    """Keys and values of two layers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: (
            torch.randn(KV_HEADS, length, WIDTH, generator=generator),
            torch.randn(KV_HEADS, length, WIDTH, generator=generator),
        )
        for layer in range(2)
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=30))
def test_a_bucket_keeps_what_each_sequence_has(operations: list[tuple[bool, int]]) -> None:
    """Sequences come and, from any place among the others, go."""
    bucket = LengthBucket(BUCKET_STEP)
    held: list[tuple[SequenceCache, dict[int, tuple[Tensor, Tensor]]]] = []
    for number, (add, choice) in enumerate(operations):
        if add or not held:
            cache, content = (
                SequenceCache(length=1 + choice % BUCKET_STEP),
                filled(1 + choice % BUCKET_STEP, number),
            )
            bucket.add(cache, content)
            held.append((cache, content))
        else:
            cache, _ = held.pop(choice % len(held))
            bucket.remove(cache)
            assert cache.bucket is None
        assert sorted(cache.slot for cache, _ in held) == list(range(len(held)))
        for cache, content in held:
            assert cache.bucket is bucket
            assert bucket.sequences[cache.slot] is cache
            for layer, pair in bucket.of(cache).items():
                assert all(torch.equal(mine, put) for mine, put in zip(pair, content[layer], strict=True))


class Talk:
    """A sequence that grows, with all that its attention has ever seen."""

    def __init__(self, prompt: int, seed: int) -> None:
        self.cache, self.new = SequenceCache(), prompt
        self._generator = torch.Generator().manual_seed(seed)
        self.keys, self.values = (torch.zeros(KV_HEADS, 0, WIDTH) for _ in range(2))

    def speak(self) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of the new tokens."""
        query = torch.randn(HEADS, self.new, WIDTH, generator=self._generator)
        key, value = (torch.randn(KV_HEADS, self.new, WIDTH, generator=self._generator) for _ in range(2))
        self.keys, self.values = torch.cat([self.keys, key], 1), torch.cat([self.values, value], 1)
        return query, key, value

    def expected(self, query: Tensor, window: int | None) -> Tensor:
        past = torch.zeros(HEADS, self.keys.shape[1] - self.new, WIDTH)
        whole = plain_attention(torch.cat([past, query], 1), self.keys, self.values, SCALE, window)
        return whole[-self.new :]


def step(pool: CachePool, talks: list[Talk], window: int | None) -> list[tuple[Tensor, Tensor]]:
    """One forward over all of them; (attended, query) of each."""
    said = [talk.speak() for talk in talks]
    ends = torch.tensor([talk.new for talk in talks]).cumsum(0).tolist()
    places = [(stop - talk.new, stop, talk.cache) for talk, stop in zip(talks, ends, strict=True)]
    layout = pool.assign_buckets(places, CPU)
    query, key, value = (torch.cat(parts, 1)[None] for parts in zip(*said, strict=True))
    attended = cached_attention(layout, 0, query, key, value, SCALE, window)[0]
    for talk in talks:
        talk.cache.length += talk.new
    return [(attended[a:b], q) for (a, b, _), (q, _, _) in zip(places, said, strict=True)]


@pytest.mark.parametrize("window", [None, 10])
def test_attention_to_the_cache_is_plain_attention(window: int | None) -> None:
    """Prompts of several lengths, steps over a bucket's border, sequences that end and others that begin."""
    pool = CachePool()
    talks = [
        Talk(length, seed)
        for seed, length in enumerate((BUCKET_STEP - 3, 5, BUCKET_STEP, 2 * BUCKET_STEP - 1))
    ]
    for number in range(8):
        if number == 4:
            pool.release(talks.pop(0).cache)
            talks.append(Talk(11, 9))
        for talk, (attended, query) in zip(talks, step(pool, talks, window), strict=True):
            torch.testing.assert_close(attended, talk.expected(query, window), atol=1e-6, rtol=1e-5)
            talk.new = 1


def test_the_bits_of_a_sequence_do_not_depend_on_its_neighbours() -> None:
    def last_of(neighbours: list[int]) -> Tensor:
        pool, talk = CachePool(), Talk(30, 0)
        talks = [talk, *(Talk(length, 1 + i) for i, length in enumerate(neighbours))]
        for _ in range(3):
            attended = step(pool, talks, None)
            for other in talks:
                other.new = 1
        return attended[0][0]

    alone = last_of([])
    assert torch.equal(alone, last_of([3]))
    assert torch.equal(alone, last_of([12, 40, 61, 62, 100]))


def test_a_released_sequence_holds_nothing() -> None:
    pool, talk = CachePool(), Talk(5, 0)
    step(pool, [talk], None)
    assert talk.cache.prefill
    pool.release(talk.cache)
    assert not talk.cache.prefill
    assert pool.assign_buckets([], CPU).buckets == []


@pytest.mark.parametrize("window", [1, 3, 6])
def test_a_window_shows_each_position_its_last_ones(window: int) -> None:
    mask = causal_window(7, window, CPU)
    assert mask is not None
    assert mask.tolist() == [[i - window < j <= i for j in range(7)] for i in range(7)]


def test_a_window_as_long_as_the_sequence_is_no_window() -> None:
    assert causal_window(7, None, CPU) is None
    assert causal_window(7, 7, CPU) is None
    assert causal_window(7, 99, CPU) is None


class HeldBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations inside made or read, while they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held: dict[int, tuple[Any, int]] = {}
        self.peak = 0

    def now(self) -> int:
        self._held = {key: entry for key, entry in self._held.items() if not entry[0].expired()}
        return sum(size for _, size in self._held.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._held[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, self.now())
        return out


def test_after_the_last_answer_nothing_is_held_and_on_the_way_little_more_than_needed() -> None:
    """80 prompts that grow from 128 to 1,088 tokens, in step and out of step, by what every tensor takes.

    While a bucket is made longer, one layer (of two) is there twice.
    """
    token = 2 * KV_HEADS * WIDTH * 4 * 2  # keys and values, two layers of floats
    for spread, bound in ((0, 1.13), (7, 1.5)):
        pool = CachePool()
        caches = [SequenceCache(length=128 - spread * (i % 9)) for i in range(80)]
        for cache in caches:
            cache.prefill = filled(cache.length, 0)
        pool.assign_buckets([(i, i + 1, cache) for i, cache in enumerate(caches)], CPU)
        with HeldBytes() as held:
            worst = most = 0.0
            for _ in range(1088 - 128):
                places = [(i, i + 1, cache) for i, cache in enumerate(caches)]
                held.peak = 0
                pool.assign_buckets(places, CPU)
                for cache in caches:
                    cache.length += 1
                needed = token * sum(-(-cache.length // BUCKET_STEP) * BUCKET_STEP for cache in caches)
                worst, most = max(worst, held.peak / needed), max(most, pool.nbytes / needed)
            assert pool.nbytes >= needed
            assert most < bound
            assert worst < 1.5 * bound
            for cache in caches:
                pool.release(cache)
            assert pool.nbytes == 0
            assert held.now() < 2**16, "what the last batch was told"
