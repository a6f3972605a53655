"""Which runs of a packed batch the fused LoRA kernels of a GPU serve, and what they read of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from paceline.kernels.lora import GroupedRuns, RunRows
from paceline.kernels.lora_table import CHUNK, TILE, cut, table_rows
from paceline.kernels.philox import threshold
from paceline.model.dropout import seed_of
from paceline.model.lora_weights import HEAD, LoRAWeights
from paceline.model.segment import Segment


@dataclass(frozen=True)
class GroupedLoRA:
    """`runs` by group of linears; `starts` are the first rows of the segments that are among them."""

    starts: frozenset[int]
    runs: dict[int, GroupedRuns]


class GroupedTables:
    """The tables of a batch's segments on the host; `tensors` (n,) int64 are to be put on the device.

    Segments with DoRA or with a start that is subtracted are none of the kernels' business, nor is a second
    segment of the same adapter: two programs would add to one gradient.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        chosen, adapters = list[Segment](), set[int]()
        for segment in segments:
            if segment.adapter is not None and segment.adapter.plain and id(segment.adapter) not in adapters:
                adapters.add(id(segment.adapter))
                chosen.append(segment)
        self.starts = frozenset(segment.start for segment in chosen)
        indices = {index for s in chosen if s.adapter for index in s.adapter.weights if index < HEAD}
        self._runs = {index: _runs(chosen, index) for index in sorted(indices)}
        self._cuts: dict[tuple[int, ...], int] = {}
        self.tensors: list[Tensor] = []
        for runs in self._runs.values():
            if (rows := tuple(run.start for run in runs)) not in self._cuts:
                self._cuts[rows] = len(self.tensors)
                self.tensors += [torch.tensor(cut(runs, size)).flatten() for size in (TILE, CHUNK)]
        tables = [torch.tensor(table_rows(runs)) for runs in self._runs.values()]
        self._shapes = [table.shape for table in tables]
        self.tensors += [table.flatten() for table in tables]

    def on_device(self, tensors: Sequence[Tensor], numbers: Tensor) -> GroupedLoRA:
        """What the kernels get, once `tensors` are there, and the numbers (T,) of the batch's rows."""
        tables = tensors[len(tensors) - len(self._shapes) :]
        found = {}
        for (index, runs), table, shape in zip(self._runs.items(), tables, self._shapes, strict=True):
            place = self._cuts[tuple(run.start for run in runs)]
            tiles, chunks = (tensors[place + offset].view(-1, 2) for offset in (0, 1))
            found[index] = GroupedRuns(
                runs=runs, numbers=numbers, table=table.view(shape), tiles=tiles, chunks=chunks
            )
        return GroupedLoRA(self.starts, found)


def _runs(segments: Sequence[Segment], index: int) -> list[RunRows]:
    """Those of the segments whose adapters have something for a group."""
    found = [
        (segment, segment.adapter.dropout if segment.dropout_key else 0.0, weights)
        for segment in segments
        if segment.adapter and (weights := segment.adapter.weights.get(index))
    ]
    linears = 1 + max(max(weights.targets) for *_, weights in found)
    return [_rows(segment, p, weights, index, linears) for segment, p, weights in found]


def _rows(segment: Segment, p: float, weights: LoRAWeights, index: int, linears: int) -> RunRows:
    places = {linear: target for target, linear in enumerate(weights.targets)}

    def spread(values: Sequence[Tensor]) -> list[Tensor | None]:
        return [values[places[linear]] if linear in places else None for linear in range(linears)]

    return RunRows(
        start=segment.start,
        stop=segment.stop,
        a=weights.a,
        a_grad=weights.a_grad,
        b=spread(weights.b),
        b_grad=spread(weights.b_grad),
        scales=[weights.scales[places[i]] / (1 - p) if i in places else 0.0 for i in range(linears)],
        seed=seed_of(segment.dropout_key) if segment.dropout_key and p else 0,
        stream=index,
        threshold=threshold(p) if p else 0,
    )
