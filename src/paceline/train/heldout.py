"""Held-out loss, example by example."""

import numpy as np
import torch
from numpy.typing import NDArray

from paceline.data.tokens import TokenDataset
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.batch import Segment, use_batch
from paceline.model.loss import SoftTarget, segment_losses
from paceline.runs.losses import ExampleLosses
from paceline.train.hidden_cache import HiddenStateCache
from paceline.train.micro_batches import make_micro_batches, offsets, pack_micro_batches


@torch.no_grad()
def held_out_losses(
    base: Base, adapter: Adapter | None, dataset: TokenDataset, examples: NDArray[np.int64], max_length: int,
    reference: HiddenStateCache | None = None,
) -> ExampleLosses:  # fmt: skip
    """Losses of an adapter (None: of the bare base) on examples, and with an anchor the KL(adapter ‖ base) at their supervised positions."""
    kept: list[int] = []
    figures: list[tuple[int, float, int, float]] = []
    for micro_batch in make_micro_batches(dataset, examples, max_length):
        (start, stop) = offsets([micro_batch])[0]
        batch = pack_micro_batches([micro_batch], [Segment(start, stop, adapter)], base.device)
        with use_batch(batch):
            hidden = base.hidden(batch)
        soft = (
            [SoftTarget(*reference.of(dataset, micro_batch, None), reference.base.head, 0.0, False)]
            if reference
            else []
        )
        losses = segment_losses(hidden, base.head, batch, batch.segments[0], soft=soft)
        sizes = [sequence.supervised for sequence in micro_batch.sequences]
        divergence = losses.divergences[0] if soft else torch.full_like(losses.loss, torch.nan)
        columns = [values.double().cpu().split(sizes) for values in (losses.loss, losses.correct, divergence)]
        for sequence, loss, correct, kl in zip(micro_batch.sequences, *columns, strict=True):
            kept.append(sequence.example)
            figures.append((sequence.supervised, float(loss.sum()), int(correct.sum()), float(kl.sum())))
    tokens, loss, correct, kl = (np.asarray(column) for column in zip(*figures, strict=True))
    sources = [dataset.sources[part] for part in dataset.parts[kept]]
    tasks = dataset.tasks
    return ExampleLosses(
        sources, dataset.column("row")[kept], [tasks[i] for i in kept], tokens, loss, correct, kl
    )
