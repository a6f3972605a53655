"""Final hidden states of a frozen model, which the KL anchor and distillation compare with."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from paceline.data.tokens import TokenDataset
from paceline.model.base import Base
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.memory import upload
from paceline.model.segment import Segment
from paceline.training.micro_batches import MicroBatch, TokenSequence

# Bytes kept for the next run that sees the same example: runs of a cohort meet the same examples within a few
# micro-steps.
KEPT_BYTES = {"cpu": 2**28, "cuda": 2**31}


class HiddenStateCache:
    """Hidden states of a frozen model, computed once for all runs that see the same example."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self._kept: OrderedDict[tuple[int, int, int, int], Tensor] = OrderedDict()
        self._bytes = 0

    def of(self, dataset: TokenDataset, micro_batch: MicroBatch, tail: int | None) -> tuple[Tensor, Tensor]:
        """Indices (n,) of supervised positions of the micro-batch, and hidden states (n, hidden size) there.

        The indices are on the CPU.

        Args:
            tail: only the last `tail` supervised positions of each sequence; None: all.
        """
        keys = [
            (id(dataset), sequence.example, len(sequence.inputs), tail or 0)
            for sequence in micro_batch.sequences
        ]
        pairs = zip(keys, micro_batch.sequences, strict=True)
        missing = {key: sequence for key, sequence in pairs if key not in self._kept}
        # On a CPU one by one: other runs decide which are missing, and some models' rows (experts, gates that
        # are functions, bf16) have bits that depend on the rows beside them.
        if self.base.device.type == "cpu":
            for key, sequence in missing.items():
                self._compute({key: sequence}, tail)
        elif missing:
            self._compute(missing, tail)
        indices, before = [], 0
        for sequence in micro_batch.sequences:
            count = min(tail or sequence.supervised, sequence.supervised)
            indices.append(torch.arange(before + sequence.supervised - count, before + sequence.supervised))
            before += sequence.supervised
        states = torch.cat([self._kept[key] for key in keys])
        for key in keys:
            self._kept.move_to_end(key)
        self._forget()
        return torch.cat(indices), states

    @torch.no_grad()
    def _compute(self, missing: dict[tuple[int, int, int, int], TokenSequence], tail: int | None) -> None:
        sequences = [(s.inputs, s.labels) for s in missing.values()]
        total = sum(len(ids) for ids, _ in sequences)
        batch = pack_sequences(sequences, [Segment(0, total, None)], self.base.device)
        with use_batch(batch):
            hidden = self.base.hidden(batch)
        rows, start = [], 0
        for sequence in missing.values():
            rows.append(start + (sequence.labels >= 0).nonzero()[:, 0][-(tail or 0) :])
            start += len(sequence.inputs)
        marked = upload(torch.cat(rows), hidden.device).split([len(own) for own in rows])
        for key, own in zip(missing, marked, strict=True):
            self._kept[key] = states = hidden[own]
            self._bytes += states.nbytes

    def _forget(self) -> None:
        while self._bytes > KEPT_BYTES[self.base.device.type] and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
