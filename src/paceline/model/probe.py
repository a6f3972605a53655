"""What a base must show at load: our hidden states and logits are transformers' own, sequence by sequence.

A family whose layers look beyond a sequence's bounds (convolutions, recurrent states, masks of its own) would
train on wrong hidden states without a word; so each base is asked, and refused where it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paceline.errors import ModelError
from paceline.model.batch import Generation, PackedBatch, pack_sequences, use_batch
from paceline.model.generation_cache import CachePool, SequenceCache
from paceline.model.quantization import is_quantized
from paceline.model.segment import Segment

# Longer than a CPU's shortest independent product, than usual convolutions and than `_WINDOW`.
_LENGTHS = (40, 33)
# Sliding windows and chunks while probing, so that short sequences reach beyond them.
_WINDOW = 8
Hidden = Callable[[PackedBatch], Tensor]


def probe_sequences(vocabulary: int) -> list[Tensor]:
    """Two sequences of random ids, always the same, and another one as long as the first."""
    draw = torch.Generator().manual_seed(0)
    low = min(8, vocabulary // 2)
    first, second = _LENGTHS
    return [torch.randint(low, vocabulary, (length,), generator=draw) for length in (first, second, first)]


@contextmanager
def small_windows(model: PreTrainedModel) -> Iterator[None]:
    """Shrinks sliding windows and attention chunks, in the configurations and the modules that hold one."""
    changed: list[tuple[Any, str, int]] = []
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    try:
        for holder in [*configs.values(), *model.modules()]:
            for name in ("sliding_window", "attention_chunk_size"):
                value = getattr(holder, name, None)
                if isinstance(value, int) and not isinstance(value, bool) and value > _WINDOW:
                    setattr(holder, name, _WINDOW)
                    changed.append((holder, name, value))
        yield
    finally:
        for holder, name, value in changed:
            setattr(holder, name, value)


@torch.no_grad()
def plain_logits(model: PreTrainedModel, device: torch.device) -> list[Tensor]:
    """The logits (tokens, vocabulary) of each probe sequence alone, by transformers' own code, unpatched."""
    before = model.config._attn_implementation
    sequences = probe_sequences(_vocabulary(model))[:2]
    try:
        model.set_attn_implementation("eager")
        with small_windows(model):
            found = [model(input_ids=ids[None].to(device), use_cache=False).logits[0] for ids in sequences]
    finally:
        model.set_attn_implementation(before)
    return [logits.float() for logits in found]


def probe(
    name: str,
    model: PreTrainedModel,
    hidden: Hidden,
    logits: Callable[[Tensor], Tensor],
    plain: list[Tensor],
    device: torch.device,
) -> None:
    """Compares a patched base with `plain`, the logits of transformers' own code.

    Raises:
        ModelError: a sequence's hidden states depend on its neighbour, or differ from transformers' own, in
            training or while generating.
    """
    first, second, other = probe_sequences(_vocabulary(model))
    size = plain[0].shape[1]
    with small_windows(model):
        rows = _flat(hidden, [first, second], device)
        beside = _flat(hidden, [other, second], device)
        before = _flat(hidden, [first, second.flip(0)], device)
        mixing = max(
            _difference(rows[len(first) :], beside[len(first) :]),
            _difference(rows[: len(first)], before[: len(first)]),
        )
        if not mixing <= _tolerance(model, mixing=True):
            raise ModelError(
                f"base {name!r} ({model.config.model_type}) mixes neighbouring sequences: hidden states of "
                f"one change by {mixing:.1e} with another beside it in a packed batch; not supported"
            )
        gap = _difference(logits(rows)[:, :size], torch.cat(plain))
        if not gap <= _tolerance(model):
            raise ModelError(
                f"base {name!r} ({model.config.model_type}): packed, its logits differ by {gap:.1e} from "
                "transformers' own (attention, positions or head of a kind we do not compute); not supported"
            )
        gap = _difference(_generated(hidden, first, device), rows[len(first) - 1 : len(first)])
        if not gap <= _tolerance(model):
            raise ModelError(
                f"base {name!r} ({model.config.model_type}): generating token by token differs by {gap:.1e} "
                "from one forward pass; not supported"
            )


def _flat(hidden: Hidden, sequences: list[Tensor], device: torch.device) -> Tensor:
    """Hidden states of all rows of a packed batch; its backward pass must run too."""
    total = sum(map(len, sequences))
    batch = pack_sequences([(ids, ids) for ids in sequences], [Segment(0, total, None)], device)
    with use_batch(batch), torch.enable_grad():
        found = hidden(batch)[:total]
        if found.requires_grad:
            found.backward(torch.ones_like(found))
    return found.detach()


class _NoAdapters:
    def add(self, *_: Any) -> None: ...


@torch.no_grad()
def _generated(hidden: Hidden, ids: Tensor, device: torch.device) -> Tensor:
    """The hidden state (1, size) of the last token, fed alone after the others, as `generate` does."""
    pool, cache = CachePool(), SequenceCache()
    found = torch.empty(0)
    for part in (ids[:-1], ids[-1:]):
        layout = pool.assign_buckets([(0, len(part), cache)], device)
        batch = pack_sequences(
            [(part, torch.full_like(part, -100).index_fill_(0, torch.tensor([len(part) - 1]), 0))],
            [Segment(0, len(part), None)],
            device,
            starts=[cache.length],
            generation=Generation(layout, _NoAdapters()),
        )
        with use_batch(batch):
            found = hidden(batch)[len(part) - 1 : len(part)]
        cache.length += len(part)
    return found


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest distance of two rows, relative to the row's length.

    In half precision that of nine rows in ten: rounding may send a row to other experts.
    """
    share = 0.9 if ours.dtype in (torch.bfloat16, torch.float16) else 1.0
    ours, theirs = ours.float(), theirs.float()
    distances = (ours - theirs).norm(dim=1) / theirs.norm(dim=1).clamp_min(1e-12)
    return float(distances.quantile(share))


def _tolerance(model: PreTrainedModel, mixing: bool = False) -> float:
    """What rounding may change: rows of equal batches nearly nothing, other orders of summing more."""
    if any(is_quantized(module) for module in model.modules()):
        return 0.1
    if next(model.parameters()).dtype in (torch.bfloat16, torch.float16):
        return 0.02 if mixing else 0.1
    return 1e-4 if mixing else 1e-3


def _vocabulary(model: PreTrainedModel) -> int:
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings.weight, Tensor)
    return int(embeddings.weight.shape[0])


def refuse_unknown_layers(name: str, model: PreTrainedModel) -> None:
    """Refuses by the configuration what no probe of a few tokens can show.

    Raises:
        ModelError: soft caps, or layers that are not `nn.Linear` but stand for it.
    """
    config = model.config.get_text_config()
    kind = model.config.model_type
    for field in ("attn_logit_softcapping", "final_logit_softcapping"):
        if getattr(config, field, None):
            raise ModelError(f"base {name!r} ({kind}) caps its logits ({field}); not supported")
    if any(type(module).__name__ == "Conv1D" for module in model.modules()):
        raise ModelError(f"base {name!r} ({kind}): its linears are transformers' Conv1D; not supported")
    if not isinstance(model.get_output_embeddings(), nn.Linear):
        raise ModelError(f"base {name!r} ({kind}) has no linear output projection; not supported")
