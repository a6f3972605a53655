"""Keys and values while generating: sequences of about the same length lie side by side, so that one attention call serves them all.

A sequence's room is as long as its own length rounded up, whoever else lives there: so the bits of its attention depend on itself alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 64


@dataclass(eq=False)
class KVCache:
    """One sequence's keys and values. `fresh` holds a prompt's, layer by layer, until it moves into a room."""

    length: int = 0
    room: LengthBucket | None = None
    slot: int = 0
    fresh: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


class LengthBucket:
    """Sequences whose length rounds up to the same. Shapes of `layers`: keys and values (capacity, kv heads, size, d) each."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sequences: list[KVCache] = []
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def enter(self, cache: KVCache, parts: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Takes in a sequence with what it has in each layer, shapes (kv heads, length, d)."""
        cache.room, cache.slot = self, len(self.sequences)
        self.sequences.append(cache)
        for layer, pair in parts.items():
            held = self.layers.get(layer)
            if held is None or held[0].shape[0] < len(self.sequences):
                self.layers[layer] = held = self._grown(held, pair)
            for stored, part in zip(held, pair, strict=True):
                stored[cache.slot, :, : part.shape[1]] = part

    def leave(self, cache: KVCache) -> None:
        """Lets a sequence go; the last one takes its slot."""
        last = self.sequences.pop()
        if last is not cache:
            for held in self.layers.values():
                for stored in held:
                    stored[cache.slot] = stored[last.slot]
            self.sequences[cache.slot] = last
            last.slot = cache.slot
        cache.room = None

    def parts(self, cache: KVCache) -> dict[int, tuple[Tensor, Tensor]]:
        return {
            layer: (k[cache.slot, :, : cache.length], v[cache.slot, :, : cache.length])
            for layer, (k, v) in self.layers.items()
        }

    def _grown(
        self, held: tuple[Tensor, Tensor] | None, like: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        capacity = max(4, 2 * len(self.sequences))
        made = []
        for number, part in enumerate(like):
            new = part.new_zeros(
                capacity, part.shape[0], self.size, part.shape[2]
            )  # zeros: masked places must hold numbers
            if held is not None:
                new[: held[number].shape[0]] = held[number]
            made.append(new)
        return made[0], made[1]


@dataclass(frozen=True)
class CacheLayout:
    """Who in a flat batch has which past. `prompts` are (start, stop, cache) of sequences with none; `rooms` are (room, rows of its tenants in
    the order of their slots, mask (tenants, 1, 1, size) without windows, lengths with the new token)."""

    prompts: list[tuple[int, int, KVCache]]
    rooms: list[tuple[LengthBucket, Tensor, Tensor, Tensor]]


class CachePool:
    """All rooms of a generator."""

    def __init__(self) -> None:
        self._rooms: dict[int, LengthBucket] = {}

    def assign_buckets(self, sequences: list[tuple[int, int, KVCache]], device: torch.device) -> CacheLayout:
        """Moves sequences into rooms where their next token fits. `sequences` are (start, stop, cache) in the flat batch."""
        prompts = [entry for entry in sequences if entry[2].length == 0]
        rows = {cache: start for start, _, cache in sequences if cache.length}
        for cache in rows:
            self._settle(cache)
        rooms = []
        for room in self._rooms.values():
            if room.sequences:
                lengths = torch.tensor([cache.length + 1 for cache in room.sequences])
                mask = torch.arange(room.size) < lengths[:, None, None, None]
                places = torch.tensor([rows[cache] for cache in room.sequences])
                rooms.append((room, places.to(device), mask.to(device), lengths.to(device)))
        return CacheLayout(prompts, rooms)

    def release(self, cache: KVCache) -> None:
        """Forgets a sequence."""
        if cache.room is not None:
            cache.room.leave(cache)
        cache.fresh.clear()

    def _settle(self, cache: KVCache) -> None:
        size = -(-(cache.length + 1) // STEP) * STEP
        if cache.room is not None and cache.room.size == size:
            return
        parts = cache.fresh
        if cache.room is not None:
            parts = {layer: (k.clone(), v.clone()) for layer, (k, v) in cache.room.parts(cache).items()}
            cache.room.leave(cache)
        self._rooms.setdefault(size, LengthBucket(size)).enter(cache, parts)
        cache.fresh = {}


def cached_attention(
    cache_layout: CacheLayout,
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Attention of new tokens to their own pasts. Shapes: query (1, heads, T, d), key and value (1, kv heads, T, d); returns (1, T, heads, d)."""
    heads, kv, width = query.shape[1], key.shape[1], query.shape[3]
    out = query.new_zeros(query.shape[2], heads, width)
    for start, stop, cache in cache_layout.prompts:
        q, k, v = (part[:, :, start:stop] for part in (query, key, value))
        cache.fresh[layer] = (k[0], v[0])
        mask = None
        if window is not None and window < stop - start:
            mask = (
                torch.ones(stop - start, stop - start, dtype=torch.bool, device=query.device)
                .tril()
                .triu(1 - window)
            )
        said = F.scaled_dot_product_attention(
            q, k, v, mask, is_causal=mask is None, scale=scaling, enable_gqa=heads != kv
        )
        out[start:stop] = said[0].transpose(0, 1)
    for room, rows, mask, lengths in cache_layout.rooms:
        keys, values = room.layers[layer]
        count = len(rows)
        slots = torch.arange(count, device=rows.device)
        keys[slots, :, lengths - 1] = key[0].index_select(1, rows).transpose(0, 1)
        values[slots, :, lengths - 1] = value[0].index_select(1, rows).transpose(0, 1)
        if window is not None and window < room.size:
            mask = mask & (
                torch.arange(room.size, device=rows.device) >= (lengths - window)[:, None, None, None]
            )
        # the query heads of a key head are its rows: nothing is repeated
        asked = query[0].index_select(1, rows).transpose(0, 1).reshape(count, kv, heads // kv, width)
        said = F.scaled_dot_product_attention(asked, keys[:count], values[:count], mask, scale=scaling)
        out.index_copy_(0, rows, said.reshape(count, heads, width))
    return out[None]
