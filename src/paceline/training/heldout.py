"""Held-out loss, example by example."""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from paceline.data.tokens import TokenDataset, ids_digest
from paceline.errors import TrainingError
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.batch import use_batch
from paceline.model.loss import SoftTarget, segment_losses
from paceline.runs.losses import ExampleLosses
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.micro_batches import MicroBatch, make_micro_batches, pack_micro_batches

# Tokens of one forward.
_TOKENS = {"cpu": 0, "cuda": 16384}


@torch.no_grad()
def held_out_losses(
    base: Base,
    adapter: Adapter | None,
    dataset: TokenDataset,
    examples: NDArray[np.int64],
    max_length: int,
    reference: HiddenStateCache | None = None,
) -> ExampleLosses:
    """Losses of an adapter (None: of the bare base) on examples.

    Args:
        examples: (n,) indices into the data set; those with no supervised token within max_length are
            left out. Windows of one text become one example, since they depend on each other.
        reference: where given, the KL(adapter ‖ base) at the supervised positions is measured too.
    """
    kept: list[int] = []
    rows: list[tuple[int, float, int, float]] = []
    waiting = deque(_gather(make_micro_batches(dataset, examples, max_length), base.device))
    while waiting:
        group = waiting.popleft()
        micro_batch = MicroBatch([sequence for one in group for sequence in one.sequences])
        measured = base.unless_out_of_memory(
            partial(_measure, base, adapter, dataset, micro_batch, reference)
        )
        if measured is not None:
            kept += [sequence.example for sequence in micro_batch.sequences]
            rows += measured
        elif len(group) == 1:
            raise TrainingError(
                f"out of memory evaluating {micro_batch.tokens} held-out tokens at once; lower max_length, "
                "or take a smaller base"
            )
        else:
            half = len(group) // 2
            waiting.extendleft([group[half:], group[:half]])
    starts = _starts(dataset, kept)
    tokens, loss, correct, kl = (
        np.add.reduceat(np.asarray(column), starts) for column in zip(*rows, strict=True)
    )
    windows = np.diff(starts, append=len(kept))
    kept_windows, kept = kept, [kept[start] for start in starts]
    sources = [dataset.sources[part] for part in dataset.parts[kept]]
    cut = f", in windows of {max_length}"  # other windows have other contexts: those losses do not compare
    return ExampleLosses(
        source=[source + cut if many > 1 else source for source, many in zip(sources, windows, strict=True)],
        row=dataset.column("row")[kept],
        task=dataset.tasks(np.asarray(kept)),
        tokens=tokens,
        loss=loss,
        correct=correct,
        kl=kl,
        answer=np.bitwise_xor.reduceat(_answers(dataset, kept_windows, max_length), starts),
    )


def _answers(dataset: TokenDataset, examples: list[int], max_length: int) -> NDArray[np.int64]:
    """A digest of the supervised tokens of each example (examples,)."""
    cut = ((ids[:max_length], mask[:max_length] == 1) for ids, mask in dataset.examples(examples))
    return np.asarray([ids_digest(ids[learned]) for ids, learned in cut], dtype=np.int64)


def _gather(micro_batches: Iterable[MicroBatch], device: torch.device) -> Iterator[list[MicroBatch]]:
    """Micro-batches that share a forward: one on a CPU; on a GPU, which keeps nothing here, many."""
    held: list[MicroBatch] = []
    for micro_batch in micro_batches:
        tokens = sum(one.tokens for one in held) + micro_batch.tokens
        if held and tokens > _TOKENS[device.type]:
            yield held
            held = []
        held.append(micro_batch)
    if held:
        yield held


def _measure(
    base: Base,
    adapter: Adapter | None,
    dataset: TokenDataset,
    micro_batch: MicroBatch,
    reference: HiddenStateCache | None,
) -> list[tuple[int, float, int, float]]:
    """(supervised tokens, summed loss, correct, summed divergence) of each sequence."""
    batch = pack_micro_batches([(micro_batch, adapter, None, 0)], base.device)
    with use_batch(batch):
        hidden = base.hidden(batch)
    soft = [_to_reference(reference, dataset, micro_batch)] if reference else []
    losses = segment_losses(hidden, base.head, batch, batch.segments[0], soft=soft)
    sizes = [sequence.supervised for sequence in micro_batch.sequences]
    divergence = losses.divergences.get("kl", torch.full_like(losses.loss, torch.nan))
    values = torch.stack([losses.loss.double(), losses.correct.double(), divergence.double()]).cpu()
    columns = [column.split(sizes) for column in values]
    return [
        (size, float(loss.sum()), int(correct.sum()), float(kl.sum()))
        for size, loss, correct, kl in zip(sizes, *columns, strict=True)
    ]


def _starts(dataset: TokenDataset, examples: list[int]) -> NDArray[np.int64]:
    """Where among examples a new one begins (new ones,): each does, but for the windows of one text."""
    if not dataset.packed:
        return np.arange(len(examples))
    texts = np.stack([dataset.parts[examples], dataset.column("row")[examples]])
    return np.flatnonzero(np.append(True, (np.diff(texts) != 0).any(0)))


def _to_reference(reference: HiddenStateCache, dataset: TokenDataset, micro_batch: MicroBatch) -> SoftTarget:
    """KL(adapter ‖ base) at every supervised position, measured and not trained on."""
    positions, states = reference.of(dataset, micro_batch, None)
    return SoftTarget(
        name="kl", positions=positions, hidden=states, head=reference.base.head, weight=0.0, forward=False
    )
