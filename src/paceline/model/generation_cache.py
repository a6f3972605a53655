"""Keys and values while generating: sequences of about the same length share one attention call.

A sequence's bucket is as long as its own length rounded up, whoever else is in it: so the bits of its
attention depend on itself alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from paceline.model.causal_attention import causal_attention
from paceline.model.memory import upload

# Lengths of buckets are multiples of this.
BUCKET_STEP = 64
# Keys and values of one layer.
KeyValue = tuple[Tensor, Tensor]


@dataclass(eq=False)
class SequenceCache:
    """One sequence's keys and values.

    `prefill` holds a prompt's, layer by layer, until it moves into a bucket.
    """

    length: int = 0
    bucket: LengthBucket | None = None
    slot: int = 0
    prefill: dict[int, KeyValue] = field(default_factory=dict)

    def fork(self) -> SequenceCache:
        """Another sequence that goes on from the same prompt, which is in no bucket yet."""
        return SequenceCache(self.length, prefill=dict(self.prefill))


class LengthBucket:
    """Sequences whose length rounds up to `size`.

    Shapes of `layers`: keys and values (capacity, kv heads, size, d) each.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.sequences: list[SequenceCache] = []
        self.layers: dict[int, KeyValue] = {}

    @property
    def nbytes(self) -> int:
        """What it holds, empty slots too."""
        return sum(half.nbytes for pair in self.layers.values() for half in pair)

    def add(self, cache: SequenceCache, layers: dict[int, KeyValue], expected: int = 0) -> None:
        """Takes in a sequence with what it has in each layer, shapes (kv heads, length, d).

        `expected` is how many there will be once all are in that come now.
        """
        cache.bucket, cache.slot = self, len(self.sequences)
        self.sequences.append(cache)
        capacity = roomy(max(expected, len(self.sequences)))
        for layer, pair in layers.items():
            held = self.layers.get(layer) or _no_slots(pair, self.size)
            if held[0].shape[0] < len(self.sequences):
                held = _resized(held, capacity, self.size)
            self.layers[layer] = held
            for stored, new in zip(held, pair, strict=True):
                stored[cache.slot, :, : new.shape[1]] = new
                stored[cache.slot, :, new.shape[1] :] = 0  # masked positions must hold numbers

    def remove(self, cache: SequenceCache) -> None:
        """Takes a sequence out; the last one moves into its slot."""
        last = self.sequences.pop()
        if last is not cache:
            for held in self.layers.values():
                for stored in held:
                    stored[cache.slot] = stored[last.slot]
            self.sequences[cache.slot] = last
            last.slot = cache.slot
        cache.bucket = None

    def trim(self) -> None:
        """Gives back slots, where more than a third is empty."""
        count = len(self.sequences)
        for layer, held in self.layers.items():
            if 2 * held[0].shape[0] > 3 * roomy(count):
                self.layers[layer] = _resized(held, roomy(count), self.size)

    def lengthen(self, size: int) -> None:
        """Gives every sequence more room, a layer at a time."""
        self.size = size
        for layer, held in self.layers.items():
            self.layers[layer] = _resized(held, roomy(len(self.sequences)), size)

    def of(self, cache: SequenceCache) -> dict[int, KeyValue]:
        """A sequence's keys and values by layer, as views."""
        return {
            layer: (keys[cache.slot, :, : cache.length], values[cache.slot, :, : cache.length])
            for layer, (keys, values) in self.layers.items()
        }


def roomy(count: int) -> int:
    """Slots for so many sequences and the next few."""
    return count + count // 8


def _no_slots(pair: KeyValue, size: int) -> KeyValue:
    keys, values = (half.new_empty(0, half.shape[0], size, half.shape[2]) for half in pair)
    return keys, values


def _resized(held: KeyValue, capacity: int, size: int) -> KeyValue:
    grown = []
    for half in held:
        count, heads, length, width = half.shape
        new, kept = half.new_empty(capacity, heads, size, width), min(count, capacity)
        new[:kept, :, :length] = half[:kept]
        new[:kept, :, length:] = 0
        grown.append(new)
    return grown[0], grown[1]


@dataclass(frozen=True, kw_only=True)
class BucketRows:
    """A bucket's sequences in a packed batch, in the order of their slots.

    Shapes: `mask` (sequences, 1, 1, size), without windows; `lengths` (sequences,) with the new token.
    `places` (sequences * kv heads,) are the rows of the new token among all of the bucket's, by kv heads.
    """

    bucket: LengthBucket
    mask: Tensor
    lengths: Tensor
    places: dict[int, Tensor] = field(default_factory=dict)

    def write(self, stored: Tensor, new: Tensor) -> None:
        """Puts the new token's keys or values (sequences, kv heads, d) where they belong."""
        count, kv, width = new.shape
        if kv not in self.places:
            heads = torch.arange(count * kv, device=new.device).view(count, kv)
            self.places[kv] = (heads * self.bucket.size + self.lengths[:, None] - 1).flatten()
        stored.view(-1, width).index_copy_(0, self.places[kv], new.reshape(-1, width))


@dataclass(frozen=True)
class CacheLayout:
    """The pasts of a packed batch's sequences; `prompts` are (start, stop, cache) of those with none.

    `rows` are the others' in the batch, bucket after bucket.
    """

    prompts: list[tuple[int, int, SequenceCache]]
    buckets: list[BucketRows]
    rows: Tensor


class CachePool:
    """All buckets of a generator."""

    def __init__(self) -> None:
        self._buckets: dict[int, LengthBucket] = {}
        self.token_bytes = 0  # of one token in all layers; known once a prompt was read

    @property
    def nbytes(self) -> int:
        """What all buckets hold."""
        return sum(bucket.nbytes for bucket in self._buckets.values())

    def assign_buckets(
        self, sequences: list[tuple[int, int, SequenceCache]], device: torch.device
    ) -> CacheLayout:
        """Moves sequences into buckets that hold their next token.

        Args:
            sequences: (start, stop, cache) of each in the packed batch.
        """
        prompts = [entry for entry in sequences if entry[2].length == 0]
        starts = {cache: start for start, _, cache in sequences if cache.length}
        moving: dict[int, list[SequenceCache]] = {}
        for cache in starts:
            size = -(-(cache.length + 1) // BUCKET_STEP) * BUCKET_STEP
            if cache.bucket is None or cache.bucket.size != size:
                moving.setdefault(size, []).append(cache)
        for size in sorted(moving, reverse=True):  # the next bucket's own have left before others come
            self._move(moving[size], size)
        self._trim()
        held = [cache for bucket in self._buckets.values() for cache in bucket.sequences]
        both = [[starts[cache] for cache in held], [cache.length + 1 for cache in held]]
        rows, lengths = upload(torch.tensor(both), device)
        parts = lengths.split([len(bucket.sequences) for bucket in self._buckets.values()])
        buckets = []
        for bucket, part in zip(self._buckets.values(), parts, strict=True):
            mask = torch.arange(bucket.size, device=device) < part[:, None, None, None]
            buckets.append(BucketRows(bucket=bucket, mask=mask, lengths=part))
        return CacheLayout(prompts, buckets, rows)

    def release(self, cache: SequenceCache) -> None:
        """Forgets a sequence."""
        if cache.bucket is not None:
            cache.bucket.remove(cache)
        cache.prefill.clear()
        self._trim()

    def _trim(self) -> None:
        self._buckets = {size: bucket for size, bucket in self._buckets.items() if bucket.sequences}
        for bucket in self._buckets.values():
            bucket.trim()

    def _move(self, caches: list[SequenceCache], size: int) -> None:
        """Moves sequences into the bucket of a size, which need not be there."""
        source = caches[0].bucket
        together = source is not None and all(cache.bucket is source for cache in caches)
        if source and together and len(caches) == len(source.sequences) and size not in self._buckets:
            del self._buckets[source.size]
            source.lengthen(size)
            self._buckets[size] = source
            return
        bucket = self._buckets.setdefault(size, LengthBucket(size))
        expected = len(bucket.sequences) + len(caches)
        for cache in caches:
            layers = cache.prefill
            if (held := cache.bucket) is not None:
                layers = {layer: (k.clone(), v.clone()) for layer, (k, v) in held.of(cache).items()}
                held.remove(cache)
            else:
                self.token_bytes = sum(h[:, 0].nbytes for pair in layers.values() for h in pair)
            bucket.add(cache, layers, expected)
            cache.prefill = {}


def cached_attention(
    layout: CacheLayout,
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Attention of new tokens to their own pasts.

    Shapes: query (1, heads, T, d), key and value (1, kv heads, T, d); returns (1, T, heads, d).
    """
    heads, width = query.shape[1], query.shape[3]
    out = query.new_zeros(query.shape[2], heads, width)
    for start, stop, cache in layout.prompts:
        q, k, v = (whole[:, :, start:stop] for whole in (query, key, value))
        cache.prefill[layer] = (k[0], v[0])
        out[start:stop] = causal_attention(q, k, v, scaling, window)[0].transpose(0, 1)
    if layout.buckets:
        q, k, v = (whole[0].transpose(0, 1).index_select(0, layout.rows) for whole in (query, key, value))
        attended = _attend_to_buckets(layout.buckets, layer, q, k, v, scaling, window)
        out.index_copy_(0, layout.rows, attended)
    return out[None]


def _attend_to_buckets(
    buckets: list[BucketRows],
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Attention of one new token of each sequence, bucket after bucket.

    Shapes: query (n, heads, d), key and value (n, kv heads, d); returns (n, heads, d).
    """
    (count, heads, width), kv = query.shape, key.shape[1]
    sizes = [len(group.lengths) for group in buckets]
    # the query heads of a key head are its rows: nothing is repeated
    queries = query.view(count, kv, heads // kv, width).split(sizes)
    found = []
    for group, q, k, v in zip(buckets, queries, key.split(sizes), value.split(sizes), strict=True):
        keys, values = group.bucket.layers[layer]
        group.write(keys, k)
        group.write(values, v)
        mask = group.mask
        if window is not None and window < group.bucket.size:
            positions = torch.arange(group.bucket.size, device=mask.device)
            mask = mask & (positions >= (group.lengths - window)[:, None, None, None])
        found.append(F.scaled_dot_product_attention(q, keys[: len(q)], values[: len(q)], mask, scale=scaling))
    return torch.cat(found).view(count, heads, width)
